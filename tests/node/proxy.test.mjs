// The Proxy class: its life, its changes, and that a change that fails changes nothing.
import assert from 'node:assert/strict';
import dgram from 'node:dgram';
import { once } from 'node:events';
import http from 'node:http';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ConfigError, Proxy, ProxyError, buildCluster, buildHost, buildRoute, loadConfig, validate } from '../../npm/lib/index.mjs';
import { makeCerts } from './lib/certs.mjs';
import { envoyValidate } from './lib/envoy.mjs';
import { holdPort, portIsFree, request, startUpstream } from './lib/http.mjs';
import { config, listener, portOf, startProxy } from './lib/proxy.mjs';
import { runScript } from './lib/run-script.mjs';

let one;
let two;
before(async () => {
  [one, two] = await Promise.all([startUpstream('one'), startUpstream('two')]);
});
after(() => {
  one.close();
  two.close();
});

const aborts = { name: 'AbortError', code: 'ABORT_ERR' };
const stateError = { name: 'ProxyError', code: 'ERR_PLENIPO_STATE' };
const wrongArgument = (message) => ({ name: 'TypeError', code: 'ERR_PLENIPO_INVALID_ARG', message });

describe('life', () => {
  test('new, live, stopped', async () => {
    const proxy = new Proxy(config([one.address]), { concurrency: 2 });
    assert.equal(proxy.state, 'new');
    assert.equal(proxy.version, '');
    assert.deepEqual(proxy.addresses, []);
    const starting = proxy.start();
    assert.equal(proxy.state, 'starting');
    await assert.rejects(proxy.start(), stateError);
    assert.equal(await starting, proxy);
    assert.equal(proxy.state, 'live');
    assert.match(proxy.version, /./);
    const port = portOf(proxy);
    assert.ok(port > 0);
    for (let n = 0; n < 20; n++) assert.equal((await request(port)).body, 'one');
    await assert.rejects(proxy.start(), stateError);
    await proxy.stop();
    assert.equal(proxy.state, 'stopped');
    assert.deepEqual(proxy.addresses, []);
    assert.equal(await portIsFree(port), true);
    await proxy.stop();
    await assert.rejects(proxy.start(), stateError);
    await assert.rejects(proxy.apply({}), stateError);
    assert.throws(() => proxy.stats(), stateError);
  });

  test('before the start, only stop does something: nothing', async () => {
    const proxy = new Proxy();
    await proxy.stop();
    for (const call of [() => proxy.apply({}), () => proxy.remove('cluster', 'a'), () => proxy.setEndpoints('a', []), () => proxy.drain()]) {
      await assert.rejects(call(), stateError);
    }
    for (const call of [() => proxy.stats(), () => proxy.prometheus(), () => proxy.dump()]) assert.throws(call, stateError);
    assert.equal(proxy.unref().ref(), proxy);
  });

  test('wrong arguments', async () => {
    const throwing = [
      [() => new Proxy(5), /^the configuration must be an object/],
      [() => new Proxy({ cluster: [] }), /did you mean 'clusters'/],
      [() => new Proxy({ clusters: {} }), /clusters must be an array/],
      [() => new Proxy({ clusters: [1] }), /clusters\[0\] must be an object/],
      [() => new Proxy({ clusters: [{ a: () => {} }] }), /clusters\[0\]\.a cannot be part/],
      [() => new Proxy({ admin: 'a' }), /admin must be a port/],
      [() => new Proxy({ admin: 65536 }), /admin must be/],
      [() => new Proxy({ admin: true }), /admin must be/],
      [() => new Proxy({}, { concurrency: 0 }), /^concurrency must/],
      [() => new Proxy({}, { concurency: 1 }), /did you mean 'concurrency'/],
      [() => new Proxy({}, { drainTime: 'x' }), /^drainTime must be a duration/],
    ];
    for (const [call, message] of throwing) assert.throws(call, wrongArgument(message));
    const proxy = new Proxy();
    const rejecting = [
      [() => proxy.start({ signal: 1 }), /AbortSignal/],
      [() => proxy.apply(), /^the change must be an object/],
      [() => proxy.apply({ clusters: 1 }), /clusters must be an array/],
      [() => proxy.apply({ admin: 1 }), /'admin' cannot change/],
      [() => proxy.apply({}, { dryRun: 1 }), /^dryRun must be true or false/],
      [() => proxy.apply({}, { dryrun: true }), /did you mean 'dryRun'/],
      [() => proxy.apply({}, { ifVersion: 1 }), /^ifVersion must be a string/],
      [() => proxy.remove('route', 'a'), /^kind must be one of/],
      [() => proxy.remove('cluster'), /at least one name/],
      [() => proxy.setEndpoints(), /^cluster must be a string/],
      [() => proxy.setEndpoints('a', 'b'), /^endpoints must be an array/],
      [() => proxy.setEndpoints('a', ['10.0.0.1']), /has no port/],
      [() => proxy.setEndpoints('a', ['app.local:80']), /must be an IP address/],
      [() => proxy.drain({ timeout: -1 }), /^timeout must be a duration/],
      [() => proxy.stop({ grace: 'x' }), /^grace must be a duration/],
      [() => Proxy.fromFile(), /^file must be a string/],
      [() => loadConfig(5), /^file must be a string/],
    ];
    for (const [call, message] of rejecting) {
      let promise;
      assert.doesNotThrow(() => (promise = call()), message);
      await assert.rejects(promise, wrongArgument(message));
    }
  });

  test('a start that fails leaves nothing, and can be repeated', async (t) => {
    const held = await holdPort();
    const proxy = new Proxy(config([one.address], { listeners: [listener(), listener({ name: 'taken', port: held.port })] }), { concurrency: 2 });
    t.after(() => proxy.stop({ force: true }));
    await assert.rejects(proxy.start(), (error) => {
      assert.ok(error instanceof ProxyError);
      assert.equal(error.code, 'ERR_PLENIPO_BIND');
      assert.equal(error.cause.code, 'EADDRINUSE');
      assert.equal(error.cause.port, held.port);
      assert.match(error.message, /EADDRINUSE/);
      return true;
    });
    assert.equal(proxy.state, 'new');
    assert.deepEqual(proxy.addresses, []);
    held.close();
    await once(process, 'x', { signal: AbortSignal.timeout(50) }).catch(() => {});
    await proxy.start();
    assert.equal((await request(held.port)).body, 'one');
  });

  test('a start that is aborted leaves nothing', async () => {
    const proxy = new Proxy(config([one.address]), { concurrency: 1 });
    await assert.rejects(proxy.start({ signal: AbortSignal.abort('why') }), { ...aborts, cause: 'why' });
    assert.equal(proxy.state, 'new');
    const controller = new AbortController();
    const starting = proxy.start({ signal: controller.signal });
    controller.abort();
    const outcome = await starting.then(() => 'started', (error) => error);
    if (outcome === 'started') assert.equal(proxy.state, 'live');
    else {
      assert.equal(outcome.name, 'AbortError');
      assert.equal(proxy.state, 'new');
    }
    await proxy.stop({ force: true });
  });

  test('several proxies in one process, and a port of one is not shared by another', async (t) => {
    const first = await startProxy(t, config([one.address]));
    const second = await startProxy(t, config([two.address]));
    assert.notEqual(first.port, second.port);
    assert.equal((await request(first.port)).body, 'one');
    assert.equal((await request(second.port)).body, 'two');
    const third = new Proxy(config([], { listeners: [listener({ port: first.port })] }), { concurrency: 1 });
    await assert.rejects(third.start(), { code: 'ERR_PLENIPO_BIND' });
    await first.proxy.stop();
    assert.equal((await request(second.port)).body, 'two');
  });

  test('sharing a port is an option of both', async (t) => {
    const first = await startProxy(t, config([one.address]), { concurrency: 1, sharePort: true });
    const shared = config([two.address], { listeners: [listener({ port: first.port })] });
    await assert.rejects(new Proxy(shared, { concurrency: 1 }).start(), { code: 'ERR_PLENIPO_BIND' });
    await startProxy(t, shared, { concurrency: 1, sharePort: true });
    const seen = new Set();
    for (let n = 0; n < 200 && seen.size < 2; n++) seen.add((await request(first.port)).body);
    assert.deepEqual([...seen].sort(), ['one', 'two']);
  });

  test('with port 0, all workers share one port', async (t) => {
    const { proxy, port } = await startProxy(t, config([one.address]), { concurrency: 4 });
    assert.deepEqual(proxy.addresses, [{ listener: 'http', address: '127.0.0.1', port }]);
    const bodies = await Promise.all(Array.from({ length: 40 }, () => request(port)));
    assert.ok(bodies.every(({ body }) => body === 'one'));
  });

  test('the admin page has an address too', async (t) => {
    const { proxy } = await startProxy(t, config([one.address], { admin: 0 }));
    const admin = proxy.addresses.find((each) => each.listener === 'admin');
    assert.equal(admin.address, '127.0.0.1');
    assert.equal((await request(admin.port, '/ready')).status, 200);
  });
});

