// Runs a piece of an ES module in a process of its own, with the package and the test helpers at hand.
import { spawn } from 'node:child_process';

const url = (path) => JSON.stringify(new URL(path, import.meta.url).href);
const PRELUDE = `
import { Proxy, buildCluster, kubernetes } from ${url('../../../npm/lib/index.mjs')};
import { request, startUpstream, portIsFree } from ${url('./http.mjs')};
import { config, listener, portOf } from ${url('./proxy.mjs')};
const say = (value) => process.stdout.write(JSON.stringify(value) + '\\n');
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
`;

/** Resolves with `{ code, signal, said, stderr, took }`; `said` is what the script passed to `say`. A hang is a failure. */
export function runScript(code, { args = [], timeoutMs = 60_000, onSaid } = {}) {
  return new Promise((resolve, reject) => {
    const started = performance.now();
    const child = spawn(process.execPath, [...args, '--input-type=module', '-e', PRELUDE + code], { stdio: ['ignore', 'pipe', 'pipe'] });
    const said = [];
    let rest = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop();
      for (const line of lines) {
        said.push(JSON.parse(line));
        onSaid?.(said.at(-1), child);
      }
    });
    child.stderr.setEncoding('utf8').on('data', (text) => (stderr += text));
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new Error(`the script did not end within ${timeoutMs} ms; it said ${JSON.stringify(said)}\n${stderr}`));
    }, timeoutMs);
    child.on('error', reject);
    child.on('close', (status, signal) => {
      clearTimeout(timer);
      resolve({ code: status, signal, said, stderr, took: performance.now() - started });
    });
  });
}
