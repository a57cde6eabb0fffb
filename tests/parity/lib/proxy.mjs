// Starts and stops one proxy process (real Envoy, or plenipo) on a configuration file.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { connect, sleep } from './raw.mjs';

const cache = process.env.PLENIPO_CACHE || path.join(process.env.XDG_CACHE_HOME || path.join(os.homedir(), '.cache'), 'plenipo');

/** The two programs: { envoy: [file, ...args], plenipo: [file, ...args] }. */
export function programs() {
  return { envoy: [findEnvoy()], plenipo: [process.env.PLENIPO_BIN || path.join(process.env.CARGO_TARGET_DIR || path.join(cache, 'target'), 'debug', 'plenipo'), 'run'] };
}

function findEnvoy() {
  if (process.env.ENVOY_BIN) return process.env.ENVOY_BIN;
  const lib = path.join(cache, 'venv', 'lib');
  for (const d of fs.existsSync(lib) ? fs.readdirSync(lib) : []) {
    const bin = path.join(lib, d, 'site-packages', 'envoy', '_bin', 'envoy');
    if (fs.existsSync(bin)) return bin;
  }
  return path.join(cache, 'venv', 'bin', 'envoy');
}

/** Starts `program` on `config`; resolves when /ready says LIVE. Rejects with the program's own words if it does not come up. */
export async function startProxy(name, program, config, dir, flags = []) {
  const adminPath = path.join(dir, 'admin-address');
  const [file, ...args] = program;
  if (!fs.existsSync(file)) throw new Error(`${name} is not at ${file}`);
  const child = spawn(file, [...args, '-c', config, '--concurrency', '1', '--use-dynamic-base-id', '--file-flush-interval-msec', '50',
    '--admin-address-path', adminPath, '-l', 'warning', ...flags], { stdio: ['ignore', 'pipe', 'pipe'] });
  const proxy = { name, child, pid: child.pid, output: '', exit: null, adminPort: null };
  const keep = d => { proxy.output = (proxy.output + d).slice(-20000); };
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  proxy.exited = new Promise(resolve => {
    child.once('error', e => { proxy.output += String(e); proxy.exit = { code: -1 }; resolve(); });
    child.once('close', (code, signal) => { proxy.exit = { code, signal }; resolve(); });
  });
  const deadline = Date.now() + 30000;
  for (;;) {
    if (proxy.exit) throw new Error(`${name} ended with ${JSON.stringify(proxy.exit)}:\n${proxy.output.trim()}`);
    if (Date.now() > deadline) { child.kill('SIGKILL'); throw new Error(`${name} was not ready within 30 s:\n${proxy.output.trim()}`); }
    const text = fs.existsSync(adminPath) ? fs.readFileSync(adminPath, 'utf8') : '';
    const port = /:(\d+)\s*$/.exec(text)?.[1];
    if (port) {
      proxy.adminPort = Number(port);
      const ready = await adminGet(proxy.adminPort, '/ready').catch(() => null);
      if (ready?.includes('LIVE')) return proxy;
    }
    await sleep(20);
  }
}

/** The body of GET `url` of an admin page. */
export async function adminGet(port, url, method = 'GET') {
  const c = await connect(port);
  c.write(`${method} ${url} HTTP/1.1\r\nhost: admin\r\n${method === 'POST' ? 'content-length: 0\r\n' : ''}connection: close\r\n\r\n`);
  const head = await c.head(10000);
  if (head === null) { c.destroy(); throw new Error(`no answer to ${method} ${url} of the admin page`); }
  const from = c.cursor;
  await c.body(head ?? '', 8000, { untilClose: true });
  c.destroy();
  const body = c.text.slice(from);
  return /^transfer-encoding: chunked/im.test(head) ? dechunk(body) : body;
}

/** The content of a chunked body. */
export function dechunk(body) {
  let out = '';
  for (;;) {
    const at = body.indexOf('\r\n');
    const size = parseInt(body, 16);
    if (at < 0 || !size) return out;
    out += body.slice(at + 2, at + 2 + size);
    body = body.slice(at + 4 + size);
  }
}

export async function stopProxy(proxy) {
  if (proxy.exit) return;
  // Envoy ends at once on SIGTERM and takes its shared memory with it; plenipo drains on it, which nobody waits for here.
  proxy.child.kill(proxy.name === 'envoy' ? 'SIGTERM' : 'SIGKILL');
  const timer = setTimeout(() => proxy.child.kill('SIGKILL'), 3000);
  await proxy.exited;
  clearTimeout(timer);
}