describe('files', () => {
  let folder;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'plenipo-files-'));
  });
  after(() => rmSync(folder, { recursive: true }));
  const write = (name, text) => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const good = () => `
static_resources:
  listeners:
  - name: http
    address: { socket_address: { address: 127.0.0.1, port_value: 0 } }
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress_http
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: { prefix: / }
                route: { cluster: app }
          http_filters:
          - name: envoy.filters.http.router
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
  clusters:
  - name: app
    connect_timeout: 0.25s
    type: static
    lb_policy: round_robin
    load_assignment:
      cluster_name: app
      endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: ${one.port} } } } }] }]
`;

  test('an envoy.yaml runs as it is, and what it brought is not JavaScript\'s to replace', async (t) => {
    const proxy = await Proxy.fromFile(write('good.yaml', good()), { concurrency: 1 });
    t.after(() => proxy.stop({ force: true }));
    assert.equal(proxy.state, 'new');
    await proxy.start();
    assert.equal((await request(portOf(proxy))).body, 'one');
    await proxy.apply({ clusters: [buildCluster('mine', [two.address])], listeners: [listener({ name: 'mine', to: 'mine' })] });
    const result = await proxy.apply({}, { replace: true });
    assert.deepEqual(result.removed.sort(), ['cluster/mine', 'listener/mine']);
    assert.equal((await request(portOf(proxy))).body, 'one');
    await proxy.setEndpoints('app', [two.address]);
    assert.equal((await request(portOf(proxy))).body, 'two');
  });

  test('every problem of a broken file is told at once, with its place', async () => {
    const file = write('broken.yaml', good().replace('connect_timeout', 'conect_timeout').replace('type: static', 'type: statik'));
    await assert.rejects(Proxy.fromFile(file), (error) => {
      assert.ok(error instanceof ConfigError && error instanceof ProxyError);
      assert.equal(error.code, 'ERR_PLENIPO_CONFIG_UNKNOWN_FIELD');
      assert.equal(error.issues.length, 2);
      const [field, value] = error.issues;
      assert.deepEqual([field.file, field.line, field.column], [file, 24, 5]);
      assert.equal(field.path, 'static_resources.clusters[0].conect_timeout');
      assert.match(field.hint, /connect_timeout/);
      assert.match(value.expected, /STATIC/);
      assert.match(value.got, /statik/);
      const lines = error.format().split('\n');
      assert.equal(lines.length, 2);
      assert.ok(lines[0].startsWith(`${file}:24:5: error: static_resources.clusters[0].conect_timeout: `), lines[0]);
      assert.match(error.format({ color: true }), /\x1b\[/);
      assert.ok(error.message.includes(`${file}:24:5`));
      return true;
    });
    await assert.rejects(Proxy.fromFile(join(folder, 'missing.yaml')), { code: 'ENOENT' });
    await assert.rejects(Proxy.fromFile(write('syntax.yaml', 'a: [')), { name: 'ConfigError', code: 'ERR_PLENIPO_CONFIG_INVALID' });
    await assert.rejects(Proxy.fromFile(write('unsupported.yaml', good().replace('type: static', 'type: original_dst'))), {
      code: 'ERR_PLENIPO_CONFIG_UNSUPPORTED',
    });
  });

  test('loadConfig gives what can be changed and started', async (t) => {
    const loaded = await loadConfig(write('load.yaml', good()));
    assert.equal(loaded.bootstrap.static_resources.clusters[0].name, 'app');
    assert.deepEqual(validate(loaded), []);
    loaded.bootstrap.static_resources.clusters[0].load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.port_value = two.port;
    const { port } = await startProxy(t, loaded);
    assert.equal((await request(port)).body, 'two');
    await assert.rejects(loadConfig(write('load-broken.yaml', 'admn: {}')), { name: 'ConfigError' });
  });

  test('validate tells every problem and starts nothing', () => {
    assert.deepEqual(validate(config(['10.0.0.1:80'])), []);
    assert.deepEqual(validate(good()), []);
    const issues = validate('admn: {}\nnode: 5\n', { file: 'x.yaml' });
    assert.deepEqual(issues.map(({ file, line }) => [file, line]), [['x.yaml', 1], ['x.yaml', 2]]);
    const [issue] = validate({ clusters: [{ name: 'a', lbPolicy: 'NO_SUCH' }] });
    assert.equal(issue.path, 'static_resources.clusters[0].lb_policy');
    assert.equal(issue.line, undefined);
    const reference = validate({ listeners: [listener({ to: 'no-such' })] });
    assert.deepEqual(reference.map(({ code }) => code), ['ERR_PLENIPO_REF_NOT_FOUND']);
    assert.throws(() => validate(), wrongArgument(/./));
    assert.throws(() => validate('', { fil: '' }), wrongArgument(/did you mean 'file'/));
  });
});

