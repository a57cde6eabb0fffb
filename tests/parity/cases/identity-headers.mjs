// What the connection manager says of itself and of requests: server, via, user-agent, x-request-id, scheme; and what it edits before all else.
import { suite, req, TYPE, router, h2, h2upstream } from '../lib/suite.mjs';
import { h2request } from '../lib/h2.mjs';
import { replies, ok } from '../lib/raw.mjs';

const ID = '11111111-2222-4333-8444-555555555555';
const edge = { use_remote_address: true };
const uuid = (config = {}) => ({ request_id_extension: { typed_config: { '@type': `${TYPE}.extensions.request_id.uuid.v3.UuidRequestIdConfig`, ...config } } });
const early = (...mutations) => ({ early_header_mutation_extensions: [{ name: 'early', typed_config: { '@type': `${TYPE}.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation`, mutations } }] });
const set = (key, value, append_action = 'OVERWRITE_IF_EXISTS_OR_ADD') => ({ append: { header: { key, value }, append_action } });
const each = (...headers) => headers.flatMap((h, i) => [req(`/${i}`, h.map(l => `${l}\r\n`).join('')), { res: 1 }]).slice(0, -1);
const h2each = (...headers) => async ctx => { const s = await ctx.h2(); const out = []; for (const h of headers) out.push(await h2request(s, h)); return out; };
const direct = [{ match: { path: '/d' }, direct_response: { status: 200 } }, { match: { prefix: '/' }, route: { cluster: '$u' } }];
const scheme = t => ({ scheme_header_transformation: t });
const W = { log: { log_format: { text_format_source: { inline_string: '%REQ(:SCHEME)% %REQ(X-FORWARDED-PROTO)% %REQ(X-REQUEST-ID)% %RESPONSE_CODE%\n' } } }, viewLog: t => t.replace(/[0-9a-f]{8}-[0-9a-f-]{27}/g, '<uuid>') };
const trace = id => [`X-Request-Id: ${id}`];
const digit = d => `${ID.slice(0, 14)}${d}${ID.slice(15)}`;

