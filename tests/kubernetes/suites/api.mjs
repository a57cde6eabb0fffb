// kubernetes.discover and kubernetes.watch from Node against a real API server: credentials, errors, events.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import * as k8s from '@kubernetes/client-node';
import { kubernetes } from 'plenipo';
import { ApiServer, until } from '../lib/apiserver.mjs';
import { root } from '../lib/proxy.mjs';

const namespace = 'default';
let api;
let kubeconfig;

before(async () => {
  api = await ApiServer.start();
  await api.create(join(root, 'examples/kubernetes/deployment.yaml'));
  const spec = { ports: [{ name: 'http', port: 80, targetPort: 'web' }, { name: 'admin', port: 9000 }] };
  await api.core.createNamespacedService({ namespace, body: { metadata: { name: 'web' }, spec } });
  await slice('web-1', 8080, '192.168.231.2');
  await slice('web-2', 8081, '192.168.231.3');
  kubeconfig = await api.kubeconfigOf('plenipo');
  await until('the Role to count', () => kubernetes.discover({ service: 'web', port: 80 }, { kubeconfig }));
});

after(async () => {
  await api?.stop();
});

function slice(name, port, ...addresses) {
  return api.discovery.createNamespacedEndpointSlice({
    namespace,
    body: {
      metadata: { name, labels: { 'kubernetes.io/service-name': 'web' } },
      addressType: 'IPv4',
      ports: [{ name: 'http', port }],
      endpoints: addresses.map((address) => ({ addresses: [address], zone: 'zone-a' })),
    },
  });
}

const places = (snapshot) => snapshot.endpoints.map(({ address, port }) => `${address}:${port}`).join(' ');

test('discover gives the endpoints with their own ports', async () => {
  for (const port of [80, 'http']) {
    const found = await kubernetes.discover({ service: 'web', port }, { kubeconfig });
    assert.equal(places(found), '192.168.231.2:8080 192.168.231.3:8081');
    assert.deepEqual([found.name, found.namespace, found.endpoints[0].zone], ['web', 'default', 'zone-a']);
    assert.match(found.version, /^[0-9a-f]{16}$/);
    assert.ok(Math.abs(Date.now() - found.at.getTime()) < 10_000);
  }
});

test('a KubeConfig of client-node will do, however it was loaded', async () => {
  const fromFile = new k8s.KubeConfig();
  fromFile.loadFromFile(kubeconfig);
  const fromText = new k8s.KubeConfig();
  fromText.loadFromString(fromFile.exportConfig());
  const byCertificate = new k8s.KubeConfig();
  byCertificate.loadFromFile(join(api.run, 'admin-cert.kubeconfig'));
  // What loadFromCluster() makes of a pod's own account.
  const folder = await api.accountFolder('plenipo');
  const fromCluster = new k8s.KubeConfig();
  fromCluster.loadFromOptions({
    clusters: [{ name: 'inCluster', caFile: join(folder, 'ca.crt'), server: api.url, skipTLSVerify: false }],
    users: [{ name: 'inClusterUser', authProvider: { name: 'tokenFile', config: { tokenFile: join(folder, 'token') } } }],
    contexts: [{ name: 'inClusterContext', cluster: 'inCluster', user: 'inClusterUser', namespace }],
    currentContext: 'inClusterContext',
  });
  for (const client of [fromFile, fromText, byCertificate, fromCluster]) {
    const found = await kubernetes.discover({ service: 'web', port: 'http' }, { client });
    assert.equal(found.endpoints.length, 2, client.getCurrentUser().name);
  }
});

