// kubernetes.discover and kubernetes.watch, against the quickstart's stand-in for the API. The real API server is in tests/kubernetes.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { after, before, beforeEach, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { KubeConfig } from '@kubernetes/client-node';
import { ProxyError, kubernetes } from '../../npm/lib/index.mjs';
import { startCluster } from './lib/cluster.mjs';

let cluster;
let name;
let count = 0;
before(async () => {
  cluster = await startCluster();
});
after(() => cluster.remove());
beforeEach(async () => {
  name = `app-${++count}`;
  await cluster.addService(name, ['10.0.0.1', '10.0.0.2']);
});

const addresses = (snapshot) => snapshot.endpoints.map(({ address, port }) => `${address}:${port}`);
const options = (more) => ({ kubeconfig: cluster.kubeconfig, debounce: 0, ...more });
const aborts = { name: 'AbortError', code: 'ABORT_ERR' };

/** Asserts that a call is refused at once as a wrong argument. */
const wrongArgument = (message) => ({ name: 'TypeError', code: 'ERR_PLENIPO_INVALID_ARG', message });

describe('discover', () => {
  test('gives the endpoints of a Service', async () => {
    const snapshot = await kubernetes.discover({ service: name, port: 'http' }, { kubeconfig: cluster.kubeconfig });
    assert.equal(snapshot.name, name);
    assert.equal(snapshot.namespace, 'shop');
    assert.deepEqual(addresses(snapshot), ['10.0.0.1:8080', '10.0.0.2:8080']);
    assert.ok(snapshot.at instanceof Date && Math.abs(Date.now() - snapshot.at) < 60_000);
    const again = await kubernetes.discover({ service: name, namespace: 'shop', port: 80 }, { kubeconfig: cluster.kubeconfig });
    assert.equal(again.version, snapshot.version);
  });

  test('takes a KubeConfig of @kubernetes/client-node', async () => {
    const client = new KubeConfig();
    client.loadFromFile(cluster.kubeconfig);
    assert.deepEqual(addresses(await kubernetes.discover({ service: name }, { client })), ['10.0.0.1:8080', '10.0.0.2:8080']);
  });

  test('failures are typed, and hold no token', async () => {
    const cases = [
      [{ service: 'no-such' }, {}, 'ERR_PLENIPO_KUBE_NOT_FOUND', { service: 'no-such', namespace: 'shop' }],
      [{ service: name, port: 81 }, {}, 'ERR_PLENIPO_KUBE_TARGET', { service: name, namespace: 'shop' }],
      [{ service: 'Not_A_Name' }, {}, 'ERR_PLENIPO_KUBE_TARGET', { service: 'Not_A_Name', namespace: 'shop' }],
      [{ service: name }, { kubeconfig: cluster.strangers }, 'ERR_PLENIPO_KUBE_AUTH', { status: 401, verb: 'list' }],
      [{ service: name }, { kubeconfig: '/no/such/file' }, 'ERR_PLENIPO_KUBE_CONFIG', undefined],
      [{ service: name }, { context: 'no-such' }, 'ERR_PLENIPO_KUBE_CONFIG', undefined],
    ];
    for (const [target, more, code, details] of cases) {
      await assert.rejects(kubernetes.discover(target, { kubeconfig: cluster.kubeconfig, ...more }), (error) => {
        assert.ok(error instanceof ProxyError, error.stack);
        assert.equal(error.code, code, error.message);
        for (const [key, value] of Object.entries(details ?? {})) assert.equal(error.details[key], value);
        assert.doesNotMatch(`${error.stack} ${JSON.stringify(error)}`, /SECRET/);
        return true;
      });
    }
  });

  test('wrong arguments only reject', async () => {
    const client = new KubeConfig();
    const cases = [
      [undefined, {}, /^the target must be an object/],
      [name, {}, /^the target must be an object/],
      [{}, {}, /^the target\.service/],
      [{ service: name, prot: 1 }, {}, /did you mean 'port'/],
      [{ service: name, port: 0 }, {}, /^the target\.port/],
      [{ service: name }, { kubeconfg: '' }, /did you mean 'kubeconfig'/],
      [{ service: name }, { family: 'ipv5' }, /^family must be one of/],
      [{ service: name }, { client: {} }, /^client must be a KubeConfig/],
      [{ service: name }, { client, kubeconfig: 'x' }, /not both/],
      [{ service: name }, { signal: {} }, /^signal must be an AbortSignal/],
      [{ service: name }, { debounce: 1 }, /has no option 'debounce'/],
    ];
    for (const [target, more, message] of cases) await assert.rejects(kubernetes.discover(target, more), wrongArgument(message));
  });

  test('can be aborted, before and during', async () => {
    await assert.rejects(kubernetes.discover({ service: name }, { kubeconfig: cluster.kubeconfig, signal: AbortSignal.abort('why') }), { ...aborts, cause: 'why' });
    const controller = new AbortController();
    const call = kubernetes.discover({ service: name }, { kubeconfig: cluster.kubeconfig, signal: controller.signal });
    controller.abort();
    await assert.rejects(call, aborts);
  });
});

