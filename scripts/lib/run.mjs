// Runs other programs: without a terminal or stdin, with a line of progress every 10 s, and never leaving one behind.
import { spawn } from 'node:child_process';
import { accessSync, constants, createWriteStream, statSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { Failure } from './fail.mjs';
import { ensureDir } from './paths.mjs';

/** A line of progress is printed this often while something runs. */
const PROGRESS_MS = 10_000;

/** How long a program may take to end after SIGTERM. */
const KILL_AFTER_MS = 5_000;

const running = new Set();

/** Finds a program on the PATH, or undefined. */
export function which(name) {
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    const file = join(folder || '.', name);
    try {
      accessSync(file, constants.X_OK);
      if (statSync(file).isFile()) return file;
    } catch {
      // Not here; the next folder may have it.
    }
  }
  return undefined;
}

/** Fails, naming the tool and what it is for, when a program is not on the PATH. */
export function needTool(name, purpose, remedy) {
  const found = which(name);
  if (!found) throw new Failure(`'${name}' was not found on the PATH; it is needed ${purpose}.`, remedy);
  return found;
}

/** Seconds since a moment of `performance.now()`, as text. */
export function seconds(since) {
  return `${((performance.now() - since) / 1000).toFixed(1)} s`;
}

/** Calls `tick` every 10 s until the returned function is called. */
export function everyTenSeconds(tick) {
  const timer = setInterval(tick, PROGRESS_MS);
  timer.unref();
  return () => clearInterval(timer);
}

// Each program runs in a process group of its own, so that its children end with it; hence signals are handed on here.
function killGroup(child, signal) {
  try {
    process.kill(-child.pid, signal);
  } catch {
    // It has ended already.
  }
}
for (const [signal, status] of [['SIGINT', 130], ['SIGTERM', 143], ['SIGHUP', 129]]) {
  process.on(signal, () => {
    if (running.size === 0 && process.listenerCount(signal) > 1) return; // Somebody else handles it.
    for (const child of running) killGroup(child, 'SIGTERM');
    if (process.listenerCount(signal) === 1) process.exit(status);
  });
}
process.on('exit', () => {
  for (const child of running) killGroup(child, 'SIGKILL');
});

/**
 * Runs a program to its end.
 *
 * Options: `cwd`, `env` (added to this process's), `log` (a file that gets all output), `line` (called with each line of stdout),
 * `label` (names it in the lines of progress; without it there are none), `progress` (more text for them), `timeoutMs`.
 * Resolves with `{ code, output, timedOut }`; the output is the last megabyte of stdout and stderr together.
 */
export function run(command, args = [], options = {}) {
  const { cwd, env, log, line, label, progress, timeoutMs } = options;
  const started = performance.now();
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    running.add(child);
    if (log) ensureDir(dirname(log));
    const file = log ? createWriteStream(log) : undefined;
    let output = '';
    let rest = '';
    let timedOut = false;
    const take = (text) => {
      file?.write(text);
      output += text;
      if (output.length > 2 << 20) output = output.slice(-(1 << 20));
    };
    child.stdout.setEncoding('utf8').on('data', (text) => {
      take(text);
      if (!line) return;
      const lines = (rest + text).split('\n');
      rest = lines.pop();
      for (const each of lines) line(each);
    });
    child.stderr.setEncoding('utf8').on('data', take);
    const stop = label
      ? everyTenSeconds(() => console.log(`  … ${label}: ${Math.round((performance.now() - started) / 1000)} s${progress ? `, ${progress()}` : ''}`))
      : () => {};
    const timer = timeoutMs
      ? setTimeout(() => {
          timedOut = true;
          killGroup(child, 'SIGTERM');
          setTimeout(() => killGroup(child, 'SIGKILL'), KILL_AFTER_MS).unref();
        }, timeoutMs)
      : undefined;
    const end = () => {
      running.delete(child);
      clearTimeout(timer);
      stop();
    };
    child.on('error', (error) => {
      end();
      file?.end();
      reject(error.code === 'ENOENT' ? new Failure(`'${command}' was not found on the PATH.`) : error);
    });
    child.on('close', (code, signal) => {
      end();
      if (line && rest) line(rest);
      killGroup(child, 'SIGKILL'); // What it left behind in its group.
      const result = { code: code ?? 1, signal, output, timedOut };
      if (file) file.end(() => resolve(result));
      else resolve(result);
    });
  });
}

/** Runs a program that must succeed; a failure shows the last lines of its output. */
export async function mustRun(what, command, args, options = {}) {
  const result = await run(command, args, { label: what, ...options });
  if (result.code !== 0) {
    const why = result.timedOut ? 'took too long' : result.signal ? `was ended by ${result.signal}` : `exit status ${result.code}`;
    throw new Failure(`${what} failed (${[command, ...args].join(' ')}: ${why}):\n${tail(result.output, 60)}`);
  }
  return result;
}

/** The last `count` lines of a text. */
export function tail(text, count) {
  return text.trimEnd().split('\n').slice(-count).join('\n');
}
