// A lock file between processes, so that two commands in one clone, or two clones with one cache, do not disturb each other.
import { closeSync, openSync, readFileSync, renameSync, rmSync, statSync, utimesSync, writeSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ensureDir } from './paths.mjs';

/** The holder touches its lock this often; one that was not touched for `STALE_MS` has lost its holder. */
const BEAT_MS = 2_000;
const STALE_MS = 30_000;

/** Whether the process that wrote this lock still runs; unknown (so: yes) when it is another machine's. */
function holderLives(text) {
  const [host, pid] = text.trim().split(' ');
  if (host !== hostname() || !/^\d+$/.test(pid ?? '')) return true;
  try {
    process.kill(Number(pid), 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

/** Takes a lock away whose holder is gone. Renaming it first lets only one of several waiters do so. */
function breakStale(path) {
  let text;
  let age;
  try {
    text = readFileSync(path, 'utf8');
    age = Date.now() - statSync(path).mtimeMs;
  } catch {
    return; // It was released meanwhile.
  }
  if (age < STALE_MS && (text === '' || holderLives(text))) return;
  const aside = `${path}.${process.pid}`;
  try {
    renameSync(path, aside);
    if (readFileSync(aside, 'utf8') !== text) renameSync(aside, path); // A new holder's: it goes back.
    else rmSync(aside);
  } catch {
    // Another waiter was faster.
  }
}

/** Runs `body` while holding the lock file at `path`; waits, with a line of progress every 10 s, while another process holds it. */
export async function withLock(path, body) {
  ensureDir(dirname(path));
  const started = performance.now();
  let nextWord = 10_000;
  for (;;) {
    try {
      const file = openSync(path, 'wx');
      writeSync(file, `${hostname()} ${process.pid}\n`);
      closeSync(file);
      break;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    breakStale(path);
    await sleep(100);
    if (performance.now() - started > nextWord) {
      console.log(`  … waiting for another plenipo command (${path}): ${Math.round((performance.now() - started) / 1000)} s`);
      nextWord += 10_000;
    }
  }
  const beat = setInterval(() => {
    try {
      utimesSync(path, new Date(), new Date());
    } catch {
      // Removed by hand: the lock is lost, the work goes on.
    }
  }, BEAT_MS);
  beat.unref();
  const release = () => rmSync(path, { force: true });
  process.once('exit', release);
  try {
    return await body();
  } finally {
    clearInterval(beat);
    process.off('exit', release);
    release();
  }
}
