// Where things are: the clone, the cache folder outside it, the build's output, and this machine's platform name.
import { createHash } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The root of the clone. */
export const root = resolve(dirname(fileURLToPath(import.meta.url)), '..', '..');

/** Everything that is built or downloaded and worth keeping lives here, outside the clone. */
export const cacheDir = resolve(
  process.env.PLENIPO_CACHE || join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'plenipo'),
);

/** Cargo's output, shared by all clones of one user. */
export const targetDir = resolve(process.env.CARGO_TARGET_DIR || join(cacheDir, 'target'));

/** Tells this clone from others that share the cache. */
const clone = createHash('sha256').update(root).digest('hex').slice(0, 12);

/** The folder with the output of each suite of this clone's last `npm test`. */
export const logDir = join(cacheDir, 'logs', clone);

/** Held while this clone's node_modules is being installed. */
export const installLock = join(cacheDir, 'locks', `${clone}.install`);

/** Makes a folder and its parents, and returns its path. */
export function ensureDir(path) {
  mkdirSync(path, { recursive: true });
  return path;
}

/** Which C library this Linux process uses; undefined elsewhere. */
function libc() {
  if (process.platform !== 'linux') return undefined;
  const header = process.report?.getReport?.()?.header;
  return header?.glibcVersionRuntime ? 'gnu' : 'musl';
}

/** This machine's platform as the addon's file and package are named after it, such as `linux-x64-gnu`. */
export const platform = [process.platform, process.arch, libc()].filter(Boolean).join('-');

/** Where the addon that was built from this clone lies. */
export const addonPath = join(root, 'npm', `plenipo.${platform}.node`);

/** The name that cargo gives to the addon's shared library. */
export const addonLibrary = { linux: 'libplenipo_node.so', darwin: 'libplenipo_node.dylib', win32: 'plenipo_node.dll' }[
  process.platform
];