describe('changes', () => {
  test('plain Envoy JSON in either spelling is taken', async (t) => {
    const { proxy } = await startProxy(t, config([one.address]));
    await proxy.apply({ clusters: [{ name: 'snake', connect_timeout: '1s' }, { name: 'camel', connectTimeout: '1s', loadAssignment: { clusterName: 'camel' } }] });
    assert.deepEqual(proxy.dump().clusters.map(({ name }) => name).sort(), ['app', 'camel', 'snake']);
  });

  test('the result tells what was added, changed, removed and left alone', async (t) => {
    const { proxy } = await startProxy(t, config([one.address]));
    const before = proxy.version;
    const added = await proxy.apply({ clusters: [buildCluster('b', [two.address])] });
    assert.deepEqual([added.added, added.changed, added.removed, added.unchanged], [['cluster/b'], [], [], 0]);
    assert.equal(added.version, proxy.version);
    assert.notEqual(added.version, before);
    const same = await proxy.apply({ clusters: [buildCluster('b', [two.address])] });
    assert.deepEqual([same.added, same.changed, same.removed, same.unchanged], [[], [], [], 1]);
    assert.equal(same.version, added.version);
    const changed = await proxy.apply({ clusters: [buildCluster('b', [one.address])] });
    assert.deepEqual([changed.added, changed.changed], [[], ['cluster/b']]);
    const removed = await proxy.remove('cluster', 'b');
    assert.deepEqual(removed.removed, ['cluster/b']);
    await assert.rejects(proxy.remove('cluster', 'b'), { code: 'ERR_PLENIPO_REF_NOT_FOUND' });
  });

  test('calls take effect in the order in which they were made', async (t) => {
    const { proxy, port } = await startProxy(t, config([one.address]), { concurrency: 2 });
    const order = [];
    const calls = Array.from({ length: 50 }, (_, n) =>
      proxy.apply({ clusters: [buildCluster('app', [n % 2 ? one.address : two.address], { connectTimeout: n + 1 })] }).then(({ version }) => {
        order.push(n);
        return version;
      }),
    );
    const versions = await Promise.all(calls);
    assert.deepEqual(order, Array.from({ length: 50 }, (_, n) => n));
    assert.equal(new Set(versions).size, 50);
    assert.equal(proxy.version, versions[49]);
    assert.equal(proxy.dump().clusters[0].connect_timeout, '0.050s');
    assert.equal((await request(port)).body, 'one');
  });

  test('once it resolves, every worker uses it', async (t) => {
    const { proxy, port } = await startProxy(t, config([one.address]), { concurrency: 4 });
    for (let n = 0; n < 20; n++) {
      const upstream = n % 2 ? one : two;
      await proxy.apply({ clusters: [buildCluster('app', [upstream.address])] });
      const answers = await Promise.all(Array.from({ length: 16 }, () => request(port)));
      assert.ok(answers.every(({ body }) => body === upstream.name));
    }
  });

  test('a failure changes nothing, and requests still work', async (t) => {
    const held = await holdPort();
    t.after(() => held.close());
    const { proxy, port } = await startProxy(t, config([one.address]));
    const before = { version: proxy.version, dump: proxy.dump(), addresses: proxy.addresses };
    const cases = [
      [{ clusters: [buildCluster('app', [two.address]), { name: 'bad', lb_policy: 'NO_SUCH' }] }, 'ERR_PLENIPO_CONFIG_UNKNOWN_FIELD', 'clusters[1].lb_policy'],
      [{ clusters: [buildCluster('app', [two.address]), { name: '' }] }, 'ERR_PLENIPO_CONFIG_INVALID', 'clusters[1].name'],
      [{ clusters: [buildCluster('app', [two.address]), { name: 'x', type: 'EDS' }] }, undefined, 'clusters[1].type'],
      [{ clusters: [buildCluster('app', [two.address])], listeners: [listener({ name: 'l', to: 'no-such' })] }, 'ERR_PLENIPO_REF_NOT_FOUND', undefined],
      [{ clusters: [buildCluster('app', [two.address])], listeners: [listener({ name: 'l', port: held.port })] }, 'ERR_PLENIPO_BIND', undefined],
      [{ clusters: [buildCluster('a', []), buildCluster('a', [])] }, undefined, undefined],
    ];
    for (const [change, code, path] of cases) {
      const rejected = once(proxy, 'rejected');
      const error = await proxy.apply(change).then(() => assert.fail('it was accepted'), (reason) => reason);
      assert.ok(error instanceof ProxyError, error.stack);
      if (code) assert.equal(error.code, code, error.message);
      if (path) assert.ok(error.issues.some((issue) => issue.path.endsWith(path)), JSON.stringify(error.issues));
      assert.equal((await rejected)[0].code, error.code);
      assert.equal(proxy.version, before.version);
      assert.deepEqual(proxy.dump(), before.dump);
      assert.deepEqual(proxy.addresses, before.addresses);
      assert.equal((await request(port)).body, 'one');
    }
  });

  test('dryRun only tells', async (t) => {
    const { proxy, port } = await startProxy(t, config([one.address]));
    const { version } = proxy;
    const result = await proxy.apply({ clusters: [buildCluster('app', [two.address]), buildCluster('new', [])] }, { dryRun: true });
    assert.deepEqual([result.added, result.changed], [['cluster/new'], ['cluster/app']]);
    assert.equal(result.version, version);
    assert.equal(proxy.version, version);
    assert.equal((await request(port)).body, 'one');
    await assert.rejects(proxy.apply({ clusters: [{ name: '' }] }, { dryRun: true }), ConfigError);
  });

  test('ifVersion refuses a change that was made for another version', async (t) => {
    const { proxy, port } = await startProxy(t, config([one.address]));
    const old = proxy.version;
    await proxy.apply({ clusters: [buildCluster('app', [two.address])] }, { ifVersion: old });
    await assert.rejects(proxy.apply({ clusters: [buildCluster('app', [one.address])] }, { ifVersion: old }), { code: 'ERR_PLENIPO_VERSION_CONFLICT' });
    assert.equal((await request(port)).body, 'two');
  });

  test('replace removes what JavaScript gave before', async (t) => {
    const { proxy } = await startProxy(t, config([one.address]));
    await proxy.apply({ clusters: [buildCluster('a', []), buildCluster('b', [])] });
    const result = await proxy.apply({ clusters: [buildCluster('app', [one.address]), buildCluster('b', [])], listeners: [listener()] }, { replace: true });
    assert.deepEqual(result.removed, ['cluster/a']);
    assert.deepEqual(proxy.dump().clusters.map(({ name }) => name).sort(), ['app', 'b']);
  });

  test('an abort before publishing rejects and changes nothing, after it the call resolves', async (t) => {
    const { proxy } = await startProxy(t, config([one.address]));
    const { version } = proxy;
    await assert.rejects(proxy.apply({ clusters: [buildCluster('x', [])] }, { signal: AbortSignal.abort() }), aborts);
    assert.equal(proxy.version, version);
    let aborted = 0;
    for (let n = 0; n < 50; n++) {
      const controller = new AbortController();
      const known = proxy.version;
      const call = proxy.apply({ clusters: [buildCluster(`c${n}`, [])] }, { signal: controller.signal });
      if (n % 2) await new Promise(setImmediate);
      controller.abort();
      const outcome = await call.then(({ version: now }) => now, (error) => error);
      if (typeof outcome === 'string') assert.equal(proxy.version, outcome);
      else {
        aborted += 1;
        assert.equal(outcome.name, 'AbortError');
        assert.equal(proxy.version, known);
        assert.equal(proxy.dump().clusters.some(({ name }) => name === `c${n}`), false);
      }
    }
    const controller = new AbortController();
    await proxy.apply({ clusters: [buildCluster('last', [])] }, { signal: controller.signal });
    controller.abort();
    assert.ok(proxy.dump().clusters.some(({ name }) => name === 'last'));
    t.diagnostic(`${aborted} of 50 calls were aborted in time`);
  });

  test('requests under way end with the configuration that they began with', async (t) => {
    const { proxy, port } = await startProxy(t, config([one.address]));
    const slow = request(port, '/slow?ms=300');
    await sleep(100);
    await proxy.apply({ clusters: [buildCluster('app', [two.address])] });
    assert.equal((await request(port)).body, 'two');
    assert.equal((await slow).body, 'one');
  });

  test('a listener comes, changes and goes', async (t) => {
    const { proxy, port } = await startProxy(t, config([one.address]));
    const heard = once(proxy, 'listening');
    await proxy.apply({ listeners: [listener({ name: 'more' })] });
    const [addresses] = await heard;
    const more = addresses.find((each) => each.listener === 'more').port;
    assert.equal((await request(more)).body, 'one');
    await proxy.apply({ listeners: [listener({ name: 'more', port: more, to: { respond: 418 } })] });
    assert.equal((await request(more)).status, 418);
    await proxy.remove('listener', 'more');
    assert.equal(portOf(proxy, 'more'), undefined);
    for (let n = 0; n < 50 && !(await portIsFree(more)); n++) await sleep(20);
    assert.equal(await portIsFree(more), true);
    assert.equal((await request(port)).body, 'one');
  });
});