test('errors have a code, name the culprit, and hold no token', async () => {
  const token = await api.tokenOf('plenipo');
  const config = new k8s.KubeConfig();
  config.loadFromFile(kubeconfig);
  const tampered = new k8s.KubeConfig();
  const user = { name: 'u', token: `${token}x` };
  const contexts = [{ name: 'c', cluster: config.getCurrentCluster().name, user: 'u' }];
  tampered.loadFromOptions({ clusters: config.clusters, users: [user], contexts, currentContext: 'c' });
  const nobody = new k8s.KubeConfig();
  const gone = { ...config.getCurrentCluster(), server: 'https://127.0.0.1:1' };
  nobody.loadFromOptions({ clusters: [gone], users: [user], contexts, currentContext: 'c' });
  const table = [
    [{ service: 'nope' }, { kubeconfig }, 'ERR_PLENIPO_KUBE_NOT_FOUND', /"nope" does not exist in namespace "default"/],
    [{ service: 'web' }, { kubeconfig }, 'ERR_PLENIPO_KUBE_TARGET', /80 \(http\), 9000 \(admin\): say which/],
    [{ service: 'web', port: 8080 }, { kubeconfig }, 'ERR_PLENIPO_KUBE_TARGET', /no TCP port 8080/],
    [{ service: 'web', namespace: 'kube-system' }, { kubeconfig }, 'ERR_PLENIPO_KUBE_AUTH', /list \S+ in namespace "kube-system" \(403\)/],
    [{ service: 'web', port: 80 }, { client: tampered }, 'ERR_PLENIPO_KUBE_AUTH', /\(401\)/],
    [{ service: 'web', port: 80 }, { client: nobody }, 'ERR_PLENIPO_KUBE_WATCH', /https:\/\/127\.0\.0\.1:1/],
    [{ service: 'web', port: 80 }, { kubeconfig: '/nowhere/config' }, 'ERR_PLENIPO_KUBE_CONFIG', /cannot read \/nowhere\/config/],
    [{ service: 'web', port: 80 }, { kubeconfig, context: 'other' }, 'ERR_PLENIPO_KUBE_CONFIG', /no context "other"/],
  ];
  for (const [target, options, code, message] of table) {
    await assert.rejects(kubernetes.discover(target, options), (error) => {
      assert.equal(error.code, code, error.message);
      assert.match(error.message, message);
      assert.ok(!`${error.stack}${JSON.stringify(error)}`.includes(token));
      return true;
    });
  }
  // A watch that is refused ends its loop with the same error.
  const watch = kubernetes.watch({ service: 'web', namespace: 'kube-system' }, { kubeconfig });
  await assert.rejects(watch[Symbol.asyncIterator]().next(), { code: 'ERR_PLENIPO_KUBE_AUTH' });
});

test('watch waits for a Service, follows it through an outage, and ends with its signal', async (t) => {
  const end = new AbortController();
  t.after(() => end.abort());
  const watch = kubernetes.watch({ service: 'later', port: 80 }, { kubeconfig, signal: end.signal });
  const events = [];
  watch.on('stale', ({ staleMs, reason }) => events.push(['stale', typeof staleMs, reason]));
  watch.on('fresh', () => events.push(['fresh']));
  const loop = watch[Symbol.asyncIterator]();
  const next = async () => places((await loop.next()).value);
  const first = next();
  assert.equal(watch.synced, false);
  await api.core.createNamespacedService({ namespace, body: { metadata: { name: 'later' }, spec: { ports: [{ name: 'http', port: 80 }] } } });
  assert.equal(await first, '', 'a Service without endpoints');
  assert.equal(watch.synced, true);
  const body = {
    metadata: { name: 'later-1', labels: { 'kubernetes.io/service-name': 'later' } },
    addressType: 'IPv4',
    ports: [{ name: 'http', port: 8080 }],
    endpoints: [{ addresses: ['192.168.231.2'] }, { addresses: ['192.168.231.3'] }],
  };
  await api.discovery.createNamespacedEndpointSlice({ namespace, body });
  assert.equal(await next(), '192.168.231.2:8080 192.168.231.3:8080');
  assert.equal(watch.staleMs, 0);

  await api.kill();
  await until('the watch to be stale', () => watch.staleMs > 0);
  assert.equal(places(watch.current), '192.168.231.2:8080 192.168.231.3:8080', 'the last set stays');
  await api.restart();
  await api.discovery.deleteNamespacedEndpointSlice({ name: 'later-1', namespace });
  assert.equal(await next(), '');
  await until('the watch to be fresh', () => watch.staleMs === 0);
  assert.deepEqual(events.map(([name]) => name), ['stale', 'fresh']);
  assert.deepEqual(events[0].slice(1, 2), ['number']);
  assert.ok(events[0][2].includes(api.url), events[0][2]);

  const rest = loop.next();
  end.abort();
  await assert.rejects(rest, { name: 'AbortError' });
});
