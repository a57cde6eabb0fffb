// The public API of plenipo, written by hand. Node >= 20; needs @types/node for EventEmitter and AbortSignal.
/// <reference lib="esnext.disposable" />
/// <reference types="node" />
import { EventEmitter } from 'node:events';

// Only what says `export` is exported.
export {};

/**
 * A span of time: milliseconds as a number, or text with a unit, such as `'250ms'`, `'15s'`, `'1.5m'`, `'1h'`.
 * Not negative; at most 315,576,000,000 s, as in protobuf. Anything else is a `TypeError`.
 */
export type Duration = number | `${number}${'ms' | 's' | 'm' | 'h'}`;

/**
 * Where an endpoint listens: `'10.0.0.1:80'`, `'[::1]:80'`, `'app.local:80'`, or without a port where one is given beside it
 * (`'10.0.0.1'`, `'::1'`); or an {@link EndpointSpec}. Unix sockets and IPv6 zones are refused.
 */
export type Endpoint = string | EndpointSpec;

/** An endpoint as an object. What `kubernetes` gives is one. */
export interface EndpointSpec {
  /** An IP address or a host name; it may hold the port as well. */
  address: string;
  /** 1 to 65535. Default: the address's own, else the cluster's `port`. */
  port?: number;
  /** Share of the requests beside the other endpoints, 1 to 4294967295 (Envoy: `load_balancing_weight`). Default: 1. */
  weight?: number;
}

declare const kind: unique symbol;

/**
 * Plain Envoy v3 JSON: what the builders return, or hand-written, with field names in snake_case or camelCase.
 * It can be printed, compared, and loaded by Envoy itself. The kind exists in types only.
 */
export type Envoy<K extends 'Bootstrap' | 'Cluster' | 'Listener' | 'Route' | 'VirtualHost' | 'HttpFilter'> = Record<string, unknown> & {
  readonly [kind]?: K;
};

/** Any of Envoy's own fields by their Envoy names, merged over what was built: objects field by field, the rest replaced. */
export type EnvoyFields = Record<string, unknown>;

/** What {@link buildCluster} takes beside the name and the endpoints. */
export interface ClusterOptions {
  /** The port of endpoints that have none, 1 to 65535. */
  port?: number;
  /**
   * How endpoints are found (Envoy: `type`). Default: `STRICT_DNS` if an endpoint is a host name, else `STATIC`.
   * `STATIC` refuses host names; `LOGICAL_DNS` takes exactly one endpoint.
   */
  type?: 'STATIC' | 'STRICT_DNS' | 'LOGICAL_DNS';
  /** How an endpoint is picked (Envoy: `lb_policy`). Default: `round_robin`. */
  lb?: 'round_robin' | 'least_request' | 'random';
  /** What the endpoints speak (Envoy: `typed_extension_protocol_options`). `http2` without TLS is h2c. Default: HTTP/1.1. */
  protocol?: 'http1' | 'http2';
  /**
   * TLS towards the endpoints (Envoy: `transport_socket`). `true` is `{}`. Default: clear text.
   * The server's certificate is always checked, unless `insecure` says otherwise.
   */
  tls?: boolean | UpstreamTls;
  /** How long a connection may take to be made (Envoy: `connect_timeout`). Default: 5 s. */
  connectTimeout?: Duration;
  /** Limits of what may be under way at once (Envoy: `circuit_breakers`); beyond them the answer is 503. */
  limits?: ClusterLimits;
  /** More of Envoy's Cluster fields. */
  envoy?: EnvoyFields;
}

/** TLS towards the endpoints of a cluster. `ca`, `cert` and `key` are PEM text or bytes, or the name of a file that holds it. */
export interface UpstreamTls {
  /**
   * The name asked for, which the server's certificate must carry (Envoy: `sni` and `match_typed_subject_alt_names`).
   * Default: the endpoints' host name, if they all have the same one. Without either it is a `TypeError`, unless `insecure`.
   */
  sni?: string;
  /** Who may sign the server's certificate (Envoy: `trusted_ca`). Default: `$SSL_CERT_FILE`, else the system's bundle. */
  ca?: string | Uint8Array;
  /** Our own certificate chain, with `key` (Envoy: `tls_certificates`). Default: none. */
  cert?: string | Uint8Array;
  /** The key of `cert`. */
  key?: string | Uint8Array;
  /** Accept any certificate. Default: false. */
  insecure?: boolean;
}

