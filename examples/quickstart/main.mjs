// The quickstart: discovers a Kubernetes service, builds a cluster from its endpoints, pushes it into a running proxy, and proves it.
import { once } from 'node:events';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { buildCluster, buildHost, buildListener, buildRoute, kubernetes, Proxy } from 'plenipo';
import { startEmbedded } from './embedded.mjs';
import { ask, load } from './load.mjs';
import { parse } from './options.mjs';
import { table } from './table.mjs';

const FIRST_PUSH_MS = 30_000;
const CLUSTER = 'app';

const text = (endpoint) => (typeof endpoint === 'string' ? endpoint : `${endpoint.address}:${endpoint.port}`);

/** Rejects when a promise takes too long. */
async function within(ms, what, promise) {
  const timer = new AbortController();
  const late = sleep(ms, undefined, { signal: timer.signal }).then(() => Promise.reject(new Error(`${what} took more than ${ms / 1000} s`)));
  late.catch(() => {});
  try {
    return await Promise.race([promise, late]);
  } finally {
    timer.abort();
  }
}

/**
 * The main job: every state of the service that Kubernetes reports becomes a cluster, pushed into the running proxy.
 * `seen` is called after each push; returns when the signal is aborted.
 */
async function follow(proxy, target, { kubeconfig, listen, signal, seen }) {
  try {
    for await (const snapshot of kubernetes.watch(target, { kubeconfig, signal })) {
      const clusters = [buildCluster(CLUSTER, snapshot.endpoints, { lb: 'round_robin', connectTimeout: '1s' })];
      const hosts = [buildHost('*', [buildRoute('/', CLUSTER)])];
      const known = proxy.addresses.some((each) => each.listener === 'http');
      const listeners = known ? [] : [buildListener({ name: 'http', address: '127.0.0.1', port: listen, hosts })];
      const result = await proxy.apply(known ? { clusters } : { clusters, listeners });
      seen({ snapshot, result, at: performance.now() });
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

/** Collects pushes, so that others can wait for the first one that fits. */
function pushes() {
  const all = [];
  const waiting = new Set();
  return {
    add(push) {
      all.push(push);
      for (const wake of waiting) wake();
      waiting.clear();
    },
    async find(fits) {
      for (;;) {
        const found = all.find(fits);
        if (found) return found;
        await new Promise((resolve) => {
          waiting.add(resolve);
        });
      }
    },
  };
}

/** Requests while an endpoint moves: nothing may be lost, the new one must serve, the old one must not. Returns what is wrong. */
async function moveUnderLoad(embedded, port, pushed) {
  const [old] = embedded.upstreams;
  console.log(`\nMoving ${old.name} to a new process while 200 requests a second are sent for 4 s:`);
  const running = load(port, { perSecond: 200, forMs: 4_000 });
  await sleep(1_500);
  const fresh = await embedded.move(old);
  const moved = performance.now();
  const push = await within(
    10_000,
    'the change of endpoints',
    pushed.find(({ snapshot }) => {
      const now = snapshot.endpoints.map(text);
      return now.includes(fresh.address) && !now.includes(old.address);
    }),
  );
  await sleep(1_000); // As Kubernetes has it: a pod goes on serving a moment after it left the endpoints.
  await embedded.retire(old);
  const results = await running;

  const good = results.filter((each) => each.status === 200);
  const count = (name, from, to) => good.filter((each) => each.by === name && each.at >= from && each.at < to).length;
  const rows = embedded.upstreams.map(({ name, address }) => [
    name,
    address,
    count(name, 0, push.at),
    count(name, push.at, Infinity),
    name === old.name ? 'left' : name === fresh.name ? 'joined' : '',
  ]);
  console.log(table(['upstream', 'address', 'before', 'after', ''], rows));
  console.log(`  ${results.length} requests sent, ${good.length} answered 200, ${results.length - good.length} lost; the change was in force ${Math.max(0, push.at - moved).toFixed(0)} ms after the API had it.`);

  const problems = [];
  const bad = results.find((each) => each.status !== 200);
  if (bad) problems.push(`a request was lost: ${bad.error?.message ?? `status ${bad.status}`}`);
  if (count(old.name, 0, push.at) === 0) problems.push(`${old.name} served nothing before the move`);
  if (count(old.name, push.at, Infinity) > 0) problems.push(`${old.name} served requests after it had left`);
  if (count(fresh.name, push.at, Infinity) === 0) problems.push(`${fresh.name} served nothing after it joined`);
  return problems;
}

/** A few requests, one after another, and who answered them. */
async function fewRequests(port, count) {
  const results = [];
  for (let i = 0; i < count; i += 1) results.push(await ask(port));
  return results;
}

/** Runs the quickstart with command-line options. Sets the exit status; resolves when it is over. */
export async function quickstart(args) {
  const options = parse(args);
  if (!options) return;
  const stop = new AbortController();
  const onSignal = () => stop.abort();
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);

  const embedded = options.kubeconfig ? undefined : await startEmbedded(3);
  const proxy = new Proxy({ admin: options.admin });
  let following;
  try {
    if (embedded) {
      console.log(`\nOn this machine: ${embedded.upstreams.length} small upstream services, and a stand-in for the Kubernetes API (it is not Kubernetes) on ${embedded.server}.`);
    }
    await proxy.start();

    const target = { service: options.service ?? embedded.service, namespace: embedded?.namespace ?? options.namespace };
    if (embedded) target.port = 'http';
    else if (options.port !== undefined) target.port = options.port;
    const pushed = pushes();
    following = follow(proxy, target, {
      kubeconfig: options.kubeconfig ?? embedded.kubeconfig,
      listen: options.listen,
      signal: stop.signal,
      seen(push) {
        pushed.add(push);
        console.log(`kubernetes.watch: ${push.snapshot.namespace}/${push.snapshot.name} is at ${push.snapshot.endpoints.map(text).join(', ') || 'no endpoint'} -> cluster '${CLUSTER}' pushed, version ${push.result.version}`);
      },
    });
    const first = await within(FIRST_PUSH_MS, `finding service ${target.namespace}/${target.service}`, Promise.race([following.then(() => undefined), pushed.find(() => true)]));
    if (!first) return; // Stopped before anything was found.

    const { port } = proxy.addresses.find((each) => each.listener === 'http');
    const admin = proxy.addresses.find((each) => each.listener === 'admin');
    const results = await fewRequests(port, embedded ? 9 : 5);
    console.log(`\n${results.length} requests to http://127.0.0.1:${port}/:`);
    console.log(table(['request', 'status', 'answered by'], results.map((each, i) => [i + 1, each.status ?? each.error.message, each.by ?? ''])));

    const problems = [];
    if (embedded) {
      if (results.some((each) => each.status !== 200)) problems.push('not every request was answered 200');
      if (new Set(results.map((each) => each.by)).size !== 3) problems.push('the requests were not spread over all upstreams');
      problems.push(...(await moveUnderLoad(embedded, port, pushed)));
    } else if (results.some((each) => each.status === undefined)) {
      problems.push('the proxy did not answer');
    }
    for (const problem of problems) console.error(`  FAILED: ${problem}`);
    if (problems.length > 0) process.exitCode = 1;
    else console.log(`\nProof: ${embedded ? 'discovered, built, pushed; an endpoint moved and no request was lost' : 'discovered, built, pushed; the proxy answers'}.`);

    console.log(`\n  proxy   http://127.0.0.1:${port}/`);
    if (admin) console.log(`  admin   http://${admin.address}:${admin.port}/`);
    if (options.once || problems.length > 0) return;
    console.log('\nIt stays up; Ctrl-C stops it.');
    // A watch that ends by itself has failed: then `following` rejects and says why.
    if (!stop.signal.aborted) await Promise.race([following, once(stop.signal, 'abort')]);
  } catch (error) {
    if (!error.code?.startsWith('ERR_PLENIPO_')) throw error;
    console.error(`\n${error.code}: ${error.message}`);
    process.exitCode = 1;
  } finally {
    stop.abort();
    await following?.catch(() => {});
    await proxy.stop();
    await embedded?.stop();
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  }
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) await quickstart(process.argv.slice(2));
