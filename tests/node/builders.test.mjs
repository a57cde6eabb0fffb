// The builders: what they make of their arguments, what they refuse, and that real Envoy loads all of it.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { buildCluster, buildHost, buildListener, buildRoute } from '../../npm/lib/index.mjs';
import { makeCerts } from './lib/certs.mjs';
import { envoyValidate } from './lib/envoy.mjs';

const certs = makeCerts();

/** The socket addresses and weights in a cluster. */
function hosts(cluster) {
  return (cluster.load_assignment.endpoints ?? []).flatMap(({ lb_endpoints }) =>
    lb_endpoints.map(({ endpoint, load_balancing_weight: weight }) => {
      const { address, port_value: port } = endpoint.address.socket_address;
      return weight === undefined ? [address, port] : [address, port, weight];
    }),
  );
}

/** Asserts that a call is refused as a wrong argument, with a message that names it. */
function refuses(call, message) {
  assert.throws(call, (error) => {
    assert.equal(error.name, 'TypeError');
    assert.equal(error.code, 'ERR_PLENIPO_INVALID_ARG');
    assert.match(error.message, message);
    return true;
  });
}

describe('buildCluster', () => {
  test('both forms build the same plain object', () => {
    const options = { port: 80, lb: 'least_request', connectTimeout: '250ms', protocol: 'http2', limits: { connections: 7 } };
    const one = buildCluster('app', ['10.0.0.1', '10.0.0.2'], options);
    assert.deepEqual(one, buildCluster({ name: 'app', endpoints: ['10.0.0.1', '10.0.0.2'], ...options }));
    assert.deepEqual(one, {
      name: 'app',
      type: 'STATIC',
      connect_timeout: '0.25s',
      lb_policy: 'LEAST_REQUEST',
      load_assignment: {
        cluster_name: 'app',
        endpoints: [
          {
            lb_endpoints: ['10.0.0.1', '10.0.0.2'].map((address) => ({ endpoint: { address: { socket_address: { address, port_value: 80 } } } })),
          },
        ],
      },
      circuit_breakers: { thresholds: [{ max_connections: 7 }] },
      typed_extension_protocol_options: {
        'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
          '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
          explicit_http_config: { http2_protocol_options: {} },
        },
      },
    });
    assert.deepEqual(JSON.parse(JSON.stringify(one)), one);
  });

  test('addresses in every form', () => {
    const cases = [
      ['10.0.0.1:8080', ['10.0.0.1', 8080]],
      ['10.0.0.1', ['10.0.0.1', 80]],
      ['::1', ['::1', 80]],
      ['fd00::1', ['fd00::1', 80]],
      ['[::1]', ['::1', 80]],
      ['[::1]:8080', ['::1', 8080]],
      ['::ffff:10.0.0.1', ['::ffff:10.0.0.1', 80]],
      ['app.local', ['app.local', 80]],
      ['app-svc.default.svc.cluster.local.:81', ['app-svc.default.svc.cluster.local.', 81]],
      ['_http._tcp.app:81', ['_http._tcp.app', 81]],
      ['localhost:65535', ['localhost', 65535]],
      [{ address: '10.0.0.1' }, ['10.0.0.1', 80]],
      [{ address: '10.0.0.1', port: 81 }, ['10.0.0.1', 81]],
      [{ address: '10.0.0.1:81', port: 81, weight: 5 }, ['10.0.0.1', 81, 5]],
      [{ address: '[::1]:81', weight: 5 }, ['::1', 81, 5]],
      [{ address: '10.0.0.1', port: 81, zone: 'a', node: 'n', hostname: 'h', terminating: true }, ['10.0.0.1', 81]],
    ];
    for (const [given, want] of cases) assert.deepEqual(hosts(buildCluster('c', [given], { port: 80 })), [want], JSON.stringify(given));
  });

  test('the type follows from the addresses', () => {
    assert.equal(buildCluster('c', ['10.0.0.1:80', '[::1]:80']).type, 'STATIC');
    assert.equal(buildCluster('c', []).type, 'STATIC');
    assert.equal(buildCluster('c', ['10.0.0.1:80', 'app.local:80']).type, 'STRICT_DNS');
    assert.equal(buildCluster('c', ['10.0.0.1:80'], { type: 'STRICT_DNS' }).type, 'STRICT_DNS');
    assert.equal(buildCluster('c', ['app.local:80'], { type: 'LOGICAL_DNS' }).type, 'LOGICAL_DNS');
  });

  test('durations', () => {
    const cases = [
      [250, '0.25s'],
      [0.5, '0.0005s'],
      [1e-6, '0.000000001s'],
      [0.1 + 0.2, '0.0003s'],
      [90_000, '90s'],
      [0, '0s'],
      ['250ms', '0.25s'],
      ['1.5s', '1.5s'],
      ['2m', '120s'],
      ['1.5h', '5400s'],
      ['0.1s', '0.1s'],
      ['0.3333333333333333333s', '0.333333333s'],
      ['315576000000s', '315576000000s'],
    ];
    for (const [given, want] of cases) assert.equal(buildCluster('c', [], { connectTimeout: given }).connect_timeout, want, String(given));
    for (const bad of [-1, NaN, Infinity, '1', '1d', '-1s', '1 s', '', 's', '1e3s', null, {}, true, 1n, '315576000001s', 1e22]) {
      refuses(() => buildCluster('c', [], { connectTimeout: bad }), /^connectTimeout must /);
    }
  });

  test('TLS is checked against the name', () => {
    const context = (tls, endpoints = ['app.local:443']) => buildCluster('c', endpoints, { tls }).transport_socket.typed_config;
    assert.equal(context({ ca: certs.ca }).sni, 'app.local');
    assert.deepEqual(context({ ca: certs.ca }).common_tls_context.validation_context, {
      trusted_ca: { inline_string: certs.ca },
      match_typed_subject_alt_names: [{ san_type: 'DNS', matcher: { exact: 'app.local' } }],
    });
    assert.deepEqual(context({ ca: '/etc/ca.pem', sni: 'x' }).common_tls_context.validation_context.trusted_ca, { filename: '/etc/ca.pem' });
    assert.deepEqual(context({ ca: Buffer.from(certs.ca), sni: 'x' }).common_tls_context.validation_context.trusted_ca, { inline_string: certs.ca });
    assert.equal(context({ insecure: true }, ['10.0.0.1:443']).common_tls_context.validation_context, undefined);
    assert.equal(buildCluster('c', [], { tls: false }).transport_socket, undefined);
    refuses(() => context({ ca: certs.ca }, ['10.0.0.1:443']), /^tls needs 'sni'/);
    refuses(() => context({ ca: certs.ca }, ['a.local:443', 'b.local:443']), /^tls needs 'sni'/);
    refuses(() => context({ ca: certs.ca, insecure: true }), /^tls\.ca has no use/);
    refuses(() => context({ cert: certs.cert }), /needed together/);
    // A key is never shown.
    assert.throws(
      () => context({ cert: certs.cert, key: 'SECRET\nSECRET' }),
      (error) => error instanceof TypeError && !error.message.includes('SECRET'),
    );
  });

  test('Envoy fields are merged last, in either spelling', () => {
    const built = buildCluster('c', ['10.0.0.1:80'], {
      connectTimeout: '1s',
      limits: { connections: 1 },
      envoy: { connectTimeout: '2s', circuit_breakers: { thresholds: [{ max_retries: 9 }] }, perConnectionBufferLimitBytes: 9 },
    });
    assert.equal(built.connect_timeout, '2s');
    assert.equal('connectTimeout' in built, false);
    assert.deepEqual(built.circuit_breakers, { thresholds: [{ max_retries: 9 }] });
    assert.equal(built.perConnectionBufferLimitBytes, 9);
    const given = JSON.parse('{ "__proto__": { "polluted": 1 } }');
    buildCluster('c', [], { envoy: given });
    assert.equal({}.polluted, undefined);
  });

  test('the result is a copy', () => {
    const envoy = { metadata: { filter_metadata: { a: { b: 1 } } } };
    const built = buildCluster('c', [], { envoy });
    envoy.metadata.filter_metadata.a.b = 2;
    assert.equal(built.metadata.filter_metadata.a.b, 1);
  });

  test('wrong arguments', () => {
    const cyclic = {};
    cyclic.self = cyclic;
    let deep = {};
    for (let n = 0; n < 200; n++) deep = { deep };
    const cases = [
      [() => buildCluster(), /^the cluster must be an object/],
      [() => buildCluster(''), /endpoints/],
      [() => buildCluster('', []), /^the cluster name must/],
      [() => buildCluster('c'), /^endpoints must be an array/],
      [() => buildCluster('c', '10.0.0.1:80'), /^endpoints must be an array/],
      [() => buildCluster('c', [], null), /^options must be an object/],
      [() => buildCluster({ name: 'c' }, []), /one object/],
      [() => buildCluster({ endpoints: [] }), /^the cluster name/],
      [() => buildCluster('c', [], { conectTimeout: 1 }), /did you mean 'connectTimeout'/],
      [() => buildCluster('c', [], { health: {} }), /has no option 'health'/],
      [() => buildCluster('c', [], { lb: 'maglev' }), /^lb must be one of/],
      [() => buildCluster('c', [], { type: 'EDS' }), /^type must be one of/],
      [() => buildCluster('c', [], { protocol: 'http3' }), /^protocol must be one of/],
      [() => buildCluster('c', [], { port: 0 }), /^port must/],
      [() => buildCluster('c', [], { port: 65536 }), /^port must/],
      [() => buildCluster('c', [], { port: '80' }), /^port must/],
      [() => buildCluster('c', [], { limits: { connections: -1 } }), /^limits\.connections/],
      [() => buildCluster('c', [], { limits: { conections: 1 } }), /did you mean 'connections'/],
      [() => buildCluster('c', [], { limits: 5 }), /^limits must be an object/],
      [() => buildCluster('c', [], { envoy: [] }), /^envoy must be an object/],
      [() => buildCluster('c', [], { envoy: { a: cyclic } }), /contains itself/],
      [() => buildCluster('c', [], { envoy: deep }), /100 levels/],
      [() => buildCluster('c', [], { envoy: { a: () => {} } }), /^envoy\.a cannot be part/],
      [() => buildCluster('c', [], { envoy: { a: Symbol('x') } }), /^envoy\.a cannot be part/],
      [() => buildCluster('c', [], { envoy: { a: [NaN] } }), /^envoy\.a\[0\] must be a finite number/],
      [() => buildCluster('c', [], { envoy: { a: new Map() } }), /^envoy\.a must be plain data/],
      [() => buildCluster('c', [], { envoy: { a: new Array(2) } }), /^envoy\.a\[0\] is missing/],
      [() => buildCluster('c', ['10.0.0.1:80'], { type: 'LOGICAL_DNS', tls: 1 }), /^tls must be an object/],
      [() => buildCluster('c', ['a:1', 'b:1'], { type: 'LOGICAL_DNS' }), /exactly one endpoint, got 2/],
      [() => buildCluster('c', ['a:1'], { type: 'STATIC' }), /IP addresses only/],
      [() => buildCluster('c', [80]), /^endpoints\[0\] must be a string/],
      [() => buildCluster('c', [undefined]), /^endpoints\[0\] must be a string/],
      [() => buildCluster('c', ['a:1', null]), /^endpoints\[1\] must be a string/],
      [() => buildCluster('c', ['10.0.0.1']), /^endpoints\[0\] has no port: write '10\.0\.0\.1:80'/],
      [() => buildCluster('c', ['::1']), /write '\[::1\]:80'/],
      [() => buildCluster('c', [{ address: 'a', prot: 1 }]), /did you mean 'port'/],
      [() => buildCluster('c', [{ address: 'a:1', port: 2 }]), /names port 1, but the port beside it is 2/],
      [() => buildCluster('c', [{ address: 'a:1', weight: 0 }]), /weight must/],
      [() => buildCluster('c', [{ address: 'a:1', weight: 1.5 }]), /weight must/],
    ];
    for (const [call, message] of cases) refuses(call, message);
    for (const bad of [
      '', ':80', 'a:', 'a:b', 'a:0', 'a:65536', 'a:-1', 'a: 80', 'a b:80', 'http://a:80', 'unix:/x', '/x', '[::1', '[::1]80', '[a]:80', '[10.0.0.1]:80',
      '::g', '1:2:3', '10.0.0:80', '10.0.0.256:80', '10.0.0.1.2:80', 'fe80::1%eth0', '[fe80::1%eth0]:80', 'a..b:80', '.a:80', '-a:80', 'a_:80x', 'a/b:80', 'a@b:80',
      'x'.repeat(64) + ':80', 'a\0:80', 'a\n:80', '127.1:80', '0x7f.1.%:80',
    ]) {
      refuses(() => buildCluster('c', [bad], { port: 80 }), /^endpoints\[0\] must/);
    }
  });
});

