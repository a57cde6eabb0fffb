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
  /** All issues of a configuration. */
  validate(text: string, file?: string | undefined | null): string
  /** Reads a configuration file's text and answers with its Bootstrap as JSON. */
  load(id: number, text: string, file: string): string | null
}
