// The headers that Envoy itself adds, sanitizes, forwards and removes.
import { suite, req } from '../lib/suite.mjs';
import { replies, ok } from '../lib/raw.mjs';

const ID = '11111111-2222-4333-8444-555555555555';
const CONTROL = ['x-envoy-retry-on: 5xx', 'x-envoy-max-retries: 3', 'x-envoy-upstream-rq-timeout-ms: 5000', 'x-envoy-upstream-rq-per-try-timeout-ms: 100', 'x-envoy-upstream-alt-stat-name: alt',
  'x-envoy-expected-rq-timeout-ms: 77', 'x-envoy-attempt-count: 9', 'x-envoy-original-path: /o', 'x-envoy-original-host: o', 'x-envoy-decorator-operation: op', 'x-envoy-internal: true', 'x-envoy-downstream-service-cluster: c',
  'x-envoy-downstream-service-node: n', 'x-envoy-external-address: 9.9.9.9', 'x-envoy-force-trace: true', 'x-envoy-hedge-on-per-try-timeout: true', 'x-envoy-ip-tags: t', 'x-envoy-retriable-status-codes: 500',
  'x-envoy-retriable-header-names: x', 'x-envoy-upstream-stream-duration-ms: 1000', 'x-envoy-overloaded: true', 'x-envoy-degraded: true', 'x-envoy-immediate-health-check-fail: true', 'x-envoy-is-timeout-retry: true', 'x-envoy-ratelimited: true', 'x-envoy-upstream-service-time: 5', 'x-envoy-other: 1'];
const edge = { use_remote_address: true };