/** Circuit-breaker thresholds of a cluster, each 0 to 4294967295. */
export interface ClusterLimits {
  /** Connections (Envoy: `max_connections`). Default: 1024. */
  connections?: number;
  /** Requests that wait for a connection (Envoy: `max_pending_requests`). Default: 1024. */
  pending?: number;
  /** Requests under way (Envoy: `max_requests`). Default: 1024. */
  requests?: number;
  /** Retries under way (Envoy: `max_retries`). Default: 3. */
  retries?: number;
}

/** A cluster in one object. */
export interface ClusterSpec extends ClusterOptions {
  /** The cluster's name, which routes refer to. */
  name: string;
  /** Its endpoints. Default: none (every request is a 503 until `setEndpoints`). */
  endpoints?: readonly Endpoint[];
}

/**
 * Builds an Envoy Cluster.
 *
 * @throws {TypeError} `ERR_PLENIPO_INVALID_ARG` for a wrong or unknown option, a bad address, a port that is missing.
 * @example buildCluster('app', ['10.0.0.1', '10.0.0.2'], { port: 8080, connectTimeout: '250ms' })
 */
export function buildCluster(name: string, endpoints: readonly Endpoint[], options?: ClusterOptions): Envoy<'Cluster'>;
/**
 * Builds an Envoy Cluster from one object.
 *
 * @throws {TypeError} `ERR_PLENIPO_INVALID_ARG` for a wrong or unknown field, a bad address, a port that is missing.
 */
export function buildCluster(spec: ClusterSpec): Envoy<'Cluster'>;

/** Which requests a route takes. A string is a path prefix. */
export type Match =
  | string
  | {
      /** Paths that begin so (Envoy: `prefix`). Default when there is no `path` and no `regex`: `/`. */
      prefix?: string;
      /** Exactly this path, query aside (Envoy: `path`). */
      path?: string;
      /** The whole path, query aside, matches (Envoy: `safe_regex`). RE2 syntax: no look-around, no back-references; flags i, s, m. */
      regex?: RegExp;
      /** Exactly this method. */
      method?: string;
      /** Headers that must be there: with exactly this text, matching as a whole, present (`true`) or absent (`false`). */
      headers?: Record<string, string | RegExp | boolean>;
    };

/** Where a route leads: a cluster or its name, several by weight, a redirect, or an answer of the proxy's own. */
export type Target =
  | string
  | Envoy<'Cluster'>
  | {
      /** Cluster names and their shares; the shares add up to at least 1 (Envoy: `weighted_clusters`). */
      weighted: Record<string, number>;
    }
  | {
      /**
       * Where to: an absolute URL, a path, or `'https://'` for the same place over TLS (Envoy: `redirect`).
       * Parts that are not written are the request's own; its query is kept.
       */
      redirect: string;
      /** Default: 301. */
      status?: 301 | 302 | 303 | 307 | 308;
    }
  | {
      /** The status to answer with, 200 to 599 (Envoy: `direct_response`). */
      respond: number;
      /** The body, at most 4096 bytes. Default: none. */
      body?: string;
    };

/** What {@link buildRoute} takes beside match and target. The first four are refused in routes that answer by themselves. */
export interface RouteOptions {
  /** Replaces the matched prefix or path (Envoy: `prefix_rewrite`). */
  rewrite?: string;
  /** How long the whole answer may take, retries included (Envoy: `timeout`); `false` or 0: no limit. Default: 15 s, as Envoy's. */
  timeout?: Duration | false;
  /** Trying again (Envoy: `retry_policy`). Default: never. */
  retry?: {
    /** How many further attempts may follow the first, at least 1 (Envoy: `num_retries`). */
    attempts: number;
    /** When (Envoy: `retry_on`). Default: `['connect-failure']`, which is safe for every request. */
    on?: readonly string[];
    /** How long one attempt may take (Envoy: `per_try_timeout`). Default: the route's timeout. */
    perTry?: Duration;
  };
  /** Lets websockets through (Envoy: `upgrade_configs`). Default: false. */
  websocket?: boolean;
  /** Changes to the request's headers before it is forwarded. */
  headers?: HeaderChanges;
  /** Changes to the answer's headers. */
  responseHeaders?: HeaderChanges;
  /** The route's name, for logs. Default: none. */
  name?: string;
  /** More of Envoy's Route fields. */
  envoy?: EnvoyFields;
}