describe('watch', () => {
  test('gives what is there, then every change, the newest only to a slow reader', async (t) => {
    const watch = kubernetes.watch({ service: name }, options());
    t.after(() => watch.close());
    assert.equal(watch.synced, false);
    assert.equal(watch.current, undefined);
    const loop = watch[Symbol.asyncIterator]();
    const first = (await loop.next()).value;
    assert.deepEqual(addresses(first), ['10.0.0.1:8080', '10.0.0.2:8080']);
    assert.equal(watch.synced, true);
    assert.equal(watch.current, first);
    assert.deepEqual(watch.snapshots, [first]);
    assert.equal(watch.staleMs, 0);
    for (let n = 1; n <= 20; n++) await cluster.setEndpoints(name, [`10.0.1.${n}`]);
    while (watch.current.endpoints[0].address !== '10.0.1.20') await sleep(10);
    assert.deepEqual(addresses((await loop.next()).value), ['10.0.1.20:8080']);
    await cluster.setEndpoints(name, []);
    assert.deepEqual(addresses((await loop.next()).value), []);
  });

  test('every loop starts with what is known, and sees all changes', async (t) => {
    const watch = kubernetes.watch({ service: name }, options());
    t.after(() => watch.close());
    const [a, b] = [watch[Symbol.asyncIterator](), watch[Symbol.asyncIterator]()];
    const firsts = await Promise.all([a.next(), b.next()]);
    assert.equal(firsts[0].value, firsts[1].value);
    const seconds = Promise.all([a.next(), b.next()]);
    await cluster.setEndpoints(name, ['10.0.0.9']);
    for (const { value } of await seconds) assert.deepEqual(addresses(value), ['10.0.0.9:8080']);
    await a.return();
    const late = watch[Symbol.asyncIterator]();
    assert.deepEqual(addresses((await late.next()).value), ['10.0.0.9:8080']);
    // The last loop ends the watch.
    await b.return();
    await late.return();
    assert.deepEqual(await watch[Symbol.asyncIterator]().next(), { value: undefined, done: true });
  });

  test('several Services at once', async (t) => {
    const other = `${name}-b`;
    await cluster.addService(other, ['10.0.2.1']);
    const watch = kubernetes.watch([{ service: name }, { service: other, namespace: 'shop' }], options());
    t.after(() => watch.close());
    const seen = new Map();
    for await (const snapshot of watch) {
      seen.set(snapshot.name, addresses(snapshot));
      if (seen.size === 2) break;
    }
    assert.deepEqual(seen.get(other), ['10.0.2.1:8080']);
    assert.deepEqual(watch.snapshots.map((each) => each.name), [name, other]);
  });

  test('an outage keeps the last set, tells that it is stale, and ends by itself', { timeout: 60_000 }, async (t) => {
    const own = await startCluster();
    try {
      await own.addService(name, ['10.0.0.1']);
      const watch = kubernetes.watch({ service: name }, { kubeconfig: own.kubeconfig, debounce: 0 });
    t.after(() => watch.close());
      const loop = watch[Symbol.asyncIterator]();
      await loop.next();
      const stale = once(watch, 'stale');
      own.close();
      const [event] = await stale;
      assert.equal(typeof event.staleMs, 'number');
      assert.match(event.reason, /\w/);
      assert.doesNotMatch(event.reason, /SECRET/);
      assert.ok(watch.staleMs >= event.staleMs && watch.staleMs > 0);
      assert.deepEqual(addresses(watch.current), ['10.0.0.1:8080']);
      const fresh = once(watch, 'fresh');
      await own.reopen();
      await fresh;
      assert.equal(watch.staleMs, 0);
      const next = loop.next();
      await own.setEndpoints(name, ['10.0.0.7']);
      assert.deepEqual(addresses((await next).value), ['10.0.0.7:8080']);
    } finally {
      own.remove();
    }
  });

  test('a missing Service is waited for', async (t) => {
    const late = `${name}-late`;
    const watch = kubernetes.watch({ service: late }, options());
    t.after(() => watch.close());
    const timer = setTimeout(() => {
      assert.equal(watch.synced, false);
      return cluster.addService(late, ['10.0.3.1']);
    }, 100);
    t.after(() => clearTimeout(timer));
    // The Service is there a moment before its endpoints are.
    for await (const snapshot of watch) {
      if (snapshot.endpoints.length === 0) continue;
      assert.deepEqual(addresses(snapshot), ['10.0.3.1:8080']);
      break;
    }
  });

  test('being refused ends every loop with the same error, and is no unhandled rejection', async () => {
    const watch = kubernetes.watch({ service: name }, options({ kubeconfig: cluster.strangers }));
    const [a, b] = [watch[Symbol.asyncIterator](), watch[Symbol.asyncIterator]()];
    const [one, two] = await Promise.all([a.next().catch((e) => e), b.next().catch((e) => e)]);
    assert.equal(one.code, 'ERR_PLENIPO_KUBE_AUTH');
    assert.equal(one, two);
    for (const word of ['list', 'shop', '401']) assert.match(one.message, new RegExp(word));
    assert.deepEqual(await a.next(), { value: undefined, done: true });
    await assert.rejects(watch[Symbol.asyncIterator]().next(), one);
    await watch.close();
  });

  test('closing ends loops without an error, aborting with AbortError', async () => {
    const closed = kubernetes.watch({ service: name }, options());
    const loop = closed[Symbol.asyncIterator]();
    await loop.next();
    const pending = loop.next();
    await closed.close();
    assert.deepEqual(await pending, { value: undefined, done: true });
    await closed.close();

    const controller = new AbortController();
    const aborted = kubernetes.watch({ service: name }, options({ signal: controller.signal }));
    const waiting = aborted[Symbol.asyncIterator]().next();
    controller.abort();
    await assert.rejects(waiting, aborts);
    await assert.rejects(kubernetes.watch({ service: name }, options({ signal: controller.signal }))[Symbol.asyncIterator]().next(), aborts);
  });

  test('wrong arguments throw', () => {
    assert.throws(() => kubernetes.watch(), wrongArgument(/^the target must be an object/));
    assert.throws(() => kubernetes.watch([]), wrongArgument(/at least one target/));
    assert.throws(() => kubernetes.watch([{ service: name }, {}]), wrongArgument(/^targets\[1\]\.service/));
    assert.throws(() => kubernetes.watch({ service: name }, { maxStale: 'x' }), wrongArgument(/^maxStale must be a duration/));
  });
});

