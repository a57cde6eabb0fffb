// `npm run bench`: the same work for plenipo and every peer in one run; prints tables and writes JSON. `-- --help` tells the options.
import { execFileSync } from 'node:child_process';
import { createReadStream, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, get } from 'node:http';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Failure, main } from '../scripts/lib/fail.mjs';
import { cacheDir, ensureDir, platform, root } from '../scripts/lib/paths.mjs';
import { needTool, seconds as took } from '../scripts/lib/run.mjs';
import { buildNative, installDebian, installEnvoy, installNodeModules, needNode } from '../scripts/lib/setup.mjs';
import { largeConfig, lastRoute, nginxUpstream } from './lib/config.mjs';
import { h2load, wrk } from './lib/load.mjs';
import { measureLookups } from './lib/lookups.mjs';
import { cpuSeconds, median, memory } from './lib/measure.mjs';
import { layPackage, peers as allPeers } from './lib/peers.mjs';
import { answering, end, freePorts, pinned } from './lib/process.mjs';
import { printIdle, printLarge, printLoad, printLookups, printTargets } from './lib/report.mjs';

const HELP = `npm run bench -- [options]
  --only NAMES        peers, separated by commas: plenipo, 'plenipo in Node', Envoy, nginx, HAProxy, http-proxy, fast-proxy
  --scenarios NAMES   of h1, h2, tls, idle, large, mib, handshake, routes, lookups (default: all but the last four)
  --seconds N         how long each measurement runs (default 4)
  --rounds N          how often each is repeated; the median counts (default 3)
  --count N           clusters and virtual hosts of 'large' (default 10000)
  --json FILE         where the results go (default: bench.json in the cache folder)
  --quick             one round of 2 s
  --no-build          use the optimised build that is there`;

const PROXY_CORE = 0;
const OTHER_CORE = 1;
const IDLE_CONNECTIONS = 4_000;

/** The number of lines in a file. */
async function lines(path) {
  let count = 0;
  for await (const part of createReadStream(path)) for (const byte of part) if (byte === 10) count += 1;
  return count;
}

/** Starts a peer with fresh ports, folder and log; `body` gets the job and the child; the peer is always ended. */
async function withPeer(peer, options, body) {
  const { h2 = false, tls, ...rest } = options;
  const folder = mkdtempSync(join(tmpdir(), 'plenipo-bench-'));
  const [port, h2port] = await freePorts(2);
  const job = { core: PROXY_CORE, folder, port, h2port, log: join(folder, 'access.log'), output: join(folder, 'output'), tls, ...rest };
  if (tls) writeFileSync(join(folder, 'both.pem'), readFileSync(tls.cert, 'utf8') + readFileSync(tls.key, 'utf8'));
  const child = peer.start(job);
  try {
    return await body({ job, child, port: peer.port(job, h2) });
  } finally {
    await end(child, peer.stop);
    rmSync(folder, { recursive: true, force: true });
  }
}

/** What is sent to every peer that can take it, `h2` and `tls` telling what it must be able to. */
const LOADS = {
  h1: { title: 'HTTP/1.1, 64 kept-alive connections, 128-byte body' },
  h2: { title: 'HTTP/2 in, HTTP/1.1 out, 16 connections x 10 streams, 128-byte body', h2: true },
  tls: { title: 'TLS and HTTP/1.1, 64 kept-alive connections, 128-byte body', tls: true },
  mib: { title: 'HTTP/1.1, 16 kept-alive connections, 1 MiB body', path: '/mib', connections: 16 },
  routes: { title: 'As the first, with 10,000 routes in one virtual host, the last but one of which matches', routes: 10_000, path: lastRoute(10_000) },
  handshake: { title: 'A new TLS connection for each request, 16 at once', tls: true, connections: 16, headers: ['Connection: close'] },
};

/** One measurement of one peer under load. */
async function measureLoad(peer, { scenario, seconds, upstream, certificate }) {
  const { h2 = false, tls = false, path = '/', connections, headers, routes } = LOADS[scenario];
  return withPeer(peer, { upstream, tls: tls ? certificate : undefined, h2, routes }, async ({ job, child, port }) => {
    await answering(child, job.port, { tls });
    const url = `${tls ? 'https' : 'http'}://127.0.0.1:${port}${path}`;
    const load = (duration) =>
      h2 ? h2load(OTHER_CORE, url, { seconds: duration, log: join(job.folder, 'h2load.log') }) : wrk(OTHER_CORE, url, { seconds: duration, connections, headers });
    const warm = await load(1);
    const before = cpuSeconds(child.pid);
    const result = await load(seconds);
    const cpu = cpuSeconds(child.pid) - before;
    const rss = memory(child.pid);
    await end(child, peer.stop);
    const logged = await lines(job.log);
    const wanted = warm.requests + result.requests;
    if (result.failed > 0) throw new Error(`${result.failed} of ${result.requests} requests failed`);
    if (logged < wanted * 0.99) throw new Error(`it logged ${logged} lines for ${wanted} requests`);
    return {
      requestsPerSecond: result.requests / result.seconds,
      cpuMicros: (cpu * 1e6) / result.requests,
      busy: cpu / result.seconds,
      p50: result.p50,
      p99: result.p99,
      rss,
      load: loadavg()[0],
    };
  });
}