/** Changes to headers; values may hold Envoy's `%…%` operators that the proxy supports. */
export interface HeaderChanges {
  /** Replaces or adds (Envoy: `OVERWRITE_IF_EXISTS_OR_ADD`). */
  set?: Record<string, string>;
  /** Adds one more value (Envoy: `APPEND_IF_EXISTS_OR_ADD`). */
  add?: Record<string, string>;
  /** Takes away. */
  remove?: readonly string[];
}

/**
 * Builds an Envoy Route.
 *
 * @throws {TypeError} `ERR_PLENIPO_INVALID_ARG`
 * @example buildRoute('/api', 'app', { timeout: '5s', retry: { attempts: 2, on: ['5xx'] } })
 */
export function buildRoute(match: Match, to: Target, options?: RouteOptions): Envoy<'Route'>;

/**
 * Builds an Envoy VirtualHost: the routes of some domains, tried in order.
 * Domains are exact (`app.local`), suffixes (`*.app.local`), prefixes (`app.*`) or all (`*`); the most exact one wins.
 *
 * @param options `name`: the host's name. Default: its first domain.
 * @throws {TypeError} `ERR_PLENIPO_INVALID_ARG`
 */
export function buildHost(domains: string | readonly string[], routes: readonly Envoy<'Route'>[], options?: { name?: string }): Envoy<'VirtualHost'>;

/** What {@link buildListener} takes. */
export interface ListenerSpec {
  /** The listener's name. Default: address and port, as `0.0.0.0_8080`. */
  name?: string;
  /** The IP address to listen on. Default: `0.0.0.0`. */
  address?: string;
  /** The port; 0 picks a free one, which `proxy.addresses` tells. */
  port: number;
  /** The virtual hosts. A request that none of them takes gets a 404. */
  hosts: readonly Envoy<'VirtualHost'>[];
  /** TLS towards clients. Default: clear text. */
  tls?: DownstreamTls;
  /** HTTP filters before the router, as Envoy JSON. Default: none. */
  filters?: readonly Envoy<'HttpFilter'>[];
  /** One line a request in Envoy's default format: `true` to the standard output, a string to that file. Default: none. */
  accessLog?: boolean | string;
  /** More of Envoy's Listener fields. */
  envoy?: EnvoyFields;
}

/** TLS towards clients. `cert`, `key` and `clientCa` are PEM text or bytes, or the name of a file that holds it. */
export interface DownstreamTls {
  /** The certificate chain. */
  cert: string | Uint8Array;
  /** Its key. */
  key: string | Uint8Array;
  /** Only connections that ask for one of these names are taken. Default: all. */
  sni?: readonly string[];
  /** Who must have signed the client's certificate. Default: clients need none. */
  clientCa?: string | Uint8Array;
}

/**
 * Builds an Envoy Listener with one HTTP connection manager that takes HTTP/1.1 and HTTP/2.
 *
 * @throws {TypeError} `ERR_PLENIPO_INVALID_ARG`
 */
export function buildListener(spec: ListenerSpec): Envoy<'Listener'>;

/** A whole configuration. */
export interface Config {
  /** The admin page: a port on 127.0.0.1, or an address with port. It has no password. Default: none, or `bootstrap`'s. */
  admin?: number | string | false;
  /** Listeners, beside those of `bootstrap`. */
  listeners?: readonly Envoy<'Listener'>[];
  /** Clusters, beside those of `bootstrap`. */
  clusters?: readonly Envoy<'Cluster'>[];
  /** The rest of an Envoy Bootstrap. */
  bootstrap?: Envoy<'Bootstrap'>;
}

/** A change of a running proxy: clusters and listeners to add, or to put in the place of those of the same name. */
export type Change = Pick<Config, 'clusters' | 'listeners'>;

/** Options of a proxy that no configuration file has. */
export interface ProxyOptions {
  /** Worker threads, 1 to 1024 (Envoy: `--concurrency`). Default: the cores that this process may use. */
  concurrency?: number;
  /** Envoy: `--service-cluster`. Default: none. */
  serviceCluster?: string;
  /** Envoy: `--service-node`. Default: none. */
  serviceNode?: string;
  /** Envoy: `--service-zone`. Default: none. */
  serviceZone?: string;
  /** How long listeners and connections that a change replaces may drain (Envoy: `--drain-time-s`). Default: 600 s. */
  drainTime?: Duration;
  /** How long a start or a change may wait for clusters to be warm (their names resolved) before it goes on all the same. Default: 15 s. */
  warmTimeout?: Duration;
  /** Other processes and proxies with the same option may listen on the same ports; the system deals connections. Default: false, a taken port is an error. */
  sharePort?: boolean;
}