describe('clusters that warm', () => {
  // A resolver that never answers.
  let socket;
  let resolver;
  before(async () => {
    socket = dgram.createSocket('udp4');
    socket.bind(0, '127.0.0.1');
    await once(socket, 'listening');
    resolver = [{ socket_address: { address: '127.0.0.1', port_value: socket.address().port } }];
  });
  after(() => socket.close());
  const silent = (name) => buildCluster(name, ['silent.test:80'], { envoy: { dns_resolvers: resolver } });

  test('an abort while they do rejects, and changes nothing', async (t) => {
    const { proxy, port } = await startProxy(t, config([one.address]), { concurrency: 1, warmTimeout: '30s' });
    const { version } = proxy;
    const controller = new AbortController();
    const call = proxy.apply({ clusters: [silent('slow'), buildCluster('app', [two.address])] }, { signal: controller.signal });
    const behind = proxy.apply({ clusters: [buildCluster('behind', [])] });
    await sleep(100);
    assert.equal(proxy.version, version, 'nothing is published before all is warm');
    assert.equal((await request(port)).body, 'one');
    controller.abort('enough');
    await assert.rejects(call, { ...aborts, cause: 'enough' });
    const { added } = await behind;
    assert.deepEqual(added, ['cluster/behind']);
    assert.deepEqual(proxy.dump().clusters.map(({ name }) => name).sort(), ['app', 'behind']);
    assert.equal((await request(port)).body, 'one');
  });

  test('the wait is bounded', async (t) => {
    const { proxy } = await startProxy(t, config([one.address]), { concurrency: 1, warmTimeout: 200 });
    const started = performance.now();
    await proxy.apply({ clusters: [silent('slow')] });
    const took = performance.now() - started;
    assert.ok(took >= 150 && took < 3_000, `${took} ms`);
    await assert.rejects(proxy.setEndpoints('slow', [one.address]), stateError);
  });

  test('a start can be aborted while they do, and repeated', async () => {
    const proxy = new Proxy({ ...config(), clusters: [buildCluster('app', []), silent('slow')] }, { concurrency: 1, warmTimeout: '30s' });
    const events = [];
    for (const name of ['listening', 'stopped', 'draining']) proxy.on(name, () => events.push(name));
    const controller = new AbortController();
    const starting = proxy.start({ signal: controller.signal });
    setTimeout(() => controller.abort(), 100);
    await assert.rejects(starting, aborts);
    assert.equal(proxy.state, 'new');
    assert.deepEqual(events, []);
  });

  test('process.exit does not wait for them', async () => {
    const result = await runScript(`
      import dgram from 'node:dgram';
      const socket = dgram.createSocket('udp4').bind(0, '127.0.0.1', async () => {
        const slow = buildCluster('slow', ['silent.test:80'], { envoy: { dns_resolvers: [{ socket_address: { address: '127.0.0.1', port_value: socket.address().port } }] } });
        const proxy = new Proxy(config(), { concurrency: 1, warmTimeout: '30s' });
        await proxy.start();
        proxy.apply({ clusters: [slow] });
        new Proxy({ clusters: [slow] }, { concurrency: 1, warmTimeout: '30s' }).start();
        setTimeout(() => process.exit(6), 200);
      });`);
    assert.equal(result.code, 6, result.stderr);
    assert.ok(result.took < 6_000, `${result.took} ms`);
  });
});

