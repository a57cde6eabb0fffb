// The end of the process and of worker threads: nothing hangs, nothing crashes, the port is free.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { portIsFree } from './lib/http.mjs';
import { runScript } from './lib/run-script.mjs';

/** A started proxy with an upstream in the same process, and requests under way all the time. */
const UNDER_LOAD = `
const upstream = await startUpstream('one');
const proxy = new Proxy(config([upstream.address]), { concurrency: 2 });
await proxy.start();
const port = portOf(proxy);
for (let n = 0; n < 8; n++) (async () => { for (;;) await request(port, n % 2 ? '/' : '/slow?ms=5').catch(() => {}); })();
`;

/** Fails unless the script ended by itself with this code. */
function ended({ code, signal, stderr }, want = 0) {
  assert.equal(signal, null, `killed by ${signal}: ${stderr}`);
  assert.equal(code, want, stderr);
  assert.equal(stderr, '');
}

describe('the process ends by itself', () => {
  test('when the proxy has stopped', async () => {
    const result = await runScript(`
      const proxy = new Proxy(config(), { concurrency: 2 });
      await proxy.start();
      await proxy.stop();
      say('stopped');`);
    ended(result);
    assert.deepEqual(result.said, ['stopped']);
    assert.ok(result.took < 10_000);
  });

  test('when the proxy is unref-ed, and not before', async () => {
    const result = await runScript(`
      const proxy = new Proxy(config(), { concurrency: 2 });
      await proxy.start();
      setTimeout(() => { say('alive'); proxy.unref(); }, 200).unref();`);
    ended(result);
    assert.deepEqual(result.said, ['alive']);
  });

  test('when it was unref-ed before the start, and ref undoes it', async () => {
    ended(await runScript(`await new Proxy(config(), { concurrency: 1 }).unref().start();`));
    const result = await runScript(`
      const proxy = new Proxy(config(), { concurrency: 1 }).unref();
      await proxy.start();
      proxy.ref();
      setTimeout(() => { say('alive'); process.exit(4); }, 200).unref();`);
    ended(result, 4);
    assert.deepEqual(result.said, ['alive']);
  });

  test('not while a call is under way', async () => {
    const result = await runScript(`
      const proxy = new Proxy(config(), { concurrency: 1 }).unref();
      await proxy.start();
      await proxy.apply({ clusters: [buildCluster('x', [])] });
      await proxy.stop();
      say(proxy.state);`);
    ended(result);
    assert.deepEqual(result.said, ['stopped']);
  });

  test('with an uncaught exception', async () => {
    const result = await runScript(`${UNDER_LOAD} setTimeout(() => { throw new Error('mine'); }, 50);`);
    assert.equal(result.signal, null);
    assert.equal(result.code, 1);
    assert.match(result.stderr, /mine/);
  });

  test('with an exception in a listener of an event', async () => {
    const result = await runScript(`
      const proxy = new Proxy(config(), { concurrency: 1 });
      proxy.on('applied', () => { throw new Error('mine'); });
      await proxy.start();
      await proxy.apply({ clusters: [buildCluster('x', [])] });
      setTimeout(() => {}, 5000);`);
    assert.equal(result.signal, null);
    assert.equal(result.code, 1);
    assert.match(result.stderr, /mine/);
  });
});

test('process.exit under load, 100 times', { timeout: 300_000 }, async () => {
  const ports = [];
  let worst = 0;
  const one = async () => {
    const result = await runScript(`${UNDER_LOAD} say(port); setTimeout(() => process.exit(5), 30 + Math.random() * 40);`);
    ended(result, 5);
    worst = Math.max(worst, result.took);
    ports.push(result.said[0]);
    assert.equal(await portIsFree(result.said[0]), true);
  };
  for (let n = 0; n < 50; n++) await Promise.all([one(), one()]);
  assert.equal(ports.length, 100);
  assert.ok(worst < 15_000, `${worst} ms`);
});

