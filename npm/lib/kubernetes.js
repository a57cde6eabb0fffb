// kubernetes.discover and kubernetes.watch: the endpoints of Services, read by the addon's own client.
'use strict';

const { EventEmitter } = require('node:events');
const check = require('./check.js');
const { milliseconds } = require('./duration.js');
const { invalidArgument, fromNative } = require('./errors.js');
const native = require('./native.js');

const CONNECT = ['kubeconfig', 'context', 'client', 'family', 'allowExternal', 'signal'];
const WATCH = [...CONNECT, 'debounce', 'maxStale'];
const FAMILIES = ['service', 'ipv4', 'ipv6', 'both'];

/** Reads the endpoints of a Service once. */
async function discover(target, options) {
  const known = check.options(options, 'options', CONNECT);
  const text = JSON.stringify({ targets: [readTarget(target, 'the target')], ...readOptions(known) });
  return fromSnapshot(await native.request((bridge, id) => bridge.kubeDiscover(id, text), known.signal));
}

/** Watches one Service or several until closed. */
function watch(targets, options) {
  const known = check.options(options, 'options', WATCH);
  const list = Array.isArray(targets)
    ? targets.map((each, index) => readTarget(each, `targets[${index}]`))
    : [readTarget(targets, 'the target')];
  if (list.length === 0) throw invalidArgument('watch needs at least one target');
  const { debounce, maxStale } = known;
  const text = JSON.stringify({
    targets: list,
    ...readOptions(known),
    debounceMs: debounce === undefined ? undefined : milliseconds(debounce, 'debounce'),
    maxStaleMs: maxStale === undefined ? undefined : milliseconds(maxStale, 'maxStale'),
  });
  return new ServiceWatch(list, text, known.signal);
}

function readTarget(target, what) {
  const { service, namespace, port } = check.options(check.object(target, what), what, ['service', 'namespace', 'port']);
  check.string(service, `${what}.service`);
  if (namespace !== undefined) check.string(namespace, `${what}.namespace`);
  if (typeof port === 'number') check.integer(port, `${what}.port`, 1, 65_535);
  else if (port !== undefined) check.string(port, `${what}.port`);
  return { service, namespace, port };
}

function readOptions({ kubeconfig, context, client, family, allowExternal, signal }) {
  if (kubeconfig !== undefined) check.string(kubeconfig, 'kubeconfig');
  if (context !== undefined) check.string(context, 'context');
  if (family !== undefined) check.oneOf(family, 'family', FAMILIES);
  if (allowExternal !== undefined) check.boolean(allowExternal, 'allowExternal');
  check.signal(signal, 'signal');
  if (client !== undefined && kubeconfig !== undefined) throw invalidArgument("give 'kubeconfig' or 'client', not both");
  return { kubeconfig, context, client: client === undefined ? undefined : clientNode(client, context), family, allowExternal };
}

/** What a KubeConfig of @kubernetes/client-node knows, by its shape: any version and copy of that package will do. */
function clientNode(client, context) {
  const methods = ['getCurrentCluster', 'getCurrentUser', 'getCurrentContext', 'getContextObject'];
  if (typeof client !== 'object' || client === null || !methods.every((each) => typeof client[each] === 'function')) {
    throw invalidArgument('client must be a KubeConfig of @kubernetes/client-node');
  }
  if (context !== undefined) throw invalidArgument("'context' has no use beside 'client': call its setCurrentContext()");
  const found = client.getContextObject(client.getCurrentContext());
  return JSON.stringify({ cluster: client.getCurrentCluster(), user: client.getCurrentUser(), context: found });
}

function fromSnapshot({ at, ...rest }) {
  return { ...rest, at: new Date(at) };
}

/** A running watch: an async iterable of snapshots. Events: `stale` and `fresh`. */
class ServiceWatch extends EventEmitter {
  #id;
  #signal;
  #over = false;
  #error;
  #readers = new Set();
  #snapshots;
  #newest;
  #staleSince;
  #kept = true;

