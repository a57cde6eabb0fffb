// Sends requests at a steady pace and keeps what came back.
import { Agent, get } from 'node:http';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';

const TIMEOUT_MS = 5_000;

/** One request; resolves with `{ status, by, at }` (when it was sent, on `performance.now()`'s clock) or `{ error, at }`, never rejects. */
export function ask(port, { agent, host = 'app.local' } = {}) {
  const at = performance.now();
  return new Promise((resolve) => {
    const request = get({ host: '127.0.0.1', port, path: '/', agent, headers: { host }, timeout: TIMEOUT_MS }, (response) => {
      response.resume();
      response.on('end', () => resolve({ at, done: performance.now(), status: response.statusCode, by: response.headers['x-served-by'] }));
      response.on('error', (error) => resolve({ at, error }));
    });
    request.on('timeout', () => request.destroy(new Error(`no answer within ${TIMEOUT_MS} ms`)));
    request.on('error', (error) => resolve({ at, error }));
  });
}

/** Sends `perSecond` requests a second for `forMs`: three of four on kept-alive connections, the fourth on a new one. */
export async function load(port, { perSecond, forMs }) {
  const kept = new Agent({ keepAlive: true, maxSockets: 16 });
  const fresh = new Agent({ keepAlive: false });
  const started = performance.now();
  const total = Math.round((perSecond * forMs) / 1000);
  const answers = [];
  for (let i = 0; i < total; i += 1) {
    const due = started + (i * 1000) / perSecond;
    const wait = due - performance.now();
    if (wait > 1) await sleep(wait);
    answers.push(ask(port, { agent: i % 4 === 3 ? fresh : kept }));
  }
  const results = await Promise.all(answers);
  kept.destroy();
  return results;
}
