// Starts programs pinned to a core, waits until they answer, and ends them.
import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { get } from 'node:http';
import { get as getTls } from 'node:https';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

const running = new Set();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});
for (const [signal, status] of [['SIGINT', 130], ['SIGTERM', 143]]) process.on(signal, () => process.exit(status));

/** Starts a program on one core, its output in a file. `taskset` replaces itself by the program, so the child's id is the program's. */
export function pinned(core, command, args, { output, cwd, env } = {}) {
  const file = openSync(output, 'a');
  const child = spawn('taskset', ['-c', String(core), command, ...args], { cwd, env: { ...process.env, ...env }, stdio: ['ignore', file, file] });
  closeSync(file);
  running.add(child);
  child.ended = new Promise((resolve) => {
    child.on('error', resolve);
    child.on('exit', (code, signal) => {
      running.delete(child);
      resolve(signal ?? code);
    });
  });
  child.output = output;
  return child;
}

/** Ends a program and waits for it; after 5 s it is killed. */
export async function end(child, signal = 'SIGTERM') {
  if (!running.has(child)) return;
  child.kill(signal);
  const timer = setTimeout(() => child.kill('SIGKILL'), 5_000);
  await child.ended;
  clearTimeout(timer);
}

/** Ports that were free a moment ago, all different. */
export async function freePorts(count) {
  const servers = await Promise.all(
    Array.from({ length: count }, () => new Promise((resolve, reject) => {
      const server = createServer();
      server.once('error', reject).listen(0, '127.0.0.1', () => resolve(server));
    })),
  );
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** One GET on a new connection; resolves with the status, or undefined when there was no answer. */
export function status(port, { host = 'app.local', tls = false } = {}) {
  return new Promise((resolve) => {
    const options = { host: '127.0.0.1', port, path: '/', agent: false, headers: { host }, timeout: 2_000, rejectUnauthorized: false, servername: 'app.local' };
    const request = (tls ? getTls : get)(options, (response) => {
      response.resume();
      response.on('end', () => resolve(response.statusCode)).on('error', () => resolve(undefined));
    });
    request.on('timeout', () => request.destroy()).on('error', () => resolve(undefined));
  });
}

/** Waits until a port answers 200; fails with the program's last words when it ends first or takes too long. Returns the milliseconds. */
export async function answering(child, port, { host, tls, timeoutMs = 15_000, everyMs = 20 } = {}) {
  const started = performance.now();
  let ended = false;
  child.ended.then(() => {
    ended = true;
  });
  let last;
  while (!ended && performance.now() - started < timeoutMs) {
    last = await status(port, { host, tls });
    if (last === 200) return performance.now() - started;
    await sleep(everyMs);
  }
  const words = readFileSync(child.output, 'utf8').trimEnd().split('\n').slice(-15).join('\n');
  throw new Error(`${ended ? 'it ended' : `no 200 within ${timeoutMs / 1000} s (last: ${last ?? 'no answer'})`}:\n${words}`);
}
