// Starting and stopping again and again: no growth of memory, descriptors or threads.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runScript } from './lib/run-script.mjs';

test('start and stop 200 times', { timeout: 300_000 }, async (t) => {
  const result = await runScript(
    `
    import { readdirSync, readFileSync } from 'node:fs';
    const upstream = await startUpstream('one');
    const measure = () => {
      gc();
      return {
        rss: Number(/^VmRSS:\\s+(\\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))[1]),
        fds: readdirSync('/proc/self/fd').length,
        threads: readdirSync('/proc/self/task').length,
      };
    };
    const points = [];
    for (let n = 1; n <= 200; n++) {
      const proxy = new Proxy(config([upstream.address]), { concurrency: 2 });
      await proxy.start();
      const { status } = await request(portOf(proxy));
      if (status !== 200) throw new Error('status ' + status);
      await proxy.apply({ clusters: [buildCluster('x' + n, [])] });
      await proxy.stop({ force: n % 2 === 0 });
      if (n % 50 === 0) points.push(measure());
    }
    upstream.close();
    say(points);`,
    { args: ['--expose-gc'], timeoutMs: 240_000 },
  );
  assert.equal(result.code, 0, `${result.signal} ${result.stderr}`);
  const [points] = result.said;
  t.diagnostic(JSON.stringify(points));
  const [first, , , last] = points;
  assert.equal(last.threads, first.threads);
  assert.ok(last.fds <= first.fds + 2, `${first.fds} descriptors, then ${last.fds}`);
  // 150 rounds: a leak of 50 KB a round would show as 7.5 MB.
  assert.ok(last.rss - first.rss < 7_500, `${first.rss} KB, then ${last.rss} KB`);
});
