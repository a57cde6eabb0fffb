// Runs one prepared case against one running proxy and returns its outcome as text.
import fs from 'node:fs';
import { connect, sleep } from './raw.mjs';
import { h2connect } from './h2.mjs';
import { h3run } from './h3.mjs';
import { adminGet } from './proxy.mjs';
import { render } from './outcome.mjs';

/** How long after the last byte, in ms, everything that it sets off (an upstream's connection closed, a counter, a log line) is taken to be there. */
const SET_OFF = 300;

export async function runCase(c, prepared, proxy) {
  const wires = [];
  const sessions = [];
  const ports = new Map([[proxy.adminPort, 'admin']]);
  for (const [n, p] of Object.entries(prepared.ports)) ports.set(p, n);
  for (const [n, p] of Object.entries(prepared.listenerPorts)) ports.set(p, `${n}-listener`);
  const own = new Set();
  const note = text => { for (const id of String(text).match(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g) ?? []) own.add(id); };
  const port = name => name === 'admin' ? proxy.adminPort : prepared.listenerPorts[name];
  const ctx = {
    proxy, sleep, upstreams: prepared.upstreams, port, id: c.id,
    /** The path of a file of the case; a new text is moved into its place. */
    file: prepared.file, move: prepared.move,
    /** An admin page. What an answer sets off (a counter, a host's state) may come a moment after its last byte: reading waits for it. */
    async admin(url, method) {
      if (method !== 'POST') await sleep(SET_OFF);
      return adminGet(proxy.adminPort, url, method);
    },
    /** A client connection; its bytes and state become part of the outcome unless `hidden`. */
    async connect(name = 'main', { hidden = false, note: text, ...options } = {}) {
      const wire = await connect(port(name), options);
      ports.set(wire.localPort, 'client');
      const write = wire.write.bind(wire);
      wire.write = d => { note(d); write(d); };
      wire.note = text;
      (hidden ? sessions : wires).push(wire);
      return wire;
    },
    async h2(name = 'main', options) {
      const s = await h2connect(port(name), options);
      sessions.push(s);
      return s;
    },
    /** Carries out an HTTP/3 script on a connection of its own; see h3.mjs. */
    h3: (script, name = 'main') => h3run(port(name), Array.isArray(script) ? { steps: script } : script),
    /** Waits until a stat of this case has a value that `test` accepts; returns the value. */
    async stat(name, test, ms = 5000) {
      const deadline = Date.now() + ms;
      for (;;) {
        const line = (await adminGet(proxy.adminPort, '/stats')).split('\n').find(l => l.startsWith(`${name.replace('ID', c.id)}: `));
        const value = line === undefined ? undefined : Number(line.split(': ')[1]);
        if (test(value) || Date.now() > deadline) return value;
        await sleep(30);
      }
    },
  };
  let extra;
  try {
    extra = await within(c.limit ?? 25000, c.client ? c.client(ctx) : sendSteps(ctx, c.send));
  } catch (error) {
    extra = { failed: String(error?.message ?? error).replace(/:\d{4,5}\b/g, ':<port>'), ...(process.env.PARITY_TRACE && { stack: error?.stack }) };
  }
  const wait = c.settle ?? 2000;
  await Promise.race([Promise.all(wires.map(w => w.settle(wait))), sleep(10000)]); // one that never falls silent
  await sleep(SET_OFF);
  await quiet(prepared, SET_OFF);
  const clients = wires.map(w => ({ bytes: c.view ? c.view(w.text) : w.text, state: w.state === 'reset' ? 'closed' : w.state, note: w.note }));
  const upstreams = Object.fromEntries(Object.entries(prepared.upstreams).map(([n, u]) => [n, c.viewUpstream ? c.viewUpstream(u.saw()) : sawOf(u)]));
  const outcome = { clients, upstreams, ...(extra !== undefined && { extra }) };
  if (c.stats) outcome.stats = await statLines(c, ctx); // before the connections close, as the client saw it
  for (const w of wires) w.destroy();
  for (const s of sessions) s.destroy();
  if (c.log) outcome.log = await logText(c, prepared);
  for (const u of Object.values(prepared.upstreams)) u.close();
  return { text: render(outcome, ports, own), outcome };
}

/** A case that hangs fails; the others go on. */
function within(ms, promise) {
  let timer;
  const limit = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`not done within ${ms} ms`)), ms); });
  return Promise.race([promise, limit]).finally(() => clearTimeout(timer));
}

/** A connection on which nothing was ever sent is no request: whether it was opened before the request was given up is a matter of timing. */
function sawOf(u) {
  const saw = structuredClone(u.saw());
  return Array.isArray(saw) ? saw.filter(w => w.bytes !== '' || w.tls) : saw;
}

/** One connection, one list of steps: bytes, a pause in ms, { res }, { head }, { has }, { fin }, { rst }. */
async function sendSteps(ctx, steps) {
  const wire = await ctx.connect();
  for (const step of [steps].flat()) {
    if (typeof step === 'string') wire.write(step);
    else if (typeof step === 'number') await ctx.sleep(step);
    else if (step.res) await wire.response();
    else if (step.head) await wire.response({ head: true });
    else if (step.has) await wire.has(step.has);
    else if (step.fin) wire.end();
    else if (step.rst) wire.reset();
  }
}

async function quiet(prepared, ms) {
  for (let i = 0; i < 100; i++) {
    const last = Math.max(0, ...Object.values(prepared.upstreams).map(u => u.lastActivity));
    if (Date.now() - last >= ms) return;
    await sleep(ms);
  }
}

async function statLines(c, ctx) {
  const text = c.statsText ? await c.statsText(ctx) : await ctx.admin('/stats');
  return text.split('\n').filter(l => l.includes(c.id)).map(l => l.replaceAll(c.id, 'ID')).filter(l => c.stats.some(r => r.test(l)))
    .map(l => l.replace(/127\.0\.0\.1_\d+/, '127.0.0.1_<port>')).sort();
}

async function logText(c, prepared) {
  const want = c.logLines ?? 1;
  const read = () => fs.existsSync(prepared.log) ? fs.readFileSync(prepared.log, 'latin1') : '';
  for (let i = 0, text = read(); i < 15; i++) {
    await sleep(SET_OFF);
    const now = read();
    if (now === text && now.split('\n').length > want) return (c.viewLog ? c.viewLog(now) : now); // all lines, and no more came
    text = now;
  }
  return read() || '(no log)';
}
