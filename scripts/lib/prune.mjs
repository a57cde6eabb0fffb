// Removes what this project left in cargo's output long ago: every path of a clone makes artefacts of its own, and nobody else does.
import { existsSync, lstatSync, readdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { root } from './paths.mjs';
import { run, which } from './run.mjs';

const DAY_MS = 24 * 60 * 60 * 1000;
/** What was not written for so long is built again if it is ever needed. */
const KEEP_DAYS = 3;
const FOLDERS = ['.fingerprint', 'build', 'deps', 'examples', 'incremental'];

function list(folder) {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** The names that cargo gives to this workspace's own artefacts: its packages, and the programs of their tests. */
function ownNames() {
  const names = new Set(['plenipo']);
  for (const crate of list(join(root, 'crate'))) {
    names.add(`plenipo-${crate}`);
    for (const file of list(join(root, 'crate', crate, 'tests'))) names.add(basename(file, '.rs'));
  }
  return [...names].flatMap((name) => [name, name.replaceAll('-', '_')]);
}

/** Whether a file or folder of cargo's output is one of ours: a name, then a hash of hexadecimal or base-36 digits. */
function isOwn(names, entry) {
  const plain = entry.replace(/^lib/, '');
  return names.some((name) => plain.startsWith(`${name}-`) && /^[0-9a-z]{13,16}(?:[.-]|$)/.test(plain.slice(name.length + 1)));
}

/**
 * Removes this project's own artefacts that are older than three days from `target`, at most once a day; those of its dependencies stay,
 * as all clones share them. Does nothing while a cargo is at work there. Returns how many files and folders are gone.
 */
export async function pruneTarget(target, now = Date.now()) {
  const flock = which('flock');
  if (!flock || !existsSync(target)) return 0;
  const stamp = join(target, '.plenipo-pruned');
  if (existsSync(stamp) && now - lstatSync(stamp).mtimeMs < DAY_MS) return 0;
  const names = ownNames();
  let removed = 0;
  for (const profile of list(target)) {
    const lock = join(target, profile, '.cargo-lock');
    if (!existsSync(lock)) continue;
    const old = FOLDERS.flatMap((folder) => list(join(target, profile, folder)).filter((entry) => isOwn(names, entry)).map((entry) => join(target, profile, folder, entry)))
      .filter((path) => now - lstatSync(path).mtimeMs > KEEP_DAYS * DAY_MS);
    // Cargo holds this lock while it works; whoever holds it now is not waited for.
    for (let at = 0; at < old.length; at += 500) {
      const some = old.slice(at, at + 500);
      const { code } = await run(flock, ['--nonblock', lock, 'rm', '-rf', '--', ...some]);
      if (code !== 0) return removed;
      removed += some.length;
    }
  }
  writeFileSync(stamp, '');
  return removed;
}