describe('setEndpoints', () => {
  test('moves requests, and changes nothing else', async (t) => {
    const { proxy, port } = await startProxy(t, config([one.address]), { concurrency: 2 });
    await proxy.setEndpoints('app', [two.address]);
    for (let n = 0; n < 8; n++) assert.equal((await request(port)).body, 'two');
    await proxy.setEndpoints('app', [{ address: '127.0.0.1', port: one.port, weight: 3, zone: 'a' }, two.address]);
    const bodies = await Promise.all(Array.from({ length: 20 }, () => request(port)));
    assert.deepEqual([...new Set(bodies.map(({ body }) => body))].sort(), ['one', 'two']);
    await proxy.setEndpoints('app', []);
    assert.equal((await request(port)).status, 503);
    assert.equal(proxy.addresses.length, 1);
  });

  test('keeps connections to endpoints that stay', async (t) => {
    const upstream = await startUpstream('kept');
    t.after(() => upstream.close());
    const { proxy, port } = await startProxy(t, config([upstream.address]));
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    t.after(() => agent.destroy());
    await request(port, '/', { agent });
    for (let n = 0; n < 50; n++) {
      await proxy.setEndpoints('app', [upstream.address]);
      await request(port, '/', { agent });
    }
    assert.equal(upstream.connections, 1);
  });

  test('refuses an unknown cluster at once', async (t) => {
    const { proxy } = await startProxy(t, config([one.address]));
    await assert.rejects(proxy.setEndpoints('no-such', [one.address]), (error) => {
      assert.equal(error.code, 'ERR_PLENIPO_REF_NOT_FOUND');
      assert.match(error.message, /no-such/);
      return true;
    });
  });

  test('a thousand times in a second under load, and no request is lost', async (t) => {
    const { proxy, port } = await startProxy(t, config([one.address]), { concurrency: 2 });
    const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
    t.after(() => agent.destroy());
    let running = true;
    const statuses = [];
    const load = Array.from({ length: 8 }, async () => {
      while (running) statuses.push((await request(port, '/', { agent })).status);
    });
    const started = performance.now();
    for (let n = 0; n < 1000; n++) {
      await proxy.setEndpoints('app', n % 2 ? [one.address] : [two.address, one.address]);
      do await new Promise(setImmediate);
      while (performance.now() < started + n);
    }
    const took = performance.now() - started;
    running = false;
    await Promise.all(load);
    assert.ok(statuses.length > 100 && statuses.every((status) => status === 200), `${statuses.filter((status) => status !== 200).length} of ${statuses.length} lost`);
    t.diagnostic(`1,000 changes in ${took.toFixed(0)} ms, ${statuses.length} requests`);
  });

  test('follow feeds it', async (t) => {
    const { proxy, port } = await startProxy(t, config([]));
    const gate = Promise.withResolvers?.() ?? (() => { const g = {}; g.promise = new Promise((resolve) => (g.resolve = resolve)); return g; })();
    const source = (async function* () {
      yield [one.address];
      await gate.promise;
      yield { endpoints: [{ address: '127.0.0.1', port: two.port }] };
    })();
    const follow = proxy.follow(source, { cluster: 'app' });
    for (let n = 0; n < 100 && (await request(port)).status !== 200; n++) await sleep(10);
    assert.equal((await request(port)).body, 'one');
    gate.resolve();
    assert.deepEqual(await follow.done, { reason: 'ended' });
    assert.equal((await request(port)).body, 'two');
    const unknown = proxy.follow((async function* () { yield [one.address]; })(), { cluster: 'no-such' });
    const end = await unknown.done;
    assert.equal(end.reason, 'failed');
    assert.equal(end.error.code, 'ERR_PLENIPO_REF_NOT_FOUND');
    const endless = proxy.follow((async function* () { await new Promise(() => {}); yield []; })(), { cluster: 'app' });
    await proxy.stop({ force: true });
    assert.deepEqual(await endless.done, { reason: 'aborted' });
  });
});