export default suite('own-headers', [
  // x-request-id
  { name: 'x-request-id: made when absent', send: [req('/')] },
  { name: 'x-request-id: the client\'s is kept without use_remote_address', send: [req('/', `X-Request-Id: ${ID}\r\n`)] },
  { name: 'x-request-id: at the edge an external client\'s is replaced', hcm: edge, send: [req('/', `X-Request-Id: ${ID}\r\n`)] },
  { name: 'x-request-id: at the edge an internal client\'s is kept', hcm: { ...edge, internal_address_config: { cidr_ranges: [{ address_prefix: '127.0.0.0', prefix_len: 8 }] } }, send: [req('/', `X-Request-Id: ${ID}\r\n`)] },
  { name: 'x-request-id: at the edge with an empty internal_address_config', hcm: { ...edge, internal_address_config: {} }, send: [req('/', `X-Request-Id: ${ID}\r\n`)] },
  { name: 'x-request-id: preserve_external_request_id', hcm: { ...edge, preserve_external_request_id: true }, send: [req('/', `X-Request-Id: ${ID}\r\n`)] },
  { name: 'x-request-id: not a UUID', send: [req('/', 'X-Request-Id: abc\r\n')] },
  { name: 'x-request-id: twice', send: [req('/', `X-Request-Id: ${ID}\r\nX-Request-Id: abc\r\n`)] },
  { name: 'x-request-id: empty', send: [req('/', 'X-Request-Id:\r\n')] },
  { name: 'x-request-id: generate_request_id false', hcm: { generate_request_id: false }, send: [req('/')] },
  { name: 'x-request-id: always_set_request_id_in_response', hcm: { always_set_request_id_in_response: true }, send: [req('/', `X-Request-Id: ${ID}\r\n`)] },
  { name: 'x-request-id: in the answer only with always_set', upstreams: { u: replies(ok('ok', 'x-request-id: from-upstream\r\n')) }, send: [req('/')] },

  // x-envoy-*
  { name: 'x-envoy-*: control headers without use_remote_address', send: [req('/', `${CONTROL.filter(h => !/retry-on|max-retries|timeout-ms: (5000|100)|duration-ms|alt-stat|hedge|retriable/.test(h)).join('\r\n')}\r\n`)] },
  { name: 'x-envoy-*: hop headers at the edge from an internal address', hcm: { ...edge, internal_address_config: { cidr_ranges: [{ address_prefix: '127.0.0.0', prefix_len: 8 }] } }, send: [req('/', `${CONTROL.filter(h => !/retry-on|max-retries|timeout-ms: (5000|100)|duration-ms|alt-stat|hedge|retriable/.test(h)).join('\r\n')}\r\n`)] },
  { name: 'x-envoy-*: all control headers from an external client are stripped', hcm: edge, send: [req('/', `${CONTROL.join('\r\n')}\r\n`)] },
  { name: 'x-envoy-*: suppress_envoy_headers', hcm: { http_filters: [{ name: 'envoy.filters.http.router', typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router', suppress_envoy_headers: true } }] }, send: [req('/')] },
  { name: 'x-envoy-*: from the upstream pass to the client', upstreams: { u: replies(ok('ok', 'x-envoy-foo: 1\r\nx-envoy-upstream-service-time: 999\r\nx-envoy-attempt-count: 7\r\nx-envoy-overloaded: true\r\nx-envoy-degraded: 1\r\nx-envoy-immediate-health-check-fail: 1\r\n')) }, send: [req('/')] },
  { name: 'x-envoy-*: expected-rq-timeout follows the route timeout', routes: [{ match: { prefix: '/' }, route: { cluster: '$u', timeout: '3.5s' } }], send: [req('/')] },
  { name: 'x-envoy-*: no expected-rq-timeout when the timeout is 0', routes: [{ match: { prefix: '/' }, route: { cluster: '$u', timeout: '0s' } }], send: [req('/')] },
  { name: 'x-envoy-*: expected-rq-timeout with a per-try timeout', routes: [{ match: { prefix: '/' }, route: { cluster: '$u', timeout: '3s', retry_policy: { retry_on: '5xx', per_try_timeout: '1s' } } }], send: [req('/')] },
  { name: 'x-envoy-*: attempt count to both sides', vhosts: [{ name: 'v', domains: ['*'], include_request_attempt_count: true, include_attempt_count_in_response: true, routes: [{ match: { prefix: '/' }, route: { cluster: '$u' } }] }], send: [req('/', 'x-envoy-attempt-count: 9\r\n')] },
  { name: 'x-envoy-*: downstream-service-cluster with --service-cluster unset', hcm: { ...edge, add_user_agent: true }, send: [req('/', 'User-Agent: me\r\n')] },

  // x-forwarded-*
  { name: 'x-forwarded-for: untouched without use_remote_address', send: [req('/', 'X-Forwarded-For: 1.2.3.4\r\n')] },
  { name: 'x-forwarded-for: at the edge the client\'s address is appended', hcm: edge, send: [req('/', 'X-Forwarded-For: 1.2.3.4\r\n')] },
  { name: 'x-forwarded-for: at the edge made when absent', hcm: edge, send: [req('/')] },
  { name: 'x-forwarded-for: two header lines at the edge', hcm: edge, send: [req('/', 'X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8\r\n')] },
  { name: 'x-forwarded-for: garbage value', send: [req('/', 'X-Forwarded-For: foo, bar;baz\r\n')] },
  { name: 'x-forwarded-for: garbage value at the edge', hcm: edge, send: [req('/', 'X-Forwarded-For: ,,, \r\n')] },
  { name: 'x-forwarded-for: skip_xff_append', hcm: { ...edge, skip_xff_append: true }, send: [req('/', 'X-Forwarded-For: 1.2.3.4\r\n')] },
  { name: 'x-forwarded-for: xff_num_trusted_hops 1 at the edge', hcm: { ...edge, xff_num_trusted_hops: 1 }, send: [req('/', 'X-Forwarded-For: 1.2.3.4, 5.6.7.8\r\nX-Forwarded-Proto: https\r\n')] },
  { name: 'x-forwarded-for: internal by a single private address', send: [req('/', 'X-Forwarded-For: 10.0.0.1\r\n')] },
  { name: 'x-forwarded-for: internal_address_config with loopback', hcm: { ...edge, internal_address_config: { cidr_ranges: [{ address_prefix: '127.0.0.0', prefix_len: 8 }] } }, send: [req('/', 'x-envoy-internal: false\r\n')] },
  { name: 'x-forwarded-proto: kept without use_remote_address', send: [req('/', 'X-Forwarded-Proto: https\r\n')] },
  { name: 'x-forwarded-proto: overwritten at the edge', hcm: edge, send: [req('/', 'X-Forwarded-Proto: https\r\n')] },
  { name: 'x-forwarded-proto: bad value', send: [req('/', 'X-Forwarded-Proto: gopher\r\n')] },
  { name: 'x-forwarded-proto: twice', send: [req('/', 'X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n')] },
  { name: 'x-forwarded-host: append_x_forwarded_host with a host rewrite', routes: [{ match: { prefix: '/' }, route: { cluster: '$u', host_rewrite_literal: 'new.test', append_x_forwarded_host: true } }], send: [req('/', 'X-Forwarded-Host: old.test\r\n')] },
  { name: 'x-forwarded-host: kept otherwise', send: [req('/', 'X-Forwarded-Host: old.test\r\nX-Forwarded-Port: 99\r\n')] },
  { name: 'x-forwarded-host: hostile, twice and with a list, a host rewrite appends', routes: [{ match: { prefix: '/' }, route: { cluster: '$u', host_rewrite_literal: 'new.test', append_x_forwarded_host: true } }], send: [req('/', 'X-Forwarded-Host: one.test, two.test\r\nX-Forwarded-Host: three.test"<>\r\n')] },
  { name: 'x-forwarded-client-cert: sanitized by default', send: [req('/', 'X-Forwarded-Client-Cert: Hash=abc\r\n')] },

  // server, date, via
  { name: 'server: overwrites the upstream\'s', upstreams: { u: replies(ok('ok', 'Server: nginx\r\n')) }, send: [req('/')] },
  { name: 'server: server_name', hcm: { server_name: 'mine/1' }, upstreams: { u: replies(ok('ok', 'Server: nginx\r\n')) }, send: [req('/')] },
  { name: 'server: APPEND_IF_ABSENT keeps the upstream\'s', hcm: { server_header_transformation: 'APPEND_IF_ABSENT' }, upstreams: { u: replies(ok('ok', 'Server: nginx\r\n'), ok()) }, send: [req('/'), { res: 1 }, req('/')] },
  { name: 'server: PASS_THROUGH adds none', hcm: { server_header_transformation: 'PASS_THROUGH' }, upstreams: { u: replies(ok()) }, send: [req('/')] },
  { name: 'server: PASS_THROUGH on a local reply', hcm: { server_header_transformation: 'PASS_THROUGH' }, routes: [{ match: { prefix: '/' }, direct_response: { status: 200 } }], send: [req('/')] },
  { name: 'date: the upstream\'s is kept in place', upstreams: { u: replies(ok('ok', 'Date: yesterday\r\nx-z: 1\r\n')) }, send: [req('/')] },
  { name: 'date: added when absent', upstreams: { u: replies(ok('ok', 'x-z: 1\r\n')) }, send: [req('/')] },
  { name: 'date: twice from the upstream', upstreams: { u: replies(ok('ok', 'Date: a\r\nDate: b\r\n')) }, send: [req('/')] },
  { name: 'via: off by default, the client\'s passes', upstreams: { u: replies(ok('ok', 'via: 1.1 up\r\n')) }, send: [req('/', 'Via: 1.0 fred\r\n')] },
  { name: 'via: appended on both sides', hcm: { via: 'plen' }, upstreams: { u: replies(ok('ok', 'via: 1.1 up\r\n')) }, send: [req('/', 'Via: 1.0 fred\r\n')] },
  { name: 'via: made when absent, also on a local reply', hcm: { via: 'plen' }, routes: [{ match: { path: '/local' }, direct_response: { status: 201 } }, { match: { prefix: '/' }, route: { cluster: '$u' } }], send: [req('/'), { res: 1 }, req('/local')] },

  // hop-by-hop
  { name: 'hop-by-hop: Connection names other headers', send: [req('/', 'Connection: x-a, X-B , keep-alive\r\nX-A: 1\r\nX-B: 2\r\nX-C: 3\r\n')] },
  { name: 'hop-by-hop: Connection names host, path and content-length', send: [req('/', 'Connection: host, content-length, :path, x-forwarded-for\r\nX-Forwarded-For: 1.1.1.1\r\n', 'abc')] },
  { name: 'hop-by-hop: Connection names x-forwarded-proto and x-envoy headers', send: [req('/', 'Connection: x-forwarded-proto, x-request-id, x-envoy-internal, cookie\r\nCookie: a=b\r\n')] },
  { name: 'hop-by-hop: a long Connection list', send: [req('/', `Connection: ${Array.from({ length: 60 }, (_, i) => `x-${i}`).join(',')}\r\n${Array.from({ length: 60 }, (_, i) => `x-${i}: 1\r\n`).join('')}`)] },
  { name: 'hop-by-hop: te trailers stays, others go', send: [req('/1', 'TE: trailers\r\n'), { res: 1 }, req('/2', 'TE: gzip\r\n'), { res: 1 }, req('/3', 'TE: trailers, deflate;q=0.5\r\nConnection: te\r\n'), { res: 1 }, req('/4', 'TE: trailers\r\nConnection: TE\r\n')] },
  { name: 'hop-by-hop: keep-alive, proxy-*, upgrade and trailer of the request', send: [req('/', 'Keep-Alive: 5\r\nProxy-Authorization: x\r\nProxy-Authenticate: y\r\nProxy-Connection: z\r\nTrailer: t\r\nUpgrade: foo\r\n')] },
  { name: 'hop-by-hop: of the answer', upstreams: { u: replies(ok('ok', 'Connection: x-a, keep-alive\r\nX-A: 1\r\nKeep-Alive: 5\r\nProxy-Authenticate: y\r\nProxy-Connection: z\r\nTrailer: t\r\nUpgrade: foo\r\nTE: trailers\r\n')) }, send: [req('/')] },
  { name: 'hop-by-hop: Connection: close and keep-alive together', send: [req('/', 'Connection: keep-alive, close\r\n')] },
  { name: 'hop-by-hop: empty Connection', send: [req('/', 'Connection:\r\n')] },
  { name: 'hop-by-hop: Connection: upgrade without Upgrade', send: [req('/', 'Connection: upgrade\r\n')] },
  { name: 'hop-by-hop: Connection: close twice in two lines', send: [req('/', 'Connection: x-a\r\nConnection: close\r\nX-A: 1\r\n')] },

  // the order in which all come
  { name: 'order: request headers at the edge, with everything on', hcm: { ...edge, via: 'p', add_user_agent: true }, vhosts: [{ name: 'v', domains: ['*'], include_request_attempt_count: true, request_headers_to_add: [{ header: { key: 'x-vhost', value: '1' } }], routes: [{ match: { prefix: '/' }, route: { cluster: '$u' }, request_headers_to_add: [{ header: { key: 'x-route', value: '2' } }] }] }], send: [req('/', 'Accept: */*\r\nUser-Agent: t\r\n')] },
  { name: 'order: answer headers with everything on', hcm: { via: 'p', always_set_request_id_in_response: true }, vhosts: [{ name: 'v', domains: ['*'], include_attempt_count_in_response: true, response_headers_to_add: [{ header: { key: 'x-vhost', value: '1' } }], routes: [{ match: { prefix: '/' }, route: { cluster: '$u' }, response_headers_to_add: [{ header: { key: 'x-route', value: '2' } }] }] }], send: [req('/')] },
]);