export default suite('identity-headers', [
  // server and via
  { name: 'server: over HTTP/2', hcm: { server_name: 'mine' }, upstreams: { u: replies(ok('ok', 'server: nginx\r\n'), ok()) }, routes: direct, client: h2each({}, {}, { ':path': '/d' }) },
  { name: 'server: APPEND_IF_ABSENT on a local reply', hcm: { server_name: 'mine', server_header_transformation: 'APPEND_IF_ABSENT' }, routes: direct, send: [req('/d')] },
  { name: 'server: PASS_THROUGH passes two', hcm: { server_header_transformation: 'PASS_THROUGH' }, upstreams: { u: replies(ok('ok', 'server: a\r\nserver: b\r\n')) }, send: [req('/')] },
  { name: 'server: PASS_THROUGH over HTTP/2', hcm: { server_header_transformation: 'PASS_THROUGH' }, upstreams: { u: replies(ok('ok', 'server: nginx\r\n'), ok()) }, client: h2each({}, {}) },
  { name: 'server: of a request that cannot be read', hcm: { server_name: 'mine', server_header_transformation: 'PASS_THROUGH', via: 'v' }, send: ['GET / HTTP/1.1\r\n\r\n'] },
  { name: 'via: several lines', hcm: { via: 'p 1' }, upstreams: { u: replies(ok('ok', 'via: a\r\nvia: b\r\n')) }, send: [req('/', 'Via: x\r\nVia: y\r\n')] },
  { name: 'via: over HTTP/2', hcm: { via: 'p' }, client: h2each({}, { via: 'x' }) },

  // user agent
  { name: 'user-agent: absent and empty', hcm: { add_user_agent: true }, send: each([], ['User-Agent:'], ['User-Agent: me']) },
  { name: 'user-agent: a client\'s own service headers', hcm: { ...edge, add_user_agent: true }, send: each(['x-envoy-downstream-service-cluster: evil', 'x-envoy-downstream-service-node: evil']) },
  { name: 'user-agent: off', hcm: { add_user_agent: false }, send: each(['x-envoy-downstream-service-cluster: c']) },

  // x-request-id
  { name: 'request id: uuid by name', hcm: uuid(), send: each([], trace(ID)) },
  { name: 'request id: trace reasons of a client at the edge', hcm: { ...edge, preserve_external_request_id: true }, send: each(...['4', '9', 'a', 'b', '1'].map(d => trace(digit(d)))) },
  { name: 'request id: pack_trace_reason false', hcm: { ...edge, preserve_external_request_id: true, ...uuid({ pack_trace_reason: false }) }, send: each(...['4', '9', 'a', 'b'].map(d => trace(digit(d)))) },
  { name: 'request id: use_request_id_for_trace_sampling false', hcm: uuid({ use_request_id_for_trace_sampling: false }), send: each([], trace(digit('9'))) },
  { name: 'request id: always set, made here', hcm: { always_set_request_id_in_response: true }, upstreams: { u: replies(ok('ok', 'x-request-id: theirs\r\n')) }, routes: direct, send: [req('/'), { res: 1 }, req('/d'), { res: 1 }, req('/', `x-request-id: ${ID}\r\n`)] },
  { name: 'request id: force trace', send: each(['x-envoy-force-trace: 1', ...trace(ID)]) },
  { name: 'request id: force trace from within', hcm: { ...edge, internal_address_config: { cidr_ranges: [{ address_prefix: '127.0.0.0', prefix_len: 8 }] } }, send: each(['x-envoy-force-trace: 1', ...trace(ID)], ['x-envoy-force-trace: 1']) },
  { name: 'request id: over HTTP/2', hcm: { ...edge, always_set_request_id_in_response: true }, client: h2each({ 'x-request-id': ID }, {}) },
  { name: 'request id: hostile ones at the edge', hcm: { ...edge, preserve_external_request_id: true }, send: each(trace('a'.repeat(36)), trace(`${ID}x`), trace('x'), [...trace(ID), ...trace(digit('9'))], trace('"><script>')) },
  { name: 'request id: none made', hcm: { ...edge, generate_request_id: false, always_set_request_id_in_response: true }, send: each([], trace(digit('9'))) },

  // scheme
  { name: 'scheme: overwritten', ...W, hcm: scheme({ scheme_to_overwrite: 'https' }), upstreams: { u: h2() }, clusters: { u: h2upstream() }, send: each([], ['X-Forwarded-Proto: http'], ['X-Forwarded-Proto: gopher']) },
  { name: 'scheme: overwritten at the edge', ...W, hcm: { ...edge, ...scheme({ scheme_to_overwrite: 'https' }) }, upstreams: { u: h2() }, clusters: { u: h2upstream() }, client: h2each({}, { ':scheme': 'http' }, { ':scheme': 'HTTPS' }) },
  { name: 'scheme: match_upstream', ...W, hcm: scheme({ match_upstream: true }), upstreams: { u: h2() }, clusters: { u: h2upstream() }, send: each([], ['X-Forwarded-Proto: https']) },
  { name: 'scheme: match_upstream over HTTP/2', ...W, hcm: scheme({ match_upstream: true }), upstreams: { u: h2() }, clusters: { u: h2upstream() }, client: h2each({ ':scheme': 'https' }, { ':scheme': 'http', 'x-forwarded-proto': 'https' }) },
  { name: 'scheme: from x-forwarded-proto', ...W, upstreams: { u: h2() }, clusters: { u: h2upstream() }, send: each([], ['X-Forwarded-Proto: https'], ['X-Forwarded-Proto: HTTPS'], ['X-Forwarded-Proto: ftp'], ['X-Forwarded-Proto: https,http']) },
  { name: 'scheme: of an HTTP/2 client', ...W, upstreams: { u: h2() }, clusters: { u: h2upstream() }, client: h2each({ ':scheme': 'https' }, { ':scheme': 'HTTPS' }, { ':scheme': 'http', 'x-forwarded-proto': 'https' }) },
  { name: 'scheme: an absolute URL', ...W, upstreams: { u: h2() }, clusters: { u: h2upstream() }, send: ['GET https://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n', { res: 1 }, 'GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-Proto: https\r\n\r\n'] },
  { name: 'refused: another scheme', refused: 'scheme_to_overwrite', hcm: scheme({ scheme_to_overwrite: 'ftp' }) },

  // early header mutation
  { name: 'early mutation: all actions', hcm: early(set('x-a', 'set'), set('x-b', 'b2', 'APPEND_IF_EXISTS_OR_ADD'), set('x-c', 'c2', 'ADD_IF_ABSENT'), set('x-d', 'd2', 'OVERWRITE_IF_EXISTS'), { remove: 'x-e' }), send: each(['x-a: 1', 'x-b: 1', 'x-c: 1', 'x-d: 1', 'x-e: 1'], []) },
  { name: 'early mutation: before x-forwarded-for is read', hcm: early({ remove: 'x-forwarded-for' }, set('x-real-ip', '9.9.9.9')), log: { log_format: { text_format_source: { inline_string: '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%\n' } } }, send: each(['X-Forwarded-For: 1.1.1.1']) },
  { name: 'early mutation: the detected address is of the new header', hcm: { ...early(set('x-real-ip', '9.9.9.9')), original_ip_detection_extensions: [{ name: 'c', typed_config: { '@type': `${TYPE}.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig`, header_name: 'x-real-ip' } }] }, log: { log_format: { text_format_source: { inline_string: '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%\n' } } }, send: each([]) },
  { name: 'early mutation: control headers are sanitized behind it', hcm: { ...edge, ...early(set('x-envoy-retry-on', '5xx'), set('x-envoy-internal', 'true'), set('x-request-id', ID)) }, send: each([]) },
  { name: 'early mutation: a route sees it', hcm: early(set('x-to', 'direct')), routes: [{ match: { prefix: '/', headers: [{ name: 'x-to', string_match: { exact: 'direct' } }] }, direct_response: { status: 204 } }, { match: { prefix: '/' }, route: { cluster: '$u' } }], send: each([], ['x-to: other']) },
  { name: 'early mutation: formats', hcm: early(set('x-p', '%PROTOCOL% %REQ(x-in)% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%')), send: each(['x-in: 5']) },
  { name: 'early mutation: the path of HTTP/2', hcm: early(set('x-p', '%REQ(:PATH)%')), client: h2each({ ':path': '/x' }) },
  { name: 'early mutation: two extensions', hcm: { early_header_mutation_extensions: [...early(set('x-a', '1')).early_header_mutation_extensions, ...early(set('x-a', '2', 'APPEND_IF_EXISTS_OR_ADD')).early_header_mutation_extensions] }, send: each([]) },

  // expect
  { name: 'expect: proxy_100_continue', hcm: { proxy_100_continue: true }, upstreams: { u: async wire => { await wire.head(); wire.write('HTTP/1.1 100 Continue\r\nx-early: 1\r\n\r\n'); await wire.until(() => wire.text.endsWith('abc')); wire.write(ok()); } }, send: ['POST / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n', 500, 'abc'] },
  { name: 'expect: an upstream that answers at once', hcm: { proxy_100_continue: true }, upstreams: { u: replies('HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\nconnection: close\r\n\r\n') }, send: ['POST / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n'] },
  { name: 'expect: another expectation', send: ['POST / HTTP/1.1\r\nHost: a.test\r\nExpect: tea\r\nContent-Length: 3\r\n\r\nabc'] },
  { name: 'expect: another expectation with proxy_100_continue', hcm: { proxy_100_continue: true }, send: ['POST / HTTP/1.1\r\nHost: a.test\r\nExpect: tea\r\nContent-Length: 3\r\n\r\nabc'] },
]);
