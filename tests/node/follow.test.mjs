// Proxy.follow: how it feeds a cluster and how it ends, with a proxy that only notes what it is told.
import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { Proxy } from '../../npm/lib/index.mjs';

const { Follow } = createRequire(import.meta.url)('../../npm/lib/follow.js');

class Notes extends EventEmitter {
  pushed = [];
  async setEndpoints(cluster, endpoints) {
    if (!Array.isArray(endpoints) || endpoints.includes('bad')) throw Object.assign(new TypeError('no'), { code: 'ERR_PLENIPO_INVALID_ARG' });
    this.pushed.push([cluster, endpoints]);
  }
}

/** A source that gives what it is told to, and notes whether it was left. */
class Source extends EventEmitter {
  left = 0;
  #values = [];
  #wake = () => {};
  give(value) {
    this.#values.push(value);
    this.#wake();
  }
  [Symbol.asyncIterator]() {
    return {
      next: async () => {
        while (this.#values.length === 0) await new Promise((resolve) => (this.#wake = resolve));
        const value = this.#values.shift();
        if (value instanceof Error) throw value;
        return value === undefined ? { value, done: true } : { value, done: false };
      },
      return: async () => {
        this.left += 1;
        return { value: undefined, done: true };
      },
    };
  }
}

test('feeds lists and snapshots in order, and ends with the source', async () => {
  const proxy = new Notes();
  const source = new Source();
  const follow = new Follow(proxy, source, { cluster: 'app' });
  assert.equal(follow.cluster, 'app');
  source.give(['10.0.0.1:80']);
  source.give({ name: 'x', endpoints: [{ address: '10.0.0.2', port: 80 }] });
  source.give([]);
  source.give(undefined);
  assert.deepEqual(await follow.done, { reason: 'ended' });
  assert.deepEqual(proxy.pushed, [
    ['app', ['10.0.0.1:80']],
    ['app', [{ address: '10.0.0.2', port: 80 }]],
    ['app', []],
  ]);
  assert.equal(source.left, 0);
  for (const event of ['stopped']) assert.equal(proxy.listenerCount(event), 0);
  assert.equal(source.listenerCount('stale'), 0);
});

test('takes async generators', async () => {
  const proxy = new Notes();
  const follow = new Follow(
    proxy,
    (async function* () {
      yield ['10.0.0.1:80'];
    })(),
    { cluster: 'app' },
  );
  assert.deepEqual(await follow.done, { reason: 'ended' });
  assert.equal(proxy.pushed.length, 1);
});

test('closing, the signal and the proxy each end it as aborted, and leave the source', async () => {
  for (const end of [
    (follow) => follow.close(),
    (follow) => follow[Symbol.asyncDispose](),
    (_, controller) => controller.abort(),
    (_, __, proxy) => proxy.emit('stopped'),
  ]) {
    const proxy = new Notes();
    const source = new Source();
    const controller = new AbortController();
    const follow = new Follow(proxy, source, { cluster: 'app', signal: controller.signal });
    source.give(['10.0.0.1:80']);
    await turn();
    await end(follow, controller, proxy);
    assert.deepEqual(await follow.done, { reason: 'aborted' });
    await turn();
    assert.equal(source.left, 1);
    source.give(['10.0.0.9:80']);
    await turn();
    assert.equal(proxy.pushed.length, 1);
    assert.equal(proxy.listenerCount('stopped'), 0);
  }
});

test('a signal that fired before ends it before it does anything', async () => {
  const proxy = new Notes();
  const source = new Source();
  source.give(['10.0.0.1:80']);
  const follow = new Follow(proxy, source, { cluster: 'app', signal: AbortSignal.abort() });
  assert.deepEqual(await follow.done, { reason: 'aborted' });
  assert.deepEqual(proxy.pushed, []);
});

test('what fails is told, never an unhandled rejection', async (t) => {
  const unhandled = [];
  const note = (error) => unhandled.push(error);
  process.on('unhandledRejection', note);
  t.after(() => process.off('unhandledRejection', note));
  const cases = [
    [new Error('broken'), /broken/],
    [['bad'], /no/],
    [{ name: 'no endpoints' }, /no/],
    [null, /no/],
  ];
  for (const [value, message] of cases) {
    const source = new Source();
    const follow = new Follow(new Notes(), source, { cluster: 'app' });
    source.give(value);
    await turn();
    await turn();
    const { reason, error } = await follow.done;
    assert.equal(reason, 'failed');
    assert.match(error.message, message);
  }
  const aborted = new Source();
  const follow = new Follow(new Notes(), aborted, { cluster: 'app' });
  aborted.give(Object.assign(new Error('x'), { name: 'AbortError' }));
  assert.deepEqual(await follow.done, { reason: 'aborted' });
  await turn();
  assert.deepEqual(unhandled, []);
});

test("a source's own failure after it was left is nobody's", async (t) => {
  const unhandled = [];
  const note = (error) => unhandled.push(error);
  process.on('unhandledRejection', note);
  t.after(() => process.off('unhandledRejection', note));
  let fail;
  const source = { [Symbol.asyncIterator]: () => ({ next: () => new Promise((_, reject) => (fail = reject)), return: () => Promise.reject(new Error('left')) }) };
  const follow = new Follow(new Notes(), source, { cluster: 'app' });
  await turn();
  await follow.close();
  fail(new Error('late'));
  await turn();
  await turn();
  assert.deepEqual(unhandled, []);
});

test("a source's staleness becomes the proxy's event", async () => {
  const proxy = new Notes();
  const source = new Source();
  const follow = new Follow(proxy, source, { cluster: 'app' });
  const event = once(proxy, 'stale');
  source.emit('stale', { staleMs: 1500, reason: 'gone' });
  assert.deepEqual(await event, [{ source: 'app', staleMs: 1500, reason: 'gone' }]);
  await follow.close();
});

test('wrong arguments throw', () => {
  const proxy = new Proxy();
  const wrong = (message) => ({ name: 'TypeError', code: 'ERR_PLENIPO_INVALID_ARG', message });
  assert.throws(() => proxy.follow(), wrong(/^options must be an object/));
  assert.throws(() => proxy.follow([], { cluster: 'a' }), wrong(/async iterable/));
  assert.throws(() => proxy.follow(new Source(), {}), wrong(/^cluster must be a string/));
  assert.throws(() => proxy.follow(new Source(), { cluster: 'a', signal: 1 }), wrong(/AbortSignal/));
  assert.throws(() => proxy.follow(new Source(), { clutser: 'a' }), wrong(/did you mean 'cluster'/));
});