test('process.exit while starting, applying, draining, stopping', { timeout: 120_000 }, async () => {
  for (const what of [
    `new Proxy(config(), { concurrency: 2 }).start(); process.exit(5);`,
    `new Proxy(config(), { concurrency: 2 }).start(); setTimeout(() => process.exit(5), 1);`,
    `${UNDER_LOAD} proxy.apply({ clusters: [buildCluster('x', [])] }); process.exit(5);`,
    `${UNDER_LOAD} proxy.drain(); process.exit(5);`,
    `${UNDER_LOAD} proxy.stop(); process.exit(5);`,
    `${UNDER_LOAD} proxy.stop({ force: true }); process.exit(5);`,
    `${UNDER_LOAD} proxy.on('applied', () => process.exit(5)); proxy.apply({ clusters: [buildCluster('x', [])] });`,
  ]) {
    for (let n = 0; n < 3; n++) ended(await runScript(what), 5);
  }
});

test('worker.terminate under load, 100 times', { timeout: 300_000 }, async () => {
  const result = await runScript(
    `
    import { Worker } from 'node:worker_threads';
    import { readdirSync } from 'node:fs';
    const upstream = await startUpstream('one');
    const source = ${JSON.stringify(`
      const { parentPort, workerData } = require('node:worker_threads');
      (async () => {
        const { Proxy } = await import(workerData.package);
        const { config, portOf } = await import(workerData.helpers);
        const proxy = new Proxy(config([workerData.upstream]), { concurrency: 2 });
        await proxy.start();
        parentPort.postMessage(portOf(proxy));
        for (let n = 0; ; n++) await proxy.setEndpoints('app', [workerData.upstream]);
      })();`)};
    const workerData = { package: ${JSON.stringify(new URL('../../npm/lib/index.mjs', import.meta.url).href)}, helpers: ${JSON.stringify(new URL('./lib/proxy.mjs', import.meta.url).href)}, upstream: upstream.address };
    const threads = () => readdirSync('/proc/self/task').length;
    let before;
    let served = 0;
    for (let n = 0; n < 100; n++) {
      const worker = new Worker(source, { eval: true, execArgv: [], workerData });
      const port = await new Promise((resolve, reject) => { worker.once('message', resolve); worker.once('error', reject); });
      let running = true;
      const load = Array.from({ length: 4 }, async () => { while (running) await request(port).then(({ status }) => { if (status === 200) served += 1; }, () => {}); });
      await sleep(20);
      await worker.terminate();
      if (!(await portIsFree(port))) throw new Error('the port is still taken');
      running = false;
      await Promise.all(load);
      if (n === 4) before = threads();
    }
    upstream.close();
    say({ before, after: threads(), served });`,
    { timeoutMs: 240_000 },
  );
  ended(result);
  const [{ before, after, served }] = result.said;
  assert.ok(served > 100, String(served));
  assert.ok(after <= before + 1, `${before} threads, then ${after}`);
});

test('a worker thread that ends by itself', async () => {
  const result = await runScript(`
    import { Worker } from 'node:worker_threads';
    const worker = new Worker(\`(async () => {
      const { Proxy } = await import(\${JSON.stringify(${JSON.stringify(new URL('../../npm/lib/index.mjs', import.meta.url).href)})});
      const proxy = new Proxy({}, { concurrency: 1 });
      await proxy.start();
      await proxy.stop();
    })();\`, { eval: true, execArgv: [] });
    say(await new Promise((resolve) => worker.once('exit', resolve)));`);
  ended(result);
  assert.deepEqual(result.said, [0]);
});

test('the library handles no signals', async () => {
  const caught = `(await import('node:fs')).readFileSync('/proc/self/status', 'utf8').match(/^Sig(Cgt|Ign|Blk).*$/gm)`;
  const result = await runScript(`
    const before = ${caught};
    const proxy = new Proxy(config(), { concurrency: 2 });
    await proxy.start();
    say({ before, after: ${caught}, listeners: process.eventNames().filter((name) => String(name).startsWith('SIG')) });
    await proxy.stop();`);
  ended(result);
  const [{ before, after, listeners }] = result.said;
  assert.deepEqual(after, before);
  assert.deepEqual(listeners, []);
  const killed = await runScript(`${UNDER_LOAD} say('up'); setTimeout(() => {}, 30_000);`, { onSaid: (_, child) => child.kill('SIGTERM') });
  assert.equal(killed.signal, 'SIGTERM');
});
