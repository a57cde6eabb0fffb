// The command as npm installs it: the Rust library, reached through the addon.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { buildCluster } from '../../npm/lib/index.mjs';
import { portIsFree, request, startUpstream } from './lib/http.mjs';
import { listener } from './lib/proxy.mjs';

const program = fileURLToPath(new URL('../../npm/bin/plenipo.js', import.meta.url));
let folder;
let upstream;
before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'plenipo-command-'));
  upstream = await startUpstream('one');
});
after(() => {
  upstream.close();
  rmSync(folder, { recursive: true });
});

const run = (...args) => spawnSync(process.execPath, [program, ...args], { encoding: 'utf8', timeout: 30_000 });

test('--version and --help', () => {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url)));
  const { status, stdout } = run('--version');
  assert.equal(status, 0);
  assert.match(stdout, new RegExp(version.replaceAll('.', '\\.')));
  const help = run('run', '--help');
  assert.equal(help.status, 0);
  assert.match(help.stdout, /--config-path/);
});

test('a wrong flag is told, with a status that is not 0', () => {
  const { status, stderr } = run('run', '--no-such-flag');
  assert.notEqual(status, 0);
  assert.match(stderr, /--no-such-flag/);
});

test('validate prints every problem', () => {
  const file = join(folder, 'broken.yaml');
  writeFileSync(file, 'admn: {}\nnode: 5\n');
  const { status, stdout, stderr } = run('validate', file);
  assert.equal(status, 1);
  for (const place of [':1:', ':2:']) assert.ok(`${stdout}${stderr}`.includes(`${file}${place}`), stdout + stderr);
});

test('run serves, and SIGTERM drains', { timeout: 60_000 }, async (t) => {
  const file = join(folder, 'envoy.json');
  const address = join(folder, 'admin');
  const admin = { address: { socket_address: { address: '127.0.0.1', port_value: 0 } } };
  const static_resources = { listeners: [listener()], clusters: [buildCluster('app', [upstream.address])] };
  writeFileSync(file, JSON.stringify({ admin, static_resources }));
  const child = spawn(process.execPath, [program, 'run', '-c', file, '--concurrency', '1', '--admin-address-path', address], { stdio: ['ignore', 'pipe', 'pipe'] });
  t.after(() => child.kill('SIGKILL'));
  let output = '';
  child.stdout.on('data', (text) => (output += text));
  child.stderr.on('data', (text) => (output += text));
  const exited = once(child, 'exit');
  let listeners;
  for (let n = 0; n < 200 && !listeners; n++) {
    await sleep(50);
    try {
      const port = Number(readFileSync(address, 'utf8').split(':').at(-1));
      const text = (await request(port, '/listeners')).body;
      listeners = /http::127\.0\.0\.1:(\d+)/.exec(text)?.[1];
    } catch {
      // Not up yet.
    }
  }
  assert.ok(listeners, output);
  const port = Number(listeners);
  assert.equal((await request(port)).body, 'one');
  const slow = request(port, '/slow?ms=500');
  await sleep(100);
  child.kill('SIGTERM');
  assert.equal((await slow).body, 'one');
  const [code, signal] = await exited;
  assert.deepEqual([code, signal], [0, null], output);
  assert.equal(await portIsFree(port), true);
});