/** Resident memory of a peer for each kept-alive connection that has had one request and is idle. */
async function measureIdle(peer, { upstream }) {
  return withPeer(peer, { upstream }, async ({ job, child, port }) => {
    await answering(child, job.port);
    const ask = (agent) =>
      new Promise((resolve, reject) => {
        get({ host: '127.0.0.1', port, path: '/', agent, headers: { host: 'app.local' }, timeout: 10_000 }, (response) => {
          response.resume().on('end', resolve).on('error', reject);
        }).on('error', reject);
      });
    // Each connection has an agent of its own, so that none is used twice; 16 requests at once.
    const open = async (count) => {
      const agents = Array.from({ length: count }, () => new Agent({ keepAlive: true, maxSockets: 1 }));
      for (let i = 0; i < count; i += 16) await Promise.all(agents.slice(i, i + 16).map(ask));
      return () => agents.forEach((agent) => agent.destroy());
    };
    const closeWarm = await open(200);
    closeWarm();
    await sleep(1_000);
    const before = memory(child.pid);
    const close = await open(IDLE_CONNECTIONS);
    await sleep(1_500);
    const after = memory(child.pid);
    close();
    return { bytes: Math.max(0, after - before) / IDLE_CONNECTIONS, before };
  });
}

/** From the start of a peer to its first 200, and its peak memory, with many clusters and virtual hosts. */
async function measureLarge(peer, { upstream, count }) {
  return withPeer(peer, { upstream }, async ({ job, child }) => {
    await end(child, 'SIGKILL'); // It was started with the small configuration; only its folder and ports are wanted.
    const config = largeConfig({ ...job, count });
    const started = performance.now();
    const large = peer.start({ ...job, config });
    const writing = performance.now() - started; // The file is written before the program starts.
    try {
      await answering(large, job.port, { host: `svc-${count - 1}.local`, timeoutMs: 120_000, everyMs: 2 });
      return { seconds: (performance.now() - started - writing) / 1000, peak: memory(large.pid, 'VmHWM'), rss: memory(large.pid) };
    } finally {
      await end(large);
    }
  });
}

/** Repeats a measurement for every peer, in turn; the median of each number counts. A peer that fails says why. */
async function rounds(names, peers, count, what, measure) {
  const seen = Object.fromEntries(names.map((name) => [name, []]));
  const failed = {};
  for (let round = 1; round <= count; round += 1) {
    for (const name of names) {
      if (failed[name]) continue;
      process.stdout.write(`  ${what}, round ${round} of ${count}: ${name} … `);
      try {
        const result = await measure(peers[name]);
        seen[name].push(result);
        console.log(result.cpuMicros ? `${result.cpuMicros.toFixed(2)} us of CPU a request` : result.bytes !== undefined ? `${result.bytes.toFixed(0)} bytes` : `${result.seconds.toFixed(2)} s`);
      } catch (error) {
        failed[name] = error.message;
        console.log(`failed: ${error.message}`);
      }
    }
  }
  const middle = (results) => Object.fromEntries(Object.keys(results[0]).map((key) => [key, median(results.map((each) => each[key]))]));
  return Object.fromEntries(names.map((name) => [name, failed[name] ? { error: failed[name] } : { ...middle(seen[name]), rounds: seen[name] }]));
}

/** A certificate of the bench's own. */
function makeCertificate(folder) {
  const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=app.local', '-addext', 'subjectAltName=DNS:app.local', '-keyout', key, '-out', cert], { stdio: 'ignore' });
  return { cert, key };
}

