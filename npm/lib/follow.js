// Proxy.follow: feeds a cluster's endpoints from any async iterable, and tells how that ended.
'use strict';

const { invalidArgument } = require('./errors.js');
const check = require('./check.js');

/** What `follow` returns. `done` resolves, however it ended: it never becomes an unhandled rejection. */
class Follow {
  #cluster;
  #iterator;
  #stop;
  #stopped;
  #done;

  constructor(proxy, source, options) {
    const { cluster, signal } = check.options(check.object(options, 'options'), 'options', ['cluster', 'signal']);
    check.string(cluster, 'cluster');
    check.signal(signal, 'signal');
    if (typeof source?.[Symbol.asyncIterator] !== 'function') {
      throw invalidArgument(`the source must be an async iterable, got ${check.show(source)}`);
    }
    this.#cluster = cluster;
    this.#stopped = new Promise((resolve) => {
      this.#stop = () => resolve({ stopped: true });
    });
    this.#iterator = source[Symbol.asyncIterator]();
    const stale = ({ staleMs, reason }) => proxy.emit('stale', { source: cluster, staleMs, reason });
    const listens = typeof source.on === 'function' && typeof source.off === 'function';
    if (listens) source.on('stale', stale);
    proxy.once('stopped', this.#stop);
    if (signal?.aborted) this.#stop();
    else signal?.addEventListener('abort', this.#stop, { once: true });
    this.#done = this.#run(proxy, cluster).finally(() => {
      proxy.off('stopped', this.#stop);
      signal?.removeEventListener('abort', this.#stop);
      if (listens) source.off('stale', stale);
    });
  }

  get cluster() {
    return this.#cluster;
  }

  /** How it ended: `ended` (the source did), `aborted` (closed, its signal, or the proxy stopped), `failed` with the error. */
  get done() {
    return this.#done;
  }

  /** Ends it and the source. The cluster keeps the endpoints that it has. */
  async close() {
    this.#stop();
    await this.#done;
  }

  [Symbol.asyncDispose]() {
    return this.close();
  }

  async #run(proxy, cluster) {
    try {
      for (;;) {
        const step = await Promise.race([this.#stopped, this.#iterator.next()]);
        if (step.stopped) {
          this.#leave();
          return { reason: 'aborted' };
        }
        if (step.done) return { reason: 'ended' };
        await proxy.setEndpoints(cluster, Array.isArray(step.value) ? step.value : step.value?.endpoints);
      }
    } catch (error) {
      this.#leave();
      // A source that its own signal ended did not fail.
      return error?.name === 'AbortError' ? { reason: 'aborted' } : { reason: 'failed', error };
    }
  }

  /** Tells the source that nobody listens any more; its own troubles with that are its own. */
  #leave() {
    Promise.resolve()
      .then(() => this.#iterator.return?.())
      .catch(() => {});
  }
}

module.exports = { Follow };