describe('buildRoute', () => {
  test('matches', () => {
    const match = (given) => buildRoute(given, 'app').match;
    assert.deepEqual(match('/'), { prefix: '/' });
    assert.deepEqual(match({ prefix: '/a' }), { prefix: '/a' });
    assert.deepEqual(match({ path: '/a' }), { path: '/a' });
    assert.deepEqual(match({ regex: /\/a\/\d+/ }), { safe_regex: { regex: '/a/\\d+' } });
    assert.deepEqual(match({ regex: /\/a/gi }), { safe_regex: { regex: '(?i)/a' } });
    assert.deepEqual(match({ regex: /(?<id>a)\\\/(?:b)/ }), { safe_regex: { regex: '(?P<id>a)\\\\/(?:b)' } });
    assert.deepEqual(match({ method: 'GET', headers: { 'x-a': 'b', 'x-c': /d+/, 'x-e': true, 'x-f': false } }), {
      prefix: '/',
      headers: [
        { name: ':method', string_match: { exact: 'GET' } },
        { name: 'x-a', string_match: { exact: 'b' } },
        { name: 'x-c', string_match: { safe_regex: { regex: 'd+' } } },
        { name: 'x-e', present_match: true },
        { name: 'x-f', present_match: false },
      ],
    });
  });

  test('targets', () => {
    const route = (to, options) => buildRoute('/', to, options);
    assert.deepEqual(route('app').route, { cluster: 'app' });
    assert.deepEqual(route(buildCluster('app', [])).route, { cluster: 'app' });
    assert.deepEqual(route({ weighted: { a: 90, b: 10 } }).route, { weighted_clusters: { clusters: [{ name: 'a', weight: 90 }, { name: 'b', weight: 10 }] } });
    const redirect = (target, status) => route({ redirect: target, ...(status && { status }) }).redirect;
    assert.deepEqual(redirect('https://'), { https_redirect: true, response_code: 'MOVED_PERMANENTLY' });
    assert.deepEqual(redirect('/x?y', 302), { path_redirect: '/x?y', response_code: 'FOUND' });
    assert.deepEqual(redirect('https://a.b:8443/x', 308), {
      https_redirect: true,
      host_redirect: 'a.b',
      port_redirect: 8443,
      path_redirect: '/x',
      response_code: 'PERMANENT_REDIRECT',
    });
    assert.deepEqual(redirect('http://a.b', 307), { scheme_redirect: 'http', host_redirect: 'a.b', response_code: 'TEMPORARY_REDIRECT' });
    assert.deepEqual(route({ respond: 404 }).direct_response, { status: 404 });
    assert.deepEqual(route({ respond: 200, body: 'hi' }).direct_response, { status: 200, body: { inline_string: 'hi' } });
  });

  test('options', () => {
    assert.deepEqual(
      buildRoute('/a', 'app', {
        name: 'r',
        rewrite: '/b',
        timeout: '5s',
        retry: { attempts: 2, on: ['5xx', 'reset'], perTry: 250 },
        websocket: true,
        headers: { set: { 'x-a': '1' }, add: { 'x-b': '2' }, remove: ['x-c'] },
        responseHeaders: { remove: ['server'] },
        envoy: { route: { idleTimeout: '1s' } },
      }),
      {
        name: 'r',
        match: { prefix: '/a' },
        route: {
          cluster: 'app',
          prefix_rewrite: '/b',
          timeout: '5s',
          retry_policy: { retry_on: '5xx,reset', num_retries: 2, per_try_timeout: '0.25s' },
          upgrade_configs: [{ upgrade_type: 'websocket' }],
          idleTimeout: '1s',
        },
        request_headers_to_add: [
          { header: { key: 'x-a', value: '1' }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' },
          { header: { key: 'x-b', value: '2' }, append_action: 'APPEND_IF_EXISTS_OR_ADD' },
        ],
        request_headers_to_remove: ['x-c'],
        response_headers_to_remove: ['server'],
      },
    );
    assert.equal(buildRoute('/', 'a', { timeout: false }).route.timeout, '0s');
    assert.equal(buildRoute('/', 'a', { timeout: 0 }).route.timeout, '0s');
    assert.equal(buildRoute('/', 'a').route.timeout, undefined);
    assert.equal(buildRoute('/', 'a', { retry: { attempts: 1 } }).route.retry_policy.retry_on, 'connect-failure');
  });

  test('wrong arguments', () => {
    const cases = [
      [() => buildRoute(), /^match must be an object/],
      [() => buildRoute('/'), /^to must be an object/],
      [() => buildRoute('a', 'app'), /^match must start with '\/'/],
      [() => buildRoute('/?a', 'app'), /^match must be a path/],
      [() => buildRoute({ prefix: '/', path: '/' }, 'app'), /one of prefix, path and regex/],
      [() => buildRoute({ regex: '/a' }, 'app'), /^match\.regex must be a RegExp/],
      [() => buildRoute({ regex: /(?=a)/ }, 'app'), /look-around/],
      [() => buildRoute({ regex: /(?<!a)/ }, 'app'), /look-around/],
      [() => buildRoute({ regex: /(a)\1/ }, 'app'), /back-references/],
      [() => buildRoute({ method: 'GET /' }, 'app'), /^match\.method/],
      [() => buildRoute({ headers: { 'a b': 'c' } }, 'app'), /no header name/],
      [() => buildRoute({ headers: { a: 1 } }, 'app'), /must be a string, a RegExp/],
      [() => buildRoute({ query: {} }, 'app'), /has no option 'query'/],
      [() => buildRoute('/', ''), /^to must/],
      [() => buildRoute('/', {}), /^to must be a cluster or its name/],
      [() => buildRoute('/', { weighted: {} }), /must name a cluster/],
      [() => buildRoute('/', { weighted: { a: 0 } }), /add up to/],
      [() => buildRoute('/', { weighted: { a: 1.5 } }), /whole number/],
      [() => buildRoute('/', { redirect: 'a' }), /^to\.redirect must/],
      [() => buildRoute('/', { redirect: 'ftp://a' }), /^to\.redirect must/],
      [() => buildRoute('/', { redirect: 'http:///a' }), /has no host/],
      [() => buildRoute('/', { redirect: 'http://' }), /must name a host/],
      [() => buildRoute('/', { redirect: 'http://a:99999' }), /the port of to\.redirect/],
      [() => buildRoute('/', { redirect: '/a', status: 300 }), /^to\.status/],
      [() => buildRoute('/', { redirect: '/a', respond: 200 }), /has no option 'respond'/],
      [() => buildRoute('/', { respond: 99 }), /^to\.respond/],
      [() => buildRoute('/', { respond: 200, body: 'x'.repeat(4097) }), /4096 bytes/],
      [() => buildRoute('/', { respond: 200 }, { timeout: 1 }), /'timeout' has no use/],
      [() => buildRoute('/', { redirect: '/a' }, { retry: { attempts: 1 } }), /'retry' has no use/],
      [() => buildRoute('/', 'a', { timeout: true }), /^timeout must be a duration/],
      [() => buildRoute('/', 'a', { retry: {} }), /^retry\.attempts/],
      [() => buildRoute('/', 'a', { retry: { attempts: 0 } }), /^retry\.attempts/],
      [() => buildRoute('/', 'a', { retry: { attempts: 1, on: [] } }), /^retry\.on must not be empty/],
      [() => buildRoute('/', 'a', { retry: { attempts: 1, on: '5xx' } }), /^retry\.on must be an array/],
      [() => buildRoute('/', 'a', { retry: { attempts: 1, on: ['5xx,reset'] } }), /^retry\.on\[0\]/],
      [() => buildRoute('/', 'a', { rewrite: 'b' }), /^rewrite must start with/],
      [() => buildRoute('/', 'a', { websocket: 1 }), /^websocket must be true or false/],
      [() => buildRoute('/', 'a', { headers: { set: { 'x-a': 'a\r\nb: c' } } }), /without line breaks/],
      [() => buildRoute('/', 'a', { headers: { set: { 'x:a': 'a' } } }), /must name headers/],
      [() => buildRoute('/', 'a', { headers: { remove: [''] } }), /must name headers/],
      [() => buildRoute('/', 'a', { header: {} }), /did you mean 'headers'/],
    ];
    for (const [call, message] of cases) refuses(call, message);
  });
});

describe('buildHost and buildListener', () => {
  const host = buildHost('*', [buildRoute('/', { respond: 200 })]);

  test('hosts', () => {
    assert.deepEqual(buildHost(['a.b', '*.a.b'], [], { name: 'x' }), { name: 'x', domains: ['a.b', '*.a.b'], routes: [] });
    assert.equal(host.name, '*');
    const cases = [
      [() => buildHost([], []), /must not be empty/],
      [() => buildHost('', []), /^domains must/],
      [() => buildHost('a*b', []), /^domains must be a host name/],
      [() => buildHost('**', []), /^domains must be a host name/],
      [() => buildHost('http://a', []), /^domains must be a host name/],
      [() => buildHost(['a', 'a b'], []), /^domains\[1\]/],
      [() => buildHost(['A', 'a'], []), /twice/],
      [() => buildHost('a'), /^routes must be an array/],
      [() => buildHost('a', ['x']), /^routes\[0\] must be an object/],
    ];
    for (const [call, message] of cases) refuses(call, message);
  });

  test('listeners', () => {
    const listener = buildListener({ port: 8080, hosts: [host], accessLog: true });
    assert.equal(listener.name, '0.0.0.0_8080');
    const manager = listener.filter_chains[0].filters[0].typed_config;
    assert.deepEqual(manager.route_config.virtual_hosts, [host]);
    assert.equal(manager.access_log[0].name, 'envoy.access_loggers.stdout');
    assert.equal(buildListener({ port: 0, address: '::1', name: 'x', hosts: [] }).name, 'x');
    const cases = [
      [() => buildListener(), /^the listener must be an object/],
      [() => buildListener({ hosts: [] }), /^port must/],
      [() => buildListener({ port: 65536, hosts: [] }), /^port must/],
      [() => buildListener({ port: 1 }), /^hosts must be an array/],
      [() => buildListener({ port: 1, hosts: [1] }), /^hosts\[0\] must be an object/],
      [() => buildListener({ port: 1, address: 'localhost', hosts: [] }), /^address must/],
      [() => buildListener({ port: 1, hosts: [], tls: {} }), /needed together/],
      [() => buildListener({ port: 1, hosts: [], tls: { cert: certs.cert, key: certs.key, sni: [] } }), /must not be empty/],
      [() => buildListener({ port: 1, hosts: [], filters: [{}] }), /^filters\[0\]\.name/],
      [() => buildListener({ port: 1, hosts: [], accessLog: 1 }), /^accessLog must/],
      [() => buildListener({ port: 1, hosts: [], profile: 'edge' }), /has no option 'profile'/],
    ];
    for (const [call, message] of cases) refuses(call, message);
  });
});

describe('real Envoy', () => {
  const clusters = [
    buildCluster('plain', ['10.0.0.1:80', { address: '::1', port: 80, weight: 5 }], { connectTimeout: 250 }),
    buildCluster('named', ['app-svc.default.svc.cluster.local:80'], { protocol: 'http2', lb: 'least_request' }),
    buildCluster('logical', ['app.local:80'], { type: 'LOGICAL_DNS', lb: 'random', protocol: 'http1' }),
    buildCluster('none', []),
    buildCluster('limits', ['10.0.0.1:80'], { limits: { connections: 1, pending: 2, requests: 3, retries: 0 } }),
    buildCluster('tls', ['10.0.0.1:443'], { tls: { sni: 'app.local', ca: certs.ca, cert: certs.cert, key: certs.key }, protocol: 'http2' }),
    buildCluster('tls-system', ['app.local:443'], { tls: true }),
    buildCluster('tls-insecure', ['10.0.0.1:443'], { tls: { insecure: true } }),
    buildCluster('more', ['10.0.0.1:80'], { connectTimeout: 1, envoy: { connectTimeout: '2s', perConnectionBufferLimitBytes: 32768 } }),
  ];
  const hostsOfAll = [
    buildHost(['app.local', '*.app.local', 'app.*'], [
      buildRoute({ path: '/exact', method: 'GET', headers: { a: 'b', c: /d+/i, e: true, f: false } }, 'plain'),
      buildRoute({ regex: /\/users\/(?<id>\d+)(\/.*)?/i }, 'named', { timeout: false, websocket: true }),
      buildRoute('/api/', clusters[0], {
        name: 'api',
        rewrite: '/',
        timeout: '1.5s',
        retry: { attempts: 2, on: ['5xx', 'connect-failure', 'reset'], perTry: '250ms' },
        headers: { set: { 'x-a': '1' }, add: { 'x-b': '%PROTOCOL%' }, remove: ['x-c'] },
        responseHeaders: { set: { 'x-d': '1' }, remove: ['x-e'] },
      }),
      buildRoute('/weighted', { weighted: { plain: 90, named: 10, none: 0 } }),
      buildRoute('/https', { redirect: 'https://' }),
      buildRoute('/moved', { redirect: 'https://a.b:8443/x?y', status: 308 }),
      buildRoute('/there', { redirect: 'http://a.b', status: 303 }),
      buildRoute('/here', { redirect: '/x', status: 302 }),
      buildRoute('/no', { respond: 403, body: 'no' }),
      buildRoute('/', 'logical'),
    ]),
    buildHost('*', [buildRoute('/', { respond: 404 })]),
  ];
  const filters = [
    { name: 'envoy.filters.http.buffer', typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer', max_request_bytes: 1024 } },
  ];
  const listeners = [
    buildListener({ port: 0, address: '127.0.0.1', hosts: hostsOfAll, accessLog: true, filters }),
    buildListener({ port: 0, address: '::1', name: 'six', hosts: hostsOfAll, accessLog: '/dev/null' }),
    buildListener({ port: 0, address: '127.0.0.1', name: 'tls', hosts: hostsOfAll, tls: { cert: certs.cert, key: certs.key } }),
    buildListener({
      port: 0,
      address: '127.0.0.1',
      name: 'mtls',
      hosts: hostsOfAll,
      tls: { cert: certs.cert, key: certs.key, sni: ['app.local', '*.app.local'], clientCa: certs.ca },
      envoy: { perConnectionBufferLimitBytes: 32768 },
    }),
  ];

  test('loads everything that the builders make', () => {
    const { ok, output } = envoyValidate({ static_resources: { clusters, listeners } });
    assert.ok(ok, output);
  });

  test('refuses a broken one, so that the test above can fail', () => {
    const { ok, output } = envoyValidate({ static_resources: { clusters: [{ ...clusters[0], lb_policy: 'NO_SUCH' }] } });
    assert.equal(ok, false);
    assert.match(output, /NO_SUCH/);
  });
});