  constructor(targets, text, signal) {
    super();
    this.#snapshots = targets.map(() => undefined);
    this.#signal = signal;
    if (signal?.aborted) {
      this.#over = true;
      this.#error = fromNative({ code: 'ABORT_ERR' }, signal.reason);
      return;
    }
    this.#id = native.open(
      (message) => this.#onMessage(message),
      (bridge, id) => bridge.kubeWatch(id, text),
    );
    native.hold();
    signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  /** Whether every target was seen whole once. */
  get synced() {
    return this.#snapshots.every((each) => each !== undefined);
  }

  /** For how long the sets may be out of date; 0 while in touch with the API server. */
  get staleMs() {
    return this.#staleSince === undefined ? 0 : Math.max(1, Math.round(performance.now() - this.#staleSince));
  }

  /** The newest snapshot. */
  get current() {
    return this.#newest;
  }

  /** The newest snapshot of each target, in their order. */
  get snapshots() {
    return [...this.#snapshots];
  }

  ref() {
    if (!this.#kept && !this.#over) native.hold();
    this.#kept = true;
    return this;
  }

  unref() {
    if (this.#kept && !this.#over) native.release();
    this.#kept = false;
    return this;
  }

  /** Ends the watch: its loops end, its connections close. */
  async close() {
    this.#end(undefined);
  }

  [Symbol.asyncDispose]() {
    return this.close();
  }

  /** Starts with what is known now; a slow reader sees the newest of each service only. The watch ends with its last loop. */
  [Symbol.asyncIterator]() {
    const unread = new Set(this.#snapshots.keys());
    const waiting = [];
    let left = this.#over && this.#error === undefined;
    const next = () => {
      for (const index of unread) {
        if (this.#snapshots[index] === undefined) continue;
        unread.delete(index);
        return { value: this.#snapshots[index], done: false };
      }
      return undefined;
    };
    const reader = {
      news: (index) => {
        unread.add(index);
        if (waiting.length > 0) waiting.shift().resolve(next());
      },
      end: (error) => {
        for (const { resolve, reject } of waiting.splice(0)) {
          if (error && !left) reject(error); // Told once, as generators do.
          else resolve({ value: undefined, done: true });
          left = true;
        }
      },
    };
    if (!this.#over) this.#readers.add(reader);
    return {
      next: () => {
        if (left) return Promise.resolve({ value: undefined, done: true });
        if (this.#over) {
          left = true;
          return this.#error ? Promise.reject(this.#error) : Promise.resolve({ value: undefined, done: true });
        }
        const ready = next();
        if (ready) return Promise.resolve(ready);
        return new Promise((resolve, reject) => waiting.push({ resolve, reject }));
      },
      return: () => {
        left = true;
        reader.end();
        if (this.#readers.delete(reader) && this.#readers.size === 0) this.#end(undefined);
        return Promise.resolve({ value: undefined, done: true });
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  }

  #onAbort = () => this.#end(fromNative({ code: 'ABORT_ERR' }, this.#signal.reason));

  #onMessage({ type, value, error }) {
    if (error) return this.#end(fromNative(error));
    switch (type) {
      case 'snapshot': {
        this.#newest = fromSnapshot(value.snapshot);
        this.#snapshots[value.target] = this.#newest;
        for (const reader of this.#readers) reader.news(value.target);
        return undefined;
      }
      case 'stale':
        this.#staleSince = performance.now() - value.staleMs;
        this.emit('stale', value);
        return undefined;
      case 'fresh':
        this.#staleSince = undefined;
        this.emit('fresh');
        return undefined;
      default:
        return this.#end(undefined);
    }
  }

  #end(error) {
    if (this.#over) return;
    this.#over = true;
    this.#error = error;
    this.#signal?.removeEventListener('abort', this.#onAbort);
    native.close(this.#id);
    if (this.#kept) native.release();
    for (const reader of this.#readers) reader.end(error);
    this.#readers.clear();
  }
}

module.exports = { kubernetes: Object.freeze({ discover, watch }), ServiceWatch };
