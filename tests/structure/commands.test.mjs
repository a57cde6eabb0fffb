// The parts of `npm start` and `npm test`: locks between processes, named failures, counts of every runner, progress without a terminal.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { withLock } from '../../scripts/lib/lock.mjs';
import { root } from '../../scripts/lib/paths.mjs';
import { pruneTarget } from '../../scripts/lib/prune.mjs';
import { run, which } from '../../scripts/lib/run.mjs';
import { countingProgram, nodeTest } from '../../scripts/lib/suites.mjs';

const folder = mkdtempSync(join(tmpdir(), 'plenipo-commands-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const lib = (name) => JSON.stringify(new URL(`../../scripts/lib/${name}.mjs`, import.meta.url).href);

/** Runs a Node program; resolves with its status and output. */
function node(args, options = {}) {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, args, { timeout: 60_000, ...options }, (error, stdout, stderr) => resolve({ code: error ? error.code : 0, output: stdout + stderr }));
    child.stdin.end();
  });
}

test('a lock is held by one process at a time', async () => {
  const lock = join(folder, 'a', 'lock');
  const log = join(folder, 'log');
  const program = `
    import { appendFileSync } from 'node:fs';
    import { setTimeout as sleep } from 'node:timers/promises';
    import { withLock } from ${lib('lock')};
    for (let i = 0; i < 3; i += 1) {
      await withLock(${JSON.stringify(lock)}, async () => {
        appendFileSync(${JSON.stringify(log)}, 'in ');
        await sleep(20);
        appendFileSync(${JSON.stringify(log)}, 'out ');
      });
    }`;
  const results = await Promise.all([1, 2, 3].map(() => node(['--input-type=module', '-e', program])));
  assert.deepEqual(results.map(({ code }) => code), [0, 0, 0], results.map(({ output }) => output).join());
  assert.equal(readFileSync(log, 'utf8'), 'in out '.repeat(9));
  assert.ok(!existsSync(lock));
});

test('a lock whose holder is gone is taken over, one that lives is not', async () => {
  const lock = join(folder, 'stale');
  const { output } = await node(['-e', 'console.log(process.pid)']);
  writeFileSync(lock, `${hostname()} ${output.trim()}\n`);
  assert.equal(await withLock(lock, () => 'ran'), 'ran');

  writeFileSync(lock, `${hostname()} ${process.pid}\n`);
  let ran = false;
  const waiting = withLock(lock, () => {
    ran = true;
  });
  await sleep(400);
  assert.equal(ran, false);
  rmSync(lock);
  await waiting;
  assert.equal(ran, true);

  writeFileSync(lock, `another-machine 1\n`);
  utimesSync(lock, new Date(Date.now() - 60_000), new Date(Date.now() - 60_000));
  assert.equal(await withLock(lock, () => 'old'), 'old');
});

test("old artefacts of this project leave cargo's output, those of dependencies and new ones stay", async () => {
  const target = join(folder, 'target');
  const deps = join(target, 'debug', 'deps');
  const fingerprints = join(target, 'debug', '.fingerprint');
  for (const made of [deps, fingerprints]) mkdirSync(made, { recursive: true });
  writeFileSync(join(target, 'debug', '.cargo-lock'), '');
  const hash = '0123456789abcdef';
  const old = new Date(Date.now() - 5 * 24 * 60 * 60 * 1000);
  const put = (path, age) => {
    writeFileSync(path, '');
    if (age) utimesSync(path, age, age);
  };
  const fill = () => {
    for (const name of [`libplenipo_engine-${hash}.rlib`, `engine-${hash}`, `libserde-${hash}.rlib`, 'engineering-notes']) put(join(deps, name), old);
    put(join(deps, `libplenipo_api-${hash}.rlib`));
    mkdirSync(join(fingerprints, `plenipo-engine-${hash}`), { recursive: true });
    utimesSync(join(fingerprints, `plenipo-engine-${hash}`), old, old);
  };
  const left = () => [...readdirSync(deps), ...readdirSync(fingerprints)].sort();
  fill();
  const all = left();
  // While cargo works nothing goes.
  const cargo = spawn('flock', [join(target, 'debug', '.cargo-lock'), process.execPath, '-e', 'console.log(1); setTimeout(() => {}, 60_000)'], { stdio: ['ignore', 'pipe', 'inherit'], detached: true });
  await new Promise((resolve) => cargo.stdout.once('data', resolve));
  assert.equal(await pruneTarget(target), 0);
  assert.deepEqual(left(), all);
  process.kill(-cargo.pid, 'SIGKILL');
  await new Promise((resolve) => cargo.once('close', resolve));
  assert.equal(await pruneTarget(target), 3);
  assert.deepEqual(left(), ['engineering-notes', `libplenipo_api-${hash}.rlib`, `libserde-${hash}.rlib`]);
  // Once a day is enough.
  fill();
  assert.equal(await pruneTarget(target), 0);
  assert.equal(await pruneTarget(target, Date.now() + 25 * 60 * 60 * 1000), 3);
});

