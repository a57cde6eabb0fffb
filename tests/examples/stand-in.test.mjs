// The quickstart's stand-in for the Kubernetes API, tried with the official client and with raw requests.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { CoreV1Api, DiscoveryV1Api, KubeConfig, Watch } from '@kubernetes/client-node';
import { createStandIn } from '../../examples/quickstart/kubernetes-stand-in.mjs';

const TOKEN = 'test-token';

async function started(t, options = {}) {
  const server = createStandIn({ token: TOKEN, bookmarkMs: 50, ...options });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const url = `http://127.0.0.1:${server.address().port}`;
  const config = new KubeConfig();
  config.loadFromOptions({
    clusters: [{ name: 'c', server: url, skipTLSVerify: true }],
    users: [{ name: 'u', token: TOKEN }],
    contexts: [{ name: 'x', cluster: 'c', user: 'u' }],
    currentContext: 'x',
  });
  const call = (method, path, body, token = TOKEN) =>
    fetch(`${url}${path}`, { method, headers: { authorization: `Bearer ${token}` }, body: body && JSON.stringify(body) });
  return { url, config, call };
}

const service = (name) => ({ metadata: { name }, spec: { ports: [{ name: 'http', port: 80, targetPort: 'http' }] } });
const slice = (name, of, addresses) => ({
  metadata: { name, labels: { 'kubernetes.io/service-name': of } },
  addressType: 'IPv4',
  endpoints: addresses.map((address) => ({ addresses: [address], conditions: { ready: true } })),
  ports: [{ name: 'http', port: 8080 }],
});
const SLICES = '/apis/discovery.k8s.io/v1/namespaces/default/endpointslices';
const SERVICES = '/api/v1/namespaces/default/services';

/** Reads a raw watch until `enough` says so; returns its events. */
async function watchUntil(response, enough) {
  const events = [];
  let rest = '';
  const decoder = new TextDecoder();
  for await (const part of response.body) {
    const lines = (rest + decoder.decode(part, { stream: true })).split('\n');
    rest = lines.pop();
    events.push(...lines.map((line) => JSON.parse(line)));
    if (enough(events)) break;
  }
  return events;
}

test('the official client lists, reads and watches through it', async (t) => {
  const { config } = await started(t);
  const core = config.makeApiClient(CoreV1Api);
  const discovery = config.makeApiClient(DiscoveryV1Api);
  await core.createNamespacedService({ namespace: 'default', body: service('app') });
  await discovery.createNamespacedEndpointSlice({ namespace: 'default', body: slice('app-1', 'app', ['10.0.0.1']) });
  await discovery.createNamespacedEndpointSlice({ namespace: 'default', body: slice('other-1', 'other', ['10.0.0.9']) });

  const read = await core.readNamespacedService({ namespace: 'default', name: 'app' });
  assert.equal(read.spec.ports[0].name, 'http');
  assert.ok(read.metadata.uid);
  const list = await discovery.listNamespacedEndpointSlice({ namespace: 'default', labelSelector: 'kubernetes.io/service-name=app' });
  assert.deepEqual(list.items.map((item) => item.metadata.name), ['app-1']);

  const events = [];
  let wake;
  const controller = await new Watch(config).watch(
    SLICES,
    { labelSelector: 'kubernetes.io/service-name=app', resourceVersion: list.metadata.resourceVersion },
    (type, object) => {
      events.push([type, object.metadata.name]);
      wake?.();
    },
    () => {},
  );
  t.after(() => controller.abort());
  const waitFor = async (count) => {
    while (events.length < count) {
      await new Promise((resolve) => {
        wake = resolve;
      });
    }
  };
  await discovery.createNamespacedEndpointSlice({ namespace: 'default', body: slice('app-2', 'app', ['10.0.0.2']) });
  await waitFor(1);
  await discovery.replaceNamespacedEndpointSlice({ namespace: 'default', name: 'app-1', body: slice('app-1', 'app', ['10.0.0.3']) });
  await waitFor(2);
  await discovery.deleteNamespacedEndpointSlice({ namespace: 'default', name: 'app-2' });
  await waitFor(3);
  assert.deepEqual(events, [['ADDED', 'app-2'], ['MODIFIED', 'app-1'], ['DELETED', 'app-2']]);
});

test('a missing object is a 404 Status, a wrong token a 401, an unknown kind a 404', async (t) => {
  const { call, config } = await started(t);
  await assert.rejects(config.makeApiClient(CoreV1Api).readNamespacedService({ namespace: 'default', name: 'none' }), (error) => error.code === 404);
  const denied = await call('GET', SERVICES, undefined, 'tampered');
  assert.equal(denied.status, 401);
  assert.equal((await denied.json()).reason, 'Unauthorized');
  assert.equal((await call('GET', '/api/v1/namespaces/default/pods')).status, 404);
  assert.equal((await call('GET', '/apis/discovery.k8s.io/v1/namespaces/default/services')).status, 404);
  assert.equal((await call('PATCH', `${SERVICES}/app`, {})).status, 405);
  assert.equal((await call('POST', SERVICES, undefined)).status, 400);
});

test('a write with an old resourceVersion is a conflict and changes nothing', async (t) => {
  const { call } = await started(t);
  const first = await (await call('POST', SLICES, slice('a', 'app', ['10.0.0.1']))).json();
  const second = await call('PUT', `${SLICES}/a`, { ...first, endpoints: [] });
  assert.equal(second.status, 200);
  const stale = await call('PUT', `${SLICES}/a`, first);
  assert.equal(stale.status, 409);
  assert.deepEqual((await (await call('GET', `${SLICES}/a`)).json()).endpoints, []);
});

test('a watch sends bookmarks with the newest version, when asked to', async (t) => {
  const { call } = await started(t);
  const { metadata } = await (await call('POST', SERVICES, service('app'))).json();
  const response = await call('GET', `${SLICES}?watch=true&allowWatchBookmarks=true&resourceVersion=${metadata.resourceVersion}`);
  const events = await watchUntil(response, (seen) => seen.length > 0);
  assert.equal(events[0].type, 'BOOKMARK');
  assert.equal(events[0].object.kind, 'EndpointSlice');
  assert.equal(events[0].object.metadata.resourceVersion, metadata.resourceVersion);
});

test('a streaming list sends what exists and then the end mark', async (t) => {
  const { call } = await started(t);
  await call('POST', SLICES, slice('a', 'app', ['10.0.0.1']));
  const response = await call('GET', `${SLICES}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true`);
  const events = await watchUntil(response, (seen) => seen.length >= 2);
  assert.deepEqual(events.map(({ type }) => type).slice(0, 2), ['ADDED', 'BOOKMARK']);
  assert.equal(events[1].object.metadata.annotations['k8s.io/initial-events-end'], 'true');
});

test('a watch from a version that is too old is told 410 Expired and ended', async (t) => {
  const { call } = await started(t, { history: 2 });
  for (let i = 0; i < 5; i += 1) await call('POST', SERVICES, service(`s${i}`));
  const response = await call('GET', `${SERVICES}?watch=1&resourceVersion=2`);
  const events = await watchUntil(response, () => false);
  assert.deepEqual([events[0].type, events[0].object.code, events[0].object.reason], ['ERROR', 410, 'Expired']);
});

test('a watch ends after its timeoutSeconds', async (t) => {
  const { call } = await started(t);
  const response = await call('GET', `${SERVICES}?watch=true&timeoutSeconds=1`);
  const before = performance.now();
  await watchUntil(response, () => false);
  const took = performance.now() - before;
  assert.ok(took > 500 && took < 5_000, `${took} ms`);
});
