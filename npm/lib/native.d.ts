// Made by npm/native-dts.mjs from crate/node; do not edit. What the addon exports; only npm/lib uses it.

/** One JavaScript thread's connection to the addon. */
export declare class Bridge {
  /** `receive(id, text, last)` gets every answer and event. */
  constructor(receive: (id: number, text: string, last: boolean) => void)
  /** Ends all that this thread started, and waits until it has. */
  shutdown(): void
  /** Aborts the call, or ends the stream, with this number. */
  cancel(id: number): void
  /** Reads a Service's endpoints once. */
  kubeDiscover(id: number, request: string): string | null
  /** Watches Services until cancelled. */
  kubeWatch(id: number, request: string): string | null
  /** All issues of a configuration: a text, by its file's name, or an object's JSON. */
  validate(text: string, file: string | undefined | null, object: boolean): string
  /** Reads a configuration file's text and answers with its Bootstrap as JSON. */
  load(id: number, text: string, file: string): string | null
}

/** One engine. It has no thread before `start`. */
export declare class Engine {
  /** `options` is JSON. */
  constructor(bridge: Bridge, options: string)
  /** Sends events under this number until cancelled. */
  events(id: number): string | null
  /** Starts. The request is `{ text, file? }`: a Bootstrap, and the name of the file that it is from. */
  start(id: number, request: string): string | null
  /** Changes clusters and listeners. The change has its place in the order when this returns. */
  apply(id: number, request: string): string | null
  /** Removes clusters or listeners by name. */
  remove(id: number, kind: string, names: Array<string>): string | null
  /** Replaces a cluster's endpoints, given as a JSON array. */
  setEndpoints(cluster: string, endpoints: string): string | null
  /** Drains for at most so many milliseconds, then it has stopped. Cancelled, it does not wait any longer. */
  drain(id: number, timeoutMs?: number | undefined | null): string | null
  /** Drains for at most so many milliseconds (0: not at all), then stops. */
  stop(id: number, graceMs?: number | undefined | null): string | null
  /** `new`, `starting`, `live`, `draining` or `stopped`. */
  state(): string
  /** The version of the running configuration. */
  version(): string
  /** Where it listens, as JSON. */
  addresses(): string
  /** Counters and gauges whose names contain the filter: a JSON array of pairs. */
  stats(filter: string): string
  /** All stats in Prometheus's text format. */
  prometheus(): string
  /** The running configuration as JSON, without secrets. */
  dump(): string
}

/** Runs the `plenipo` command with these arguments, until it has ended; gives the exit status. It handles its own signals. */
export declare function cli(arguments: Array<string>): number