describe('the process', () => {
  const run = (code) => {
    const started = performance.now();
    const text = `import { kubernetes } from ${JSON.stringify(new URL('../../npm/lib/index.mjs', import.meta.url).href)};
      const options = { kubeconfig: ${JSON.stringify(cluster.kubeconfig)} }; ${code}`;
    const result = spawnSync(process.execPath, ['--input-type=module', '-e', text], { encoding: 'utf8', timeout: 30_000 });
    return { ...result, took: performance.now() - started };
  };
  // The stand-in lives in this process, so these probes are ones that need no answer from it.
  test('ends by itself when the watch is unref-ed or closed', () => {
    for (const end of ['watch.unref()', 'await watch.close()', 'watch.unref().ref().unref()']) {
      const { status, stderr, took } = run(`const watch = kubernetes.watch({ service: 'a' }, options); ${end};`);
      assert.equal(status, 0, stderr);
      assert.ok(took < 5_000, `${end}: ${took} ms`);
    }
  });

  test('stays while a watch is open', () => {
    const { status, stdout } = run(`const watch = kubernetes.watch({ service: 'a' }, options); setTimeout(() => { console.log('still here'); process.exit(7); }, 300).unref();`);
    assert.equal(status, 7);
    assert.match(stdout, /still here/);
  });

  test('process.exit ends it at once', () => {
    const { status, took } = run(`kubernetes.watch({ service: 'a' }, options); kubernetes.discover({ service: 'a' }, options); process.exit(3);`);
    assert.equal(status, 3);
    assert.ok(took < 5_000);
  });
});
