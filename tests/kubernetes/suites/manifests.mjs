// The manifests of examples/kubernetes: created in a real API server, their envoy.yaml taken out again and run.
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ApiServer, until } from '../lib/apiserver.mjs';
import { DnsServer } from '../lib/dns.mjs';
import { startLoad } from '../lib/load.mjs';
import { Pods } from '../lib/pods.mjs';
import { Program, get, root } from '../lib/proxy.mjs';

const SERVICE_NAME = 'app-svc.default.svc.cluster.local';
const URL = 'http://127.0.0.1:8080';
const example = (name) => join(root, 'examples/kubernetes', name);

let api;
let pods;
let dns;
let proxy;

before(async () => {
  api = await ApiServer.start();
  pods = await Pods.start(api);
  dns = await DnsServer.start({ [SERVICE_NAME]: () => api.ready('app-svc') });
  await dns.use(api.folder);
});

afterEach(async () => {
  await proxy?.dispose();
  proxy = undefined;
  await pods.clear();
});

after(async () => {
  dns?.stop();
  await pods?.stop();
  await api?.stop();
});

/** Creates a manifest, and gives the file that its Pod would find at /etc/envoy/envoy.yaml. */
async function mounted(name) {
  const created = await api.create(example(name));
  const pod = created.find((each) => each.kind === 'Pod');
  const [mount] = pod.spec.containers[0].volumeMounts;
  assert.equal(mount.mountPath, '/etc/envoy');
  const { configMap } = pod.spec.volumes.find((each) => each.name === mount.name);
  const { data } = await api.core.readNamespacedConfigMap({ name: configMap.name, namespace: 'default' });
  assert.deepEqual(configMap.items, [{ key: 'envoy.yaml', path: 'envoy.yaml' }]);
  const file = join(api.folder, `${name}.envoy.yaml`);
  await writeFile(file, data['envoy.yaml']);
  await api.core.deleteNamespacedPod({ name: pod.metadata.name, namespace: 'default', gracePeriodSeconds: 0 });
  await api.core.deleteNamespacedConfigMap({ name: configMap.name, namespace: 'default' });
  return file;
}

/** Who answers `count` requests, one after the other. */
async function answers(count, headers) {
  const names = [];
  for (let i = 0; i < count; i += 1) {
    const { status, text } = await get(`${URL}/some/path?x=1`, headers);
    assert.equal(status, 200, text);
    names.push(JSON.parse(text));
  }
  return names;
}

test('routing.yaml: both hosts lead to both addresses', async () => {
  await pods.program('one', '192.168.231.11', 8080);
  await pods.program('two', '192.168.231.12', 8080);
  proxy = await Program.proxy(await mounted('routing.yaml'));
  for (const host of ['app.local', 'anything.else:8080']) {
    const all = await answers(20, { host });
    const seen = Object.fromEntries(['one', 'two'].map((name) => [name, all.filter((each) => each.name === name).length]));
    // Each worker has its own place in the round: two of them can differ by one each.
    assert.ok(seen.one >= 8 && seen.two >= 8, `not a round robin: ${JSON.stringify(seen)}`);
    assert.ok(all.every((each) => each.host === host && each.path === '/some/path?x=1' && each.httpVersion === '1.1'), JSON.stringify(all[0]));
  }
  await pods.kill('one');
  await pods.kill('two');
  const { status, text, headers } = await get(URL, { host: 'app.local' });
  assert.equal(status, 503, text);
  assert.equal(headers.server, 'envoy');
  assert.match(text, /^upstream connect error or disconnect\/reset before headers/);
});

test('discovery.yaml: a Service name, HTTP/2 in clear text to its pods, followed as they move', async () => {
  const file = await mounted('discovery.yaml');
  await pods.pod('pod-a', '192.168.231.21', { protocol: 'http2' });
  await until('the slice of pod-a', async () => (await api.ready('app-svc')).length === 1);
  proxy = await Program.proxy(file);
  for (const { name, httpVersion, host } of await answers(5, { host: 'app.local' })) {
    assert.deepEqual([name, httpVersion, host], ['pod-a', '2.0', 'app.local']);
  }
  assert.ok(dns.questions.includes(`A ${SERVICE_NAME}`), dns.questions.join('\n'));

  // DNS is asked again every 5 s (Envoy's default): the old pod must serve so long.
  const load = startLoad(URL, { rate: 500, seconds: 20, headers: { host: 'app.local' } });
  await sleep(500);
  await pods.pod('pod-b', '192.168.231.22', { protocol: 'http2' });
  await pods.remove('pod-a');
  await until('the slices to have pod-b only', async () => (await api.ready('app-svc')).join() === '192.168.231.22');
  await until('requests at pod-b only', async () => (await answers(6, {})).every(({ name }) => name === 'pod-b'), 12_000);
  await sleep(300);
  await pods.kill('pod-a');
  await sleep(1_000);
  const counts = await load.stop();
  assert.deepEqual(counts.bad, []);
  assert.ok(counts.byName['pod-a'] > 0 && counts.byName['pod-b'] > 50, JSON.stringify(counts));
});

test('deployment.yaml: accepted as it is, and its pods by the strictest pod security', async () => {
  const created = await api.create(example('deployment.yaml'));
  const kinds = created.map((each) => each.kind);
  assert.deepEqual(kinds, ['ServiceAccount', 'Role', 'RoleBinding', 'Deployment', 'Service', 'PodDisruptionBudget']);
  const { spec } = created.find((each) => each.kind === 'Deployment').spec.template;

  // The pod that the Deployment's controllers would make.
  const namespace = 'restricted';
  const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' };
  await api.core.createNamespace({ body: { metadata: { name: namespace, labels } } });
  await api.core.createNamespacedServiceAccount({ namespace, body: { metadata: { name: spec.serviceAccountName } } });
  const { spec: admitted } = await api.core.createNamespacedPod({ namespace, body: { metadata: { name: 'plenipo' }, spec } });
  const [container] = admitted.containers;
  assert.equal(admitted.securityContext.runAsNonRoot, true);
  assert.equal(container.readinessProbe.httpGet.path, '/ready');
  assert.notEqual(container.livenessProbe.httpGet.path, '/ready', 'a pod that drains would be killed');
  const drain = 25;
  assert.ok(admitted.terminationGracePeriodSeconds > container.lifecycle.preStop.sleep.seconds + drain);

  // It may not do more than it must.
  const { rules } = created.find((each) => each.kind === 'Role');
  const verbs = new Set(rules.flatMap((rule) => rule.verbs));
  assert.deepEqual([...verbs].sort(), ['get', 'list', 'watch']);
  const resources = rules.flatMap((rule) => rule.resources);
  assert.deepEqual(resources.sort(), ['endpoints', 'endpointslices', 'services']);
});