/** What a change did. */
export interface ApplyResult {
  /** The version that runs now; with `dryRun` the one that still runs. */
  version: string;
  /** What is new, as `cluster/app`, `listener/http`. */
  added: string[];
  /** What changed. */
  changed: string[];
  /** What is gone. */
  removed: string[];
  /** How many were given as they were already. */
  unchanged: number;
  /** Listeners whose old connections drain. */
  drained: string[];
  /** What is accepted, but worth a look. */
  warnings: ConfigIssue[];
}

/** Where a listener takes connections. */
export interface BoundAddress {
  /** The listener's name; `admin` for the admin page. */
  listener: string;
  /** The IP address. */
  address: string;
  /** The real port, never 0. */
  port: number;
}

/** The events of a {@link Proxy}. */
export interface ProxyEvents {
  /** The set of addresses is new. */
  listening: [addresses: BoundAddress[]];
  /** A change, of whatever source, was published. */
  applied: [result: ApplyResult];
  /** A change, of whatever source, was refused; the running configuration stays. */
  rejected: [error: ConfigError | ProxyError];
  /** Something went wrong without ending the proxy: a worker failed, lost its connections and was started again. */
  warning: [message: string];
  /** A followed source has been out of touch for so many milliseconds; its last endpoints stay. */
  stale: [event: { source: string; staleMs: number; reason: string }];
  /** Draining began. */
  draining: [];
  /** It stopped, whoever asked for it. */
  stopped: [];
  /** Something fatal: the proxy has stopped (`ERR_PLENIPO_ENGINE_CRASH`). */
  error: [error: ProxyError];
}

/** What {@link Proxy.follow} returns. */
export interface Follow extends AsyncDisposable {
  /** The cluster that it feeds. */
  readonly cluster: string;
  /** How it ended. It always resolves, never rejects. */
  readonly done: Promise<FollowEnd>;
  /** Ends it; the cluster keeps the endpoints that it has. */
  close(): Promise<void>;
}

/** How a {@link Follow} ended. */
export type FollowEnd =
  /** `ended`: the source did. `aborted`: it was closed, its signal fired, or the proxy stopped. */
  | { reason: 'ended' | 'aborted'; error?: undefined }
  /** The source threw, or gave what `setEndpoints` refuses. */
  | { reason: 'failed'; error: Error };

/**
 * One proxy. Several can live in one process. It handles no signals: that is up to the program (the `plenipo` command does).
 * A started proxy keeps the process alive until it has stopped, or {@link Proxy.unref} was called.
 *
 * Methods that return a promise never throw, they reject. A wrong argument is a `TypeError` with the code
 * `ERR_PLENIPO_INVALID_ARG`, and nothing has changed; a method that the state does not allow is `ERR_PLENIPO_STATE`.
 */
