// The Node scripts of examples/kubernetes with the shipped Role's token: pods move under load, and no request is lost.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import * as k8s from '@kubernetes/client-node';
import { ApiServer, until } from '../lib/apiserver.mjs';
import { startLoad } from '../lib/load.mjs';
import { run } from '../lib/namespace.mjs';
import { Pods } from '../lib/pods.mjs';
import { Program, get, root } from '../lib/proxy.mjs';

const URL = 'http://127.0.0.1:8080';
const ADMIN = 'http://127.0.0.1:9901';
const ACCOUNT_FOLDER = '/var/run/secrets/kubernetes.io/serviceaccount';
const example = (name) => join(root, 'examples/kubernetes', name);

let api;
let pods;
let kubeconfig;
let program;
let deployment;

before(async () => {
  api = await ApiServer.start();
  pods = await Pods.start(api);
  const created = await api.create(example('deployment.yaml'));
  deployment = created.find((each) => each.kind === 'Deployment');
  const spec = { selector: { app: 'app' }, ports: [{ name: 'http', port: 80, targetPort: 'http' }] };
  await api.core.createNamespacedService({ namespace: 'default', body: { metadata: { name: 'app-svc' }, spec } });
  kubeconfig = await api.kubeconfigOf('plenipo');
  // The authorizer learns of the Role from its own watch.
  const config = new k8s.KubeConfig();
  config.loadFromFile(kubeconfig);
  const core = config.makeApiClient(k8s.CoreV1Api);
  await until('the Role to count', () => core.listNamespacedService({ namespace: 'default' }));
});

afterEach(async () => {
  await program?.dispose();
  program = undefined;
  await pods.clear();
});

after(async () => {
  await pods?.stop();
  await api?.stop();
});

/** Requests at 500 a second for 10 s, while the endpoints move from pod-a to pod-b; pod-a serves 2 s longer, then it is killed. */
async function moveUnderLoad() {
  await until('pod-a to answer', async () => (await get(URL, { host: 'app.local' })).status === 200);
  const load = startLoad(URL, { rate: 500, seconds: 10, headers: { host: 'app.local' } });
  await sleep(2_000);
  await pods.pod('pod-b', '192.168.231.32', { port: 8081 });
  await until('the slices to have pod-b', async () => (await api.ready('app-svc')).includes('192.168.231.32'));
  await pods.remove('pod-a');
  await until('the slices to have pod-b only', async () => (await api.ready('app-svc')).join() === '192.168.231.32');
  await sleep(2_000);
  const before = load.counts.byName['pod-a'];
  await pods.kill('pod-a');
  const counts = await load.done;
  assert.deepEqual(counts.bad.slice(0, 10), [], `${counts.bad.length} requests of ${counts.sent} went wrong\n${program.output}`);
  assert.equal(counts.ok, counts.sent);
  assert.ok(counts.sent >= 4_900 && counts.kept >= 2_400 && counts.fresh >= 2_400, JSON.stringify({ ...counts, bad: undefined }));
  assert.ok(counts.byName['pod-a'] > 500 && counts.byName['pod-b'] > 500, JSON.stringify(counts.byName));
  assert.equal(counts.byName['pod-a'], before, 'requests went to a pod that the API had taken away 2 s before');
}

test('watch.mjs: pods move, every answer is 200', async () => {
  await pods.pod('pod-a', '192.168.231.31', { port: 8081 });
  program = await Program.script(example('watch.mjs'), { KUBECONFIG: kubeconfig });
  await moveUnderLoad();
  assert.deepEqual(await program.end(), [0, null], program.output);
});

test('discover-with-client-node.mjs: pods move, every answer is 200', async () => {
  await pods.pod('pod-a', '192.168.231.31', { port: 8081 });
  program = await Program.script(example('discover-with-client-node.mjs'), { KUBECONFIG: kubeconfig });
  await moveUnderLoad();
  assert.match(program.output, /^app: 192\.168\.231\.31$/m);
  assert.deepEqual(await program.end(), [0, null], program.output);
});

test('watch.mjs as the Deployment runs it: the pod\'s own account, probes, and an orderly end', async () => {
  await pods.pod('pod-a', '192.168.231.31', { port: 8081 });
  const [container] = deployment.spec.template.spec.containers;
  assert.equal(container.command.join(' '), 'node watch.mjs');
  // In this test's own mount namespace: the machine's folder is not touched.
  run('mount', '-t', 'tmpfs', 'tmpfs', '/run');
  mkdirSync(ACCOUNT_FOLDER, { recursive: true });
  await api.accountFolder(deployment.spec.template.spec.serviceAccountName, ACCOUNT_FOLDER);
  const server = new globalThis.URL(api.url);
  const env = Object.fromEntries(container.env.map(({ name, value }) => [name, value]));
  const inPod = { KUBERNETES_SERVICE_HOST: server.hostname, KUBERNETES_SERVICE_PORT: server.port, HOME: api.folder };
  program = await Program.script(example('watch.mjs'), { ...env, ...inPod });
  await until('pod-a to answer', async () => (await get(URL)).status === 200);
  // The probes come to the pod's address, not to loopback.
  const admin = container.ports.find(({ name }) => name === 'admin').containerPort;
  for (const probe of [container.readinessProbe, container.livenessProbe]) {
    const { status } = await get(`http://192.168.231.1:${admin}${probe.httpGet.path}`);
    assert.equal(status, 200, probe.httpGet.path);
  }
  // The end: not ready any more, but what is under way is answered.
  const slow = get(`${URL}/?wait=2500`);
  await sleep(300);
  program.terminate();
  await until('readiness to fail', async () => (await get(`${ADMIN}/ready`)).status === 503, 1_500);
  assert.equal((await slow).status, 200, program.output);
  assert.deepEqual(await program.end(), [0, null], program.output);
  run('umount', '/run');
});

test('watch.mjs without the Role: it says what it may not do', async () => {
  await api.core.createNamespacedServiceAccount({ namespace: 'default', body: { metadata: { name: 'nobody' } } });
  const env = { KUBECONFIG: await api.kubeconfigOf('nobody') };
  await assert.rejects(Program.script(example('watch.mjs'), env, 'http://127.0.0.1:1'), (error) => {
    assert.match(error.message, /ended with status 1/);
    assert.match(error.message, /does not let us list \S+ in namespace "default" \(403\)/);
    return true;
  });
});

test('watch.mjs survives an outage of the API server with the pods that it knows', async () => {
  await pods.pod('pod-a', '192.168.231.31', { port: 8081 });
  program = await Program.script(example('watch.mjs'), { KUBECONFIG: kubeconfig });
  await until('pod-a to answer', async () => (await get(URL)).status === 200);
  await api.kill();
  const load = startLoad(URL, { rate: 50, seconds: 30 });
  await until('the script to notice', () => /out of touch, the last pods stay/.test(program.output));
  await sleep(1_000);
  await api.restart();
  await pods.pod('pod-b', '192.168.231.32', { port: 8081 });
  await until('requests at pod-b', () => load.counts.byName['pod-b'] > 5);
  const counts = await load.stop();
  assert.deepEqual(counts.bad, []);
  assert.equal((await get(`${ADMIN}/ready`)).status, 200);
});
