// Runs one suite of tests with its own runner and counts what passed and failed.
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import { Failure } from './fail.mjs';
import { ensureDir, logDir, root } from './paths.mjs';
import { run, tail } from './run.mjs';

/** What a suite came to. `detail` is shown when something failed. */
function outcome(passed, failed, { skipped = 0, detail = '' } = {}) {
  return { passed, failed, skipped, detail };
}

/** A command that is one check: its exit status decides. */
export async function check(name, command, args, options = {}) {
  const { code, output, timedOut } = await run(command, args, { cwd: root, label: name, log: join(logDir, `${name}.log`), ...options });
  if (code === 0) return outcome(1, 0);
  return outcome(0, 1, { detail: `${[command, ...args].join(' ')}: ${timedOut ? 'took too long' : `exit status ${code}`}\n${tail(output, 80)}` });
}

/** `cargo test`: the counts of all its test programs. A build that fails, or a program that dies, is one failure more. */
export async function cargoTest(name, args, options = {}) {
  let passed = 0;
  let failed = 0;
  let skipped = 0;
  const { code, output, timedOut } = await run('cargo', ['test', '--locked', '--no-fail-fast', ...args], {
    cwd: root,
    label: name,
    progress: () => `${passed} passed, ${failed} failed so far`,
    log: join(logDir, `${name}.log`),
    line(text) {
      const counts = /^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored;/.exec(text);
      if (!counts) return;
      passed += Number(counts[1]);
      failed += Number(counts[2]);
      skipped += Number(counts[3]);
    },
    ...options,
  });
  if (code !== 0 && failed === 0) failed = 1;
  let detail = '';
  if (failed > 0) {
    // Cargo prints a section for each failed test; where there is none, a build failed or a program died.
    const lines = output.split('\n').filter((line) => !/^test .* \.\.\. (ok|ignored)/.test(line) && !/^\s+(Compiling|Running|Doc-tests|Fresh)/.test(line));
    detail = `${timedOut ? 'took too long\n' : ''}${tail(lines.join('\n'), 150)}`;
  }
  return outcome(passed, failed, { skipped, detail });
}

/** All test files below a folder, sorted. */
export function testFiles(folder) {
  const path = join(root, folder);
  if (!existsSync(path)) return [];
  return readdirSync(path, { recursive: true })
    .map(String)
    .filter((file) => /\.test\.[cm]?js$/.test(file) && !file.split('/').includes('node_modules'))
    .sort()
    .map((file) => join(path, file));
}

/** `node --test` over the test files of some folders. */
export async function nodeTest(name, folders, { concurrency, ...options } = {}) {
  const files = folders.flatMap(testFiles);
  if (files.length === 0) throw new Failure(`there is no test file in ${folders.join(', ')}.`);
  const tap = join(ensureDir(logDir), `${name}.tap`);
  rmSync(tap, { force: true });
  const args = [
    ...(concurrency ? [`--test-concurrency=${concurrency}`] : []),
    '--test',
    '--test-reporter=spec', '--test-reporter-destination=stdout',
    '--test-reporter=tap', `--test-reporter-destination=${tap}`,
    ...files.map((file) => relative(root, file)),
  ];
  const { code, output, timedOut } = await run(process.execPath, args, { cwd: root, label: name, log: join(logDir, `${name}.log`), ...options });
  const summary = existsSync(tap) ? readFileSync(tap, 'utf8') : '';
  const count = (what) => Number(new RegExp(`^# ${what} (\\d+)$`, 'm').exec(summary)?.[1] ?? 0);
  const passed = count('pass');
  let failed = count('fail') + count('cancelled');
  if (code !== 0 && failed === 0) failed = 1;
  const at = output.indexOf('failing tests:');
  const why = timedOut ? 'took too long\n' : '';
  const detail = failed > 0 ? why + (at >= 0 ? output.slice(at).split('\n').slice(0, 150).join('\n') : tail(output, 100)) : '';
  return outcome(passed, failed, { skipped: count('skipped') + count('todo'), detail });
}

/** A program that ends in a line `N passed, N failed`. */
export async function countingProgram(name, command, args, options = {}) {
  const { code, output, timedOut } = await run(command, args, { cwd: root, label: name, log: join(logDir, `${name}.log`), ...options });
  const counts = [...output.matchAll(/^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$/gm)].at(-1);
  const passed = Number(counts?.[1] ?? 0);
  let failed = Number(counts?.[2] ?? 0);
  if ((code !== 0 || !counts) && failed === 0) failed = 1;
  const detail = failed > 0 ? `${timedOut ? 'took too long\n' : ''}${counts ? '' : "it did not end in 'N passed, N failed'\n"}${tail(output, 150)}` : '';
  return outcome(passed, failed, { skipped: Number(counts?.[3] ?? 0), detail });
}