export class Proxy extends EventEmitter<ProxyEvents> implements AsyncDisposable {
  /**
   * A proxy of an `envoy.yaml` (or JSON) file, not started yet.
   *
   * Rejects with a {@link ConfigError} that names file, line and column of every problem; with Node's own error if there is no such file.
   */
  static fromFile(file: string, options?: ProxyOptions): Promise<Proxy>;
  /**
   * A proxy that is not started yet. Clusters and listeners given here can be changed and removed later.
   *
   * @throws {TypeError} `ERR_PLENIPO_INVALID_ARG`
   */
  constructor(config?: Config, options?: ProxyOptions);
  /** Where it is in its life. */
  readonly state: 'new' | 'starting' | 'live' | 'draining' | 'stopped';
  /** Names the configuration that runs; another after every change. Empty before the start. */
  readonly version: string;
  /** Where it listens, with the real ports; the admin page too. Empty before the start and after the stop. */
  readonly addresses: readonly BoundAddress[];
  /**
   * Starts it: resolves when all listeners are bound and all clusters are warm (their names resolved, or the time for that is up).
   * When it rejects, nothing is left behind and it may be started again: {@link ConfigError}, or `ERR_PLENIPO_BIND` when an address
   * is taken (`cause.code` is then `'EADDRINUSE'`), or `AbortError` when `signal` fired.
   */
  start(options?: { signal?: AbortSignal }): Promise<this>;
  /**
   * Adds and replaces clusters and listeners, all or nothing. Calls take effect in the order in which they were made.
   * It resolves when every worker uses the new configuration; requests under way end with the one they began with.
   *
   * When it rejects, nothing has changed: {@link ConfigError}; `ERR_PLENIPO_BIND`; `ERR_PLENIPO_VERSION_CONFLICT`;
   * `AbortError` when `signal` fired before the change was published (after that the call resolves).
   *
   * @param options `replace`: what JavaScript gave before and is not in this change is removed (default false).
   * `dryRun`: only check and tell what would change (default false). `ifVersion`: only if {@link Proxy.version} is still this.
   */
  apply(change: Change, options?: { dryRun?: boolean; replace?: boolean; ifVersion?: string; signal?: AbortSignal }): Promise<ApplyResult>;
  /** Removes clusters or listeners by name; a listener's connections drain. A name that is not there rejects with `ERR_PLENIPO_REF_NOT_FOUND`. */
  remove(kind: 'cluster' | 'listener', ...names: string[]): Promise<ApplyResult>;
  /**
   * Puts these endpoints in the place of a cluster's own: IP addresses with ports; none at all is allowed (503).
   * It is cheap, changes nothing else, and drains nothing: connections to endpoints that stay are kept. Calls in quick succession may be merged.
   * An unknown cluster rejects at once with `ERR_PLENIPO_REF_NOT_FOUND`, a cluster that asks DNS with `ERR_PLENIPO_STATE`.
   */
  setEndpoints(cluster: string, endpoints: readonly Endpoint[]): Promise<void>;
  /**
   * Feeds a cluster's endpoints from a source, such as `kubernetes.watch`, until that ends, `signal` fires, or the proxy stops.
   *
   * @throws {TypeError} `ERR_PLENIPO_INVALID_ARG`
   */
  follow(source: AsyncIterable<ServiceSnapshot | readonly Endpoint[]>, options: { cluster: string; signal?: AbortSignal }): Follow;
  /**
   * Takes no new work and lets requests under way end: readiness fails, listeners close. Afterwards the proxy has stopped.
   *
   * @param options `timeout`: after it, what still runs is reset (default 25 s). `signal`: ends the waiting as if the time were up.
   * @returns How many requests ended by themselves, and how many had to be reset.
   */
  drain(options?: { timeout?: Duration; signal?: AbortSignal }): Promise<{ completed: number; reset: number }>;
  /**
   * Drains, then ends all threads and closes all sockets. On a proxy that never started or has stopped it does nothing.
   *
   * @param options `grace`: how long to drain at most (default 25 s). `force`: do not drain (default false).
   */
  stop(options?: { grace?: Duration; force?: boolean }): Promise<void>;
  /**
   * Counters and gauges under Envoy's names.
   *
   * @param filter Only names that contain this text or match this expression. Default: all.
   */
  stats(filter?: string | RegExp): Record<string, number>;
  /** The same, and histograms, as Prometheus's text format, under Envoy's names. */
  prometheus(): string;
  /**
   * The running configuration as Envoy JSON, which another proxy can be made of. Endpoints are those of the configuration, not those
   * that `setEndpoints` or DNS gave; private keys and tokens are not in it.
   */
  dump(): { bootstrap: Envoy<'Bootstrap'>; listeners: Envoy<'Listener'>[]; clusters: Envoy<'Cluster'>[] };
  /** Lets the running proxy keep the process alive again. */
  ref(): this;
  /** Lets the process end although the proxy runs. */
  unref(): this;
  /** {@link Proxy.stop}, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** A Kubernetes Service. */
export interface KubernetesTarget {
  /** Its name. */
  service: string;
  /** Its namespace. Default: the context's, else the pod's own, else `default`. */
  namespace?: string;
  /** A port of the Service (never of a pod): its number or its name. Default: its only one. */
  port?: number | string;
}

/** The parts of `@kubernetes/client-node`'s KubeConfig that are read. */
export interface KubeConfigLike {
  getCurrentContext(): string;
  getContextObject(name: string): unknown;
  getCurrentCluster(): unknown;
  getCurrentUser(): unknown;
}

/** How to reach the API server. Default: `$KUBECONFIG`, else `~/.kube/config`, else the pod's own service account. */
export interface KubernetesOptions {
  /** A kubeconfig file. Not together with `client`. */
  kubeconfig?: string;
  /** The context in it. Default: its current one. */
  context?: string;
  /** A KubeConfig of `@kubernetes/client-node`. Not together with `kubeconfig` and `context`. */
  client?: KubeConfigLike;
  /** Which addresses of a dual-stack Service. Default: `service`, its first family. */
  family?: 'service' | 'ipv4' | 'ipv6' | 'both';
  /** Follow ExternalName Services and slices of host names; never to loopback or link-local addresses. Default: false, they are refused. */
  allowExternal?: boolean;
  /** Ends the call or the watch. */
  signal?: AbortSignal;
}

/** Options of a watch. */
export interface KubernetesWatchOptions extends KubernetesOptions {
  /** How long changes are gathered before one snapshot is given. Default: 50 ms. */
  debounce?: Duration;
  /** After so long out of touch the watch fails. Default: never, the last endpoints stay. */
  maxStale?: Duration;
}

/** One endpoint of a Service. */
export interface ServiceEndpoint extends EndpointSpec {
  /** The pod's own port. */
  port: number;
  /** The zone it is in, where known. */
  zone?: string;
  /** The node it runs on, where known. */
  node?: string;
  /** Its host name, where it has one. */
  hostname?: string;
  /** It is shutting down, and is given only because no other endpoint is ready. */
  terminating?: boolean;
}

/** The endpoints of one Service at one moment. */
export interface ServiceSnapshot {
  /** The Service's name. */
  name: string;
  /** The Service's namespace. */
  namespace: string;
  /** A hash of the content: equal endpoints have equal versions. */
  version: string;
  /** Sorted, each once; empty when there is none, or the Service is gone. */
  endpoints: ServiceEndpoint[];
  /** When this set was first seen. */
  at: Date;
}

/** The events of a {@link ServiceWatch}. */
export interface ServiceWatchEvents {
  /** Out of touch with the API server; the last endpoints stay, and the watch goes on trying. */
  stale: [event: { staleMs: number; reason: string }];
  /** In touch again. */
  fresh: [];
}

/**
 * A running watch. Each loop over it starts with what is known; a slow reader sees the newest of each Service only.
 * It ends when closed, when its signal fires (`AbortError`), with its last loop, or by an error, which its loops throw:
 * before the first snapshot `ERR_PLENIPO_KUBE_AUTH` (401, 403), `ERR_PLENIPO_KUBE_TARGET`, `ERR_PLENIPO_KUBE_CONFIG`; later only `maxStale`'s.
 * While open it keeps the process alive, unless {@link ServiceWatch.unref} was called.
 */
export interface ServiceWatch extends EventEmitter<ServiceWatchEvents>, AsyncIterable<ServiceSnapshot>, AsyncDisposable {
  [Symbol.asyncIterator](): AsyncIterableIterator<ServiceSnapshot>;
  /** Whether every target was seen once. */
  readonly synced: boolean;
  /** For how many milliseconds the endpoints may be out of date; 0 while in touch. */
  readonly staleMs: number;
  /** The newest snapshot of any target. */
  readonly current: ServiceSnapshot | undefined;
  /** The newest snapshot of each target, in their order. */
  readonly snapshots: readonly (ServiceSnapshot | undefined)[];
  /** Ends the watch; its loops end without an error. */
  close(): Promise<void>;
  /** Lets the open watch keep the process alive again. */
  ref(): this;
  /** Lets the process end although the watch is open. */
  unref(): this;
}

/** Service discovery in Kubernetes. Needs the verbs `list` and (for `watch`) `watch` on `services` and `endpointslices` of the namespace. */
export const kubernetes: {
  /**
   * Reads a Service's endpoints once.
   *
   * Rejects with `ERR_PLENIPO_KUBE_NOT_FOUND` (no such Service), `ERR_PLENIPO_KUBE_AUTH` (401 or 403, naming verb, resource and namespace),
   * `ERR_PLENIPO_KUBE_TARGET` (a name, port or kind of Service that is refused), `ERR_PLENIPO_KUBE_CONFIG` (no credentials),
   * `ERR_PLENIPO_KUBE_WATCH` (the API server cannot be reached).
   */
  discover(target: KubernetesTarget, options?: KubernetesOptions): Promise<ServiceSnapshot>;
  /**
   * Watches a Service, or several. A Service that does not exist yet is waited for.
   *
   * @throws {TypeError} `ERR_PLENIPO_INVALID_ARG`
   */
  watch(target: KubernetesTarget | readonly KubernetesTarget[], options?: KubernetesWatchOptions): ServiceWatch;
};

/** The stable codes of this package's errors. A code may be added, none changes its meaning. */
export type ErrorCode =
  /** The configuration breaks Envoy's schema or a rule of it. */
  | 'ERR_PLENIPO_CONFIG_INVALID'
  /** A field, enum value or `@type` that Envoy does not have. */
  | 'ERR_PLENIPO_CONFIG_UNKNOWN_FIELD'
  /** Valid for Envoy, but not implemented here. */
  | 'ERR_PLENIPO_CONFIG_UNSUPPORTED'
  /** A name that nothing defines. */
  | 'ERR_PLENIPO_REF_NOT_FOUND'
  /** `ifVersion` is not the version that runs. */
  | 'ERR_PLENIPO_VERSION_CONFLICT'
  /** An address cannot be listened on; `cause` is the system's error. */
  | 'ERR_PLENIPO_BIND'
  /** A certificate or key cannot be used. */
  | 'ERR_PLENIPO_TLS'
  /** The API server's address or credentials could not be had. */
  | 'ERR_PLENIPO_KUBE_CONFIG'
  /** The API server answered 401 or 403. */
  | 'ERR_PLENIPO_KUBE_AUTH'
  /** There is no such Service. */
  | 'ERR_PLENIPO_KUBE_NOT_FOUND'
  /** The Service cannot be used as asked. */
  | 'ERR_PLENIPO_KUBE_TARGET'
  /** The API server cannot be reached. */
  | 'ERR_PLENIPO_KUBE_WATCH'
  /** The proxy's state does not allow the call. */
  | 'ERR_PLENIPO_STATE'
  /** The engine failed; the proxy has stopped. */
  | 'ERR_PLENIPO_ENGINE_CRASH'
  /** The package has no native part for this platform, or it cannot be loaded. */
  | 'ERR_PLENIPO_NATIVE_MISSING';

/** An error of this package. Wrong arguments are `TypeError`s with the code `ERR_PLENIPO_INVALID_ARG` instead. */
export class ProxyError extends Error {
  /** What it is. */
  readonly code: ErrorCode;
  /** More about it, such as `status`, `verb`, `resource` and `namespace` of a refused Kubernetes request. */
  readonly details?: Record<string, unknown>;
  protected constructor();
}

/** A configuration that was refused. */
export class ConfigError extends ProxyError {
  /** Every problem that was found. */
  readonly issues: ConfigIssue[];
  protected constructor();
  /** All issues as text, one a line. `color`: for terminals (default false). */
  format(options?: { color?: boolean }): string;
}

/** One problem of a configuration. */
export interface ConfigIssue {
  /** What kind of problem it is. */
  code: ErrorCode;
  /** Warnings do not stop anything. */
  severity: 'error' | 'warning';
  /** Where, in Envoy's field names, such as `static_resources.listeners[0].name`. */
  path: string;
  /** The problem in one sentence. */
  message: string;
  /** The file's name, where there is one. */
  file?: string;
  /** The line in it, from 1. */
  line?: number;
  /** The column in it, from 1. */
  column?: number;
  /** What should stand there. */
  expected?: string;
  /** What stands there; never a secret. */
  got?: string;
  /** What to do about it. */
  hint?: string;
}

/**
 * Checks a whole configuration without starting anything: YAML or JSON text of a Bootstrap, or a {@link Config}.
 *
 * @param options `file`: the name that issues carry.
 * @returns Every problem found, warnings included; an empty array when there is none.
 * @throws {TypeError} `ERR_PLENIPO_INVALID_ARG`
 */
export function validate(config: Config | string, options?: { file?: string }): ConfigIssue[];

/**
 * Reads an `envoy.yaml` or JSON file as a {@link Config}, to be changed and given to a {@link Proxy}.
 * Rejects with a {@link ConfigError} if it is broken, with Node's own error if it cannot be read.
 */
export function loadConfig(file: string): Promise<Config>;