describe('looking inside', () => {
  test('stats by text and by expression', async (t) => {
    const { proxy, port } = await startProxy(t, config([one.address]));
    await request(port);
    const all = proxy.stats();
    assert.equal(all['cluster.app.upstream_rq_total'], 1);
    assert.deepEqual(Object.keys(proxy.stats('cluster.app.upstream_rq_2xx')), ['cluster.app.upstream_rq_2xx']);
    const some = proxy.stats(/^http\..*downstream_rq_total$/g);
    assert.deepEqual(Object.keys(some), ['http.http.downstream_rq_total']);
    assert.deepEqual(proxy.stats(/^http\..*downstream_rq_total$/g), some);
    assert.throws(() => proxy.stats(5), wrongArgument(/^the filter must/));
    assert.match(proxy.prometheus(), /^envoy_cluster_upstream_rq_total\{envoy_cluster_name="app"\} 1$/m);
  });

  test('a dump can be started again, here and by Envoy', async (t) => {
    const { proxy } = await startProxy(t, config([one.address], { admin: 0, bootstrap: { node: { id: 'n', cluster: 'c' } } }));
    await proxy.apply({ clusters: [buildCluster('b', ['app.local:80'], { protocol: 'http2', limits: { retries: 1 } })] });
    const dump = proxy.dump();
    assert.deepEqual(dump.clusters.map(({ name }) => name).sort(), ['app', 'b']);
    assert.equal(dump.bootstrap.node.id, 'n');
    const { ok, output } = envoyValidate({ ...dump.bootstrap, static_resources: { clusters: dump.clusters, listeners: dump.listeners } });
    assert.ok(ok, output);
    const second = await startProxy(t, dump, { concurrency: 1, warmTimeout: 100 });
    assert.equal((await request(second.port)).body, 'one');
    assert.deepEqual(second.proxy.dump(), dump);
  });

  test('no key is in dump, errors or events', async (t) => {
    const { cert, key } = makeCerts();
    const secret = key.split('\n')[1];
    const { proxy } = await startProxy(t, config([one.address], { listeners: [listener(), listener({ name: 'tls', tls: { cert, key } })] }));
    const dump = JSON.stringify(proxy.dump());
    assert.ok(dump.includes(cert.split('\n')[1]), 'the certificate is public');
    assert.ok(!dump.includes(secret));
    const broken = await proxy.apply({ listeners: [listener({ name: 'bad', tls: { cert, key: key.replace('-----END', 'x\n-----END') } })] }).then(() => assert.fail(), (error) => error);
    assert.ok(broken instanceof ProxyError, broken.stack);
    assert.ok(!`${broken.stack}${JSON.stringify(broken)}${broken.format?.()}`.includes(secret));
  });

  test('events', async (t) => {
    const proxy = new Proxy(config([one.address]), { concurrency: 1 });
    t.after(() => proxy.stop({ force: true }));
    const seen = [];
    for (const name of ['listening', 'applied', 'rejected', 'draining', 'stopped', 'error']) proxy.on(name, (value) => seen.push([name, value]));
    await proxy.start();
    await proxy.apply({ clusters: [buildCluster('x', [])] });
    await proxy.apply({ clusters: [{ name: '' }] }).catch(() => {});
    await proxy.stop();
    await sleep(20);
    const names = seen.map(([name]) => name);
    assert.equal(names[0], 'listening');
    assert.ok(names.indexOf('applied') < names.indexOf('rejected'));
    assert.ok(names.indexOf('rejected') < names.indexOf('draining'));
    assert.equal(names.at(-1), 'stopped');
    assert.equal(names.filter((name) => name === 'stopped').length, 1);
    assert.equal(names.includes('error'), false);
    assert.deepEqual(seen.find(([name, value]) => name === 'applied' && value.added.includes('cluster/x'))[1].added, ['cluster/x']);
    assert.ok(seen.find(([name]) => name === 'rejected')[1] instanceof ConfigError);
  });
});

