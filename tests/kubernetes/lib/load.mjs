// A steady load: so many requests a second, half on kept connections, half on new ones. Nothing is retried; every answer is counted.
import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

const TICK = 10;

/** Starts it; `stop()` waits for what is under way and gives the counts. It ends by itself after `seconds`. */
export function startLoad(url, { rate = 500, seconds = 10, headers = {} } = {}) {
  const kept = new http.Agent({ keepAlive: true, maxSockets: 32 });
  const counts = { sent: 0, ok: 0, bad: [], byName: {}, kept: 0, fresh: 0 };
  const under = new Set();
  let stopped = false;

  function one(isKept) {
    counts.sent += 1;
    const number = counts.sent;
    const done = new Promise((resolve) => {
      const fail = (why) => {
        counts.bad.push(`request ${number} (${isKept ? 'kept' : 'new'} connection): ${why}`);
        resolve();
      };
      const agent = isKept ? kept : false;
      const request = http.get(url, { agent, headers, timeout: 10_000 }, (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (data) => (text += data));
        response.once('error', (error) => fail(error.message));
        response.once('end', () => {
          if (response.statusCode !== 200) return fail(`${response.statusCode} ${text}`);
          counts.ok += 1;
          counts[isKept ? 'kept' : 'fresh'] += 1;
          const { name } = JSON.parse(text);
          counts.byName[name] = (counts.byName[name] ?? 0) + 1;
          return resolve();
        });
      });
      request.once('timeout', () => request.destroy(new Error('no answer within 10 s')));
      request.once('error', (error) => fail(error.message));
    });
    under.add(done);
    done.then(() => under.delete(done));
  }

  const running = (async () => {
    const begun = performance.now();
    // Late ticks are made up for, so that the rate is kept.
    while (!stopped && performance.now() - begun < seconds * 1_000) {
      const due = Math.floor(((performance.now() - begun) / 1_000) * rate);
      while (counts.sent < due) one(counts.sent % 2 === 0);
      await sleep(TICK);
    }
    await Promise.all(under);
    kept.destroy();
    return counts;
  })();

  return {
    counts,
    done: running,
    stop() {
      stopped = true;
      return running;
    },
  };
}
