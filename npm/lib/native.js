// Finds and loads the addon, and speaks with it: every asynchronous call is a numbered request that one callback answers.
'use strict';

const { existsSync, readFileSync } = require('node:fs');
const { join } = require('node:path');
const { ProxyError, fromNative } = require('./errors.js');

/** Systems that have a prebuilt package `@plenipo/<platform>`. */
const PLATFORMS = ['linux-x64-gnu', 'linux-arm64-gnu'];

/** This machine, as addon files and platform packages are named: `linux-x64-gnu`. */
function platformName() {
  const libc = process.platform === 'linux' ? [isMusl() ? 'musl' : 'gnu'] : [];
  return [process.platform, process.arch, ...libc].join('-');
}

/** Node's report names the glibc it runs on; where reports are off, musl's loader tells. */
function isMusl() {
  const exclude = process.report?.excludeNetwork;
  try {
    if (process.report) {
      process.report.excludeNetwork = true; // Or it would look up host names of open sockets, slowly.
      const report = process.report.getReport();
      if (report?.header) return !report.header.glibcVersionRuntime;
    }
  } finally {
    if (process.report) process.report.excludeNetwork = exclude;
  }
  try {
    return readFileSync('/usr/bin/ldd', 'latin1').includes('musl');
  } catch {
    return existsSync('/etc/alpine-release');
  }
}

/** Loads the addon that was built in this checkout, or else the platform's package. */
function loadAddon() {
  const platform = platformName();
  const local = join(__dirname, '..', `plenipo.${platform}.node`);
  const tried = [];
  for (const place of existsSync(local) ? [local] : [`@plenipo/${platform}`]) {
    try {
      return require(place);
    } catch (error) {
      tried.push({ place, error });
    }
  }
  const { place, error } = tried[0];
  const absent = error.code === 'MODULE_NOT_FOUND';
  const message = absent
    ? `plenipo has no native part for ${platform} here. ${remedy(platform)}`
    : `plenipo's native part (${place}) could not be loaded: ${error.message}. ${remedy(platform)}`;
  throw new ProxyError('ERR_PLENIPO_NATIVE_MISSING', message, { cause: error, details: { platform, place } });
}

function remedy(platform) {
  const checkout = `In a checkout of the source, run 'npm run build' (it needs Rust).`;
  if (!PLATFORMS.includes(platform)) {
    return `Prebuilt are ${PLATFORMS.join(', ')} (glibc 2.34 or newer). ${checkout}`;
  }
  return (
    `Install with optional dependencies ('npm install --include=optional'), on the platform where it will run; ` +
    `if package-lock.json was made on another system, delete node_modules and package-lock.json and install again. ${checkout}`
  );
}

let bridge;
let addon;
const pending = new Map();
let nextId = 1;

/** The addon itself, for the command. */
function load() {
  addon ??= loadAddon();
  return addon;
}

/** This thread's connection to the addon; made at the first use, so that builders work without it. */
function connect() {
  if (bridge !== undefined) return bridge;
  bridge = new (load().Bridge)(receive);
  // process.exit() runs no environment clean-up on the main thread, so the engine's threads are ended here.
  process.on('exit', () => bridge.shutdown());
  return bridge;
}

/** Called by the addon for every answer and every event: `text` is JSON, `last` tells that nothing follows under this number. */
function receive(id, text, last) {
  const entry = pending.get(id);
  if (entry === undefined) return;
  if (last) {
    pending.delete(id);
    if (entry.held) release();
  }
  entry.receive(JSON.parse(text), last);
}

/** Opens a stream of messages: `begin(id)` starts it in the addon. Returns its number, for `close`. */
function open(onMessage, begin) {
  const id = nextId++;
  pending.set(id, { receive: onMessage, held: false });
  try {
    check(begin(connect(), id));
  } catch (error) {
    pending.delete(id);
    throw error;
  }
  return id;
}

/** Forgets a stream; nothing more is delivered. */
function close(id) {
  if (pending.delete(id)) bridge.cancel(id);
}

/**
 * Makes one asynchronous call: `begin(bridge, id)` starts it and returns an error at once, or nothing.
 * An abort before the addon is past the point of no return makes it answer with ABORT_ERR.
 * The process does not end while a call is under way.
 */
function request(begin, signal) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) throw fromNative({ code: 'ABORT_ERR' }, signal.reason);
    const native = connect();
    const id = nextId++;
    const abort = () => native.cancel(id);
    const settle = (answer) => {
      signal?.removeEventListener('abort', abort);
      if (answer.error) reject(fromNative(answer.error, signal?.reason));
      else resolve(answer.value);
    };
    pending.set(id, { receive: settle, held: true });
    hold();
    try {
      check(begin(native, id));
      signal?.addEventListener('abort', abort, { once: true });
    } catch (error) {
      pending.delete(id);
      release();
      throw error;
    }
  });
}

/** Turns what a synchronous call of the addon returned, `{ error }` or `{ value }` as JSON, into a throw or the value. */
function check(text) {
  if (text === undefined || text === null) return undefined;
  const answer = JSON.parse(text);
  if (answer.error) throw fromNative(answer.error);
  return answer.value;
}

// The addon's own callback never keeps the process alive; this timer does while something needs it.
const LONGEST_TIMER = 2 ** 31 - 1;
let holds = 0;
let timer;

/** Keeps the process alive until as many calls of `release` have followed. */
function hold() {
  if (holds++ === 0) timer = setInterval(() => {}, LONGEST_TIMER);
}

function release() {
  if (--holds === 0) clearInterval(timer);
}

module.exports = { load, connect, request, open, close, check, hold, release, platformName, PLATFORMS };
