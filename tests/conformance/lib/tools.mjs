// The conformance programs of others, built once from the Go module proxy, and a way to run one within a bound of time.
import { execFileSync, spawn } from 'node:child_process';
import path from 'node:path';

let folder;
/** The path of one of the programs; builds all of them if the cache has them not. Throws, naming it, if Go is missing. */
export function tool(name) {
  folder ??= execFileSync('bash', [path.resolve(import.meta.dirname, '..', 'tools', 'ensure.sh')], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], timeout: 1_200_000 }).trim();
  return path.join(folder, name);
}

/** Runs a program to its end: `{ code, output }`. After `timeoutMs` it is killed and the call throws what it had said. */
export function runTool(file, args, { timeoutMs, ...options }) {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text));
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new Error(`${path.basename(file)} ${args.join(' ')} did not end within ${timeoutMs} ms:\n${output.slice(-4000)}`));
    }, timeoutMs);
    child.on('error', (error) => { clearTimeout(timer); reject(error); });
    child.on('close', (code) => { clearTimeout(timer); resolve({ code, output }); });
  });
}
