// The programs under test: plenipo (or, to check the harness, Envoy in its place) with a file, and Node scripts.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import http from 'node:http';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { until } from './apiserver.mjs';

export const root = fileURLToPath(new URL('../../..', import.meta.url));
const cache = process.env.PLENIPO_CACHE || join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'plenipo');

/** PLENIPO_TEST_PROXY=envoy runs Envoy instead: what fails then is the test's fault. */
export const isEnvoy = process.env.PLENIPO_TEST_PROXY === 'envoy';

function programOf(config) {
  if (isEnvoy) {
    const envoy = process.env.ENVOY_BIN || join(cache, 'venv/bin/envoy');
    return [envoy, '-c', config, '--use-dynamic-base-id', '--concurrency', '2', '-l', 'warn'];
  }
  const target = process.env.CARGO_TARGET_DIR || join(cache, 'target');
  const program = process.env.PLENIPO_BIN || join(target, 'debug/plenipo');
  if (!existsSync(program)) throw new Error(`${program} is missing: cargo build -p plenipo-cli, or set PLENIPO_BIN`);
  return [program, 'run', '-c', config, '--concurrency', '2'];
}

/** A running program with its output kept. */
export class Program {
  /** Runs the proxy with a configuration file; ready when its admin page says so. */
  static async proxy(config, admin = 'http://127.0.0.1:9901') {
    const program = new Program(programOf(config), {});
    return program.#ready(admin);
  }

  /** Runs a Node script. */
  static async script(file, env, admin = 'http://127.0.0.1:9901') {
    const program = new Program([process.execPath, file], env);
    return program.#ready(admin);
  }

  output = '';
  #child;
  #gone;
  #terminated = false;

  constructor([command, ...args], env) {
    const clean = { ...process.env };
    // A test runner's child context would make a script report as if it were a test.
    for (const name of ['NODE_TEST_CONTEXT', 'NODE_OPTIONS', 'KUBECONFIG']) delete clean[name];
    // Whatever ends the test ends the program, too.
    this.#child = spawn('setpriv', ['--pdeathsig', 'KILL', command, ...args], { env: { ...clean, ...env }, stdio: ['ignore', 'pipe', 'pipe'], cwd: root });
    for (const stream of [this.#child.stdout, this.#child.stderr]) stream.on('data', (data) => (this.output += data));
    this.#gone = once(this.#child, 'exit');
  }

  async #ready(admin) {
    try {
      await until('the proxy to be ready', async () => {
        if (this.#child.exitCode !== null) return true;
        return (await get(`${admin}/ready`)).status === 200;
      });
      if (this.#child.exitCode !== null) throw new Error(`it ended with status ${this.#child.exitCode}`);
      return this;
    } catch (error) {
      this.#child.kill('SIGKILL');
      throw new Error(`${error.message}\n${this.output}`);
    }
  }

  get pid() {
    return this.#child.pid;
  }

  /** SIGTERM, and no waiting. Only the first call sends it: a second signal would end a script at once. */
  terminate() {
    if (!this.#terminated) this.#child.kill('SIGTERM');
    this.#terminated = true;
  }

  /** SIGTERM unless it was sent, then wait; gives `[status, signal]`. After `ms` it is killed, which is an error. */
  async end(ms = 10_000) {
    this.terminate();
    const timer = sleep(ms, 'late', { ref: false });
    const end = await Promise.race([this.#gone, timer]);
    if (end !== 'late') return end;
    this.#child.kill('SIGKILL');
    throw new Error(`it did not end within ${ms / 1_000} s of SIGTERM\n${this.output}`);
  }

  /** Ends it whatever happens. */
  async dispose() {
    this.#child.kill('SIGKILL');
    await this.#gone;
  }
}

/** One request on a connection of its own. */
export function get(url, headers = {}) {
  return new Promise((resolve, reject) => {
    const request = http.get(url, { headers, agent: false, timeout: 10_000 }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (data) => (text += data));
      response.once('end', () => resolve({ status: response.statusCode, headers: response.headers, text }));
      response.once('error', reject);
    });
    request.once('timeout', () => request.destroy(new Error('no answer within 10 s')));
    request.once('error', reject);
  });
}