describe('the end', () => {
  test("the admin page's /quitquitquit stops it", async (t) => {
    const { proxy } = await startProxy(t, config([one.address], { admin: 0 }));
    const stopped = once(proxy, 'stopped');
    const admin = proxy.addresses.find((each) => each.listener === 'admin').port;
    assert.equal((await request(admin, '/quitquitquit', { method: 'POST' })).status, 200);
    await stopped;
    assert.equal(proxy.state, 'stopped');
  });

  test('a drain that is aborted does not wait any longer', async (t) => {
    const { proxy, port } = await startProxy(t, config([one.address]));
    const slow = request(port, '/slow?ms=3000').then(({ status }) => status, (error) => error.code);
    await sleep(100);
    const started = performance.now();
    await proxy.drain({ timeout: '20s', signal: AbortSignal.timeout(100) });
    assert.ok(performance.now() - started < 1500);
    assert.equal(proxy.state, 'stopped');
    assert.notEqual(await slow, 200);
  });

  test('a forced stop ends a stop that waits', async (t) => {
    const { proxy, port } = await startProxy(t, config([one.address]));
    const slow = request(port, '/slow?ms=3000').catch(() => {});
    await sleep(100);
    const started = performance.now();
    await Promise.all([proxy.stop({ grace: '20s' }), sleep(50).then(() => proxy.stop({ force: true }))]);
    assert.ok(performance.now() - started < 1500);
    await slow;
  });

  test('drain lets requests end, and tells how many did', async (t) => {
    const { proxy, port } = await startProxy(t, config([one.address]));
    const slow = request(port, '/slow?ms=400');
    await sleep(100);
    const draining = proxy.drain({ timeout: '5s' });
    await sleep(50);
    assert.equal(proxy.state, 'draining');
    assert.deepEqual(await draining, { completed: 1, reset: 0 });
    assert.equal((await slow).body, 'one');
    assert.equal(await portIsFree(port), true);
  });

  test('what outlives the time is reset', async (t) => {
    const { proxy, port } = await startProxy(t, config([one.address]));
    const slow = request(port, '/slow?ms=3000').then(({ status }) => status, (error) => error.code);
    await sleep(100);
    const started = performance.now();
    assert.deepEqual(await proxy.drain({ timeout: 200 }), { completed: 0, reset: 1 });
    assert.ok(performance.now() - started < 1500);
    assert.notEqual(await slow, 200);
  });

  test('stop waits for requests, unless forced', async (t) => {
    const first = await startProxy(t, config([one.address]));
    const waited = request(first.port, '/slow?ms=400');
    await sleep(100);
    await first.proxy.stop({ grace: '5s' });
    assert.equal((await waited).body, 'one');
    const second = await startProxy(t, config([one.address]));
    const lost = request(second.port, '/slow?ms=3000').then(({ status }) => status, (error) => error.code);
    await sleep(100);
    const started = performance.now();
    await second.proxy.stop({ force: true });
    assert.ok(performance.now() - started < 1500);
    assert.notEqual(await lost, 200);
  });
});