test('a lock is released when its work fails', async () => {
  const lock = join(folder, 'failing');
  await assert.rejects(withLock(lock, () => Promise.reject(new Error('no'))), /no/);
  assert.ok(!existsSync(lock));
});

test('npm start and npm test name a tool that is missing, and fail', async () => {
  const tools = join(folder, 'tools');
  mkdirSync(tools);
  symlinkSync(process.execPath, join(tools, 'node'));
  for (const name of ['npm', 'sh', 'env']) symlinkSync(which(name), join(tools, name));
  const env = { PATH: tools, HOME: folder, PLENIPO_CACHE: join(folder, 'cache') };
  for (const args of [['scripts/start.mjs', '--once'], ['scripts/test.mjs', '--only', 'rust'], ['scripts/build.mjs'], ['scripts/coverage.mjs']]) {
    const { code, output } = await node(args, { cwd: root, env });
    assert.equal(code, 1, output);
    assert.match(output, /'cargo' was not found on the PATH; it is needed to build the engine/, args[0]);
    assert.match(output, /rustup/);
  }
});

test('a suite that is not there is named', async () => {
  const { code, output } = await node(['scripts/test.mjs', '--only', 'rusty'], { cwd: root });
  assert.equal(code, 1);
  assert.match(output, /no suite 'rusty'.*rust/s);
});

test("a program's last line of counts is what counts, and without one it failed", async () => {
  const counts = (text, code = 0) => countingProgram('commands-probe', process.execPath, ['-e', `console.log(${JSON.stringify(text)}); process.exitCode = ${code}`]);
  const [good, bad, none, dead] = [await counts('1 passed, 0 failed\n7 passed, 0 failed'), await counts('3 passed, 2 failed', 1), await counts('all fine'), await counts('5 passed, 0 failed', 1)];
  assert.deepEqual([good.passed, good.failed], [7, 0]);
  assert.deepEqual([bad.passed, bad.failed], [3, 2]);
  assert.deepEqual([none.passed, none.failed], [0, 1]);
  assert.deepEqual([dead.passed, dead.failed], [5, 1]);
});

test('a folder without tests is a failure', async () => {
  await assert.rejects(nodeTest('commands-probe', ['tests/no-such-folder']), /there is no test file/);
});

test('a program that hangs is ended with all that it started', async () => {
  const file = join(folder, 'child');
  const program = `
    const { spawn } = require('node:child_process');
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
    require('node:fs').writeFileSync(${JSON.stringify(file)}, String(child.pid));
    setInterval(() => {}, 1000);`;
  const { timedOut, code } = await run(process.execPath, ['-e', program], { timeoutMs: 1_000 });
  assert.ok(timedOut && code !== 0);
  const alive = () => {
    try {
      return /^\d+ \(.*\) [^Z]/.test(readFileSync(`/proc/${readFileSync(file, 'utf8')}/stat`, 'utf8'));
    } catch {
      return false;
    }
  };
  for (let i = 0; i < 50 && alive(); i += 1) await sleep(20);
  assert.equal(alive(), false);
});