await main(async () => {
  const { values } = parseArgs({
    options: {
      only: { type: 'string' },
      scenarios: { type: 'string', default: 'h1,h2,tls,idle,large' },
      seconds: { type: 'string', default: '4' },
      rounds: { type: 'string', default: '3' },
      count: { type: 'string', default: '10000' },
      json: { type: 'string', default: join(cacheDir, 'bench.json') },
      quick: { type: 'boolean', default: false },
      'no-build': { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return console.log(HELP);
  needNode();
  if (process.platform !== 'linux') throw new Failure('the bench reads /proc and pins programs to cores: it needs Linux.');
  if (cpus().length < 2) throw new Failure('the bench needs two cores: one for the proxy, one for client and upstream.');
  const started = performance.now();
  await installDebian({ wrk: 'wrk', h2load: 'nghttp2-client', nginx: 'nginx', haproxy: 'haproxy', openssl: 'openssl', taskset: 'util-linux' });
  needTool('taskset', 'to pin each program to a core');
  await installNodeModules();
  const envoy = await installEnvoy();

  const folder = ensureDir(join(cacheDir, 'bench'));
  const addon = join(folder, `plenipo.${platform}.node`);
  const only = values.only?.split(',');
  const ours = !only || only.some((name) => name.startsWith('plenipo'));
  const program = ours && !values['no-build'] ? await buildNative({ program: true, release: true, to: addon }) : join(process.env.CARGO_TARGET_DIR ?? join(cacheDir, 'target'), 'release', 'plenipo');
  const work = mkdtempSync(join(tmpdir(), 'plenipo-bench-'));
  try {
    const packageFolder = ours ? layPackage(join(work, 'package'), { root, addon, platform }) : work;
    const peers = allPeers({ program, packageFolder, envoy });
    const names = only ?? Object.keys(peers);
    for (const name of names) if (!peers[name]) throw new Failure(`there is no peer '${name}'; there are: ${Object.keys(peers).join(', ')}.`);
    const scenarios = values.scenarios.split(',');
    for (const name of scenarios) if (!LOADS[name] && !['idle', 'large', 'lookups'].includes(name)) throw new Failure(`there is no scenario '${name}'.`);
    const seconds = values.quick ? 2 : Number(values.seconds);
    const count = values.quick ? 1 : Number(values.rounds);

    const [upstream] = await freePorts(1);
    const upstreamFolder = join(work, 'upstream');
    mkdirSync(upstreamFolder);
    writeFileSync(join(upstreamFolder, 'mib'), Buffer.alloc(1 << 20, 'x'));
    writeFileSync(join(upstreamFolder, 'nginx.conf'), nginxUpstream({ port: upstream, folder: upstreamFolder }));
    const upstreamChild = pinned(OTHER_CORE, 'nginx', ['-p', upstreamFolder, '-c', join(upstreamFolder, 'nginx.conf')], { output: join(work, 'upstream.log') });
    await answering(upstreamChild, upstream);
    const certificate = makeCertificate(work);

    const results = { at: new Date().toISOString(), cpu: cpus()[0].model, kernel: execFileSync('uname', ['-r'], { encoding: 'utf8' }).trim(), seconds, rounds: count };
    for (const [scenario, { h2, tls, routes }] of Object.entries(LOADS)) {
      if (!scenarios.includes(scenario)) continue;
      const able = names.filter((name) => (!h2 || peers[name].h2) && (!tls || peers[name].tls) && (!routes || peers[name].large));
      results[scenario] = await rounds(able, peers, count, scenario, (peer) => measureLoad(peer, { scenario, seconds, upstream, certificate }));
    }
    if (scenarios.includes('idle')) results.idle = await rounds(names, peers, 1, 'idle', (peer) => measureIdle(peer, { upstream }));
    if (scenarios.includes('large')) {
      results.count = Number(values.count);
      results.large = await rounds(names.filter((name) => peers[name].large), peers, Math.min(count, 2), 'large', (peer) => measureLarge(peer, { upstream, count: results.count }));
    }
    await end(upstreamChild);
    if (scenarios.includes('lookups')) results.lookups = await measureLookups(PROXY_CORE);

    console.log(`\n${results.cpu}, Linux ${results.kernel}; the proxy on core ${PROXY_CORE}, client and upstream on core ${OTHER_CORE}; ${count} x ${seconds} s, medians`);
    for (const [scenario, { title }] of Object.entries(LOADS)) if (results[scenario]) printLoad(title, results[scenario]);
    if (results.idle) printIdle(results.idle);
    if (results.large) printLarge(results.large, results.count);
    if (results.lookups) printLookups(results.lookups);
    printTargets(results);
    writeFileSync(values.json, `${JSON.stringify(results, null, 2)}\n`);
    console.log(`\nJSON: ${values.json}; took ${took(started)}`);
    if (scenarios.some((key) => Object.values(results[key] ?? {}).some(({ error }) => error))) process.exitCode = 1;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
});
