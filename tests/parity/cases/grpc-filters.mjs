// The filters of gRPC (grpc_web, grpc_http1_bridge, grpc_stats) and cors.
import { suite, router, TYPE, h2upstream, req } from '../lib/suite.mjs';
import { replies, ok } from '../lib/raw.mjs';
import { h2request, h2ok, H2Upstream } from '../lib/h2.mjs';

const http = (name, type, config = {}) => ({ name: `envoy.filters.http.${name}`, typed_config: { '@type': `${TYPE}.extensions.filters.http.${name}.v3.${type}`, ...config } });
const chain = (...filters) => ({ hcm: { http_filters: [...filters, router] } });
const log = { log: { log_format: { text_format_source: { inline_string: '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %BYTES_RECEIVED% %BYTES_SENT%\n' } } } };
const message = text => { const out = Buffer.alloc(5 + text.length); out.writeUInt32BE(text.length, 1); out.write(text, 5, 'latin1'); return out.toString('latin1'); };
const text64 = (...messages) => messages.map(m => Buffer.from(m, 'latin1').toString('base64')).join('');
const upstream = options => ({ upstreams: { u: { make: () => new H2Upstream(h2ok(options)) } }, clusters: { u: h2upstream() } });
const answer = (...messages) => ({ headers: { 'content-type': 'application/grpc' }, body: messages.map(message).join(''), trailers: { 'grpc-status': '0', 'grpc-message': 'fine' } });
const pong = upstream(answer('pong'));
const call = (body, headers = '', path = '/s.S/M') => ({ send: [`POST ${path} HTTP/1.1\r\nHost: a.test\r\nContent-Length: ${body.length}\r\n${headers}\r\n${body}`] });
const kind = type => `Content-Type: ${type}\r\n`;
const counts = { stats: [/grpc/] };

// grpc_web
const web = chain(http('grpc_web', 'GrpcWeb'));
const BINARY = kind('application/grpc-web+proto');
const TEXT = kind('application/grpc-web-text');
const asText = 'Accept: application/grpc-web-text\r\n';
const plain = (status, body, headers = 'Content-Type: text/html\r\n') => ({ upstreams: { u: replies(ok(body, headers, status)) } });

// grpc_http1_bridge
const bridge = chain(http('grpc_http1_bridge', 'Config'));
const GRPC = kind('application/grpc');
const protobuf = chain(http('grpc_http1_bridge', 'Config', { upgrade_protobuf_to_grpc: true }));
const PROTOBUF = kind('application/x-protobuf');

// grpc_stats
const stats = config => chain(http('grpc_stats', 'FilterConfig', config));
const h2calls = (...list) => ({ client: async ctx => { const s = await ctx.h2(); const out = []; for (const [headers, options] of list) { const { status, trailers } = await h2request(s, { ':method': 'POST', ':path': '/s.S/M', 'content-type': 'application/grpc', te: 'trailers', ...headers }, options); out.push({ status, trailers }); } return out; }, viewUpstream: () => [] });

// cors
const policy = config => ({ typed_per_filter_config: { 'envoy.filters.http.cors': { '@type': `${TYPE}.extensions.filters.http.cors.v3.CorsPolicy`, ...config } } });
const origins = (...list) => ({ allow_origin_string_match: list });
const all = { prefix: '/' };
const to = (config, extra = {}) => ({ match: all, route: { cluster: '$u' }, ...policy(config), ...extra });
const corsChain = chain(http('cors', 'Cors'));
const cors = (route, rest = {}) => ({ ...corsChain, routes: [route], ...log, stats: [/cors/], ...rest });
const shop = { exact: 'https://shop.test' };
const asks = (origin, more = 'Access-Control-Request-Method: PUT\r\n') => req('/', `Origin: ${origin}\r\n${more}`, '', 'OPTIONS');
const whole = { ...origins(shop), allow_methods: 'GET, PUT', allow_headers: 'x-a, x-b', expose_headers: 'x-e', max_age: '600', allow_credentials: true };

export default [suite('grpcweb', [
  { name: 'gRPC-Web: a binary call', ...web, ...pong, ...call(message('ping'), BINARY), ...counts, ...log },
  { name: 'gRPC-Web: without +proto', ...web, ...pong, ...call(message('ping'), kind('application/grpc-web')) },
  { name: 'gRPC-Web: a text call', ...web, ...pong, ...call(text64(message('ping')), TEXT + asText), ...counts },
  { name: 'gRPC-Web: text in, binary out', ...web, ...pong, ...call(text64(message('ping')), TEXT) },
  { name: 'gRPC-Web: binary in, text out', ...web, ...upstream(answer('one', 'two!', '')), ...call(message('ping'), BINARY + asText) },
  { name: 'gRPC-Web: text in pieces', ...web, ...pong, send: [`POST /s.S/M HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n${TEXT}\r\n2\r\nAA\r\n`, 100, '5\r\nAAAAR\r\n', 100, '5\r\nwaW5n\r\n0\r\n\r\n'] },
  { name: 'gRPC-Web: over HTTP/2', ...web, ...pong, client: async ctx => h2request(await ctx.h2(), { ':method': 'POST', ':path': '/s.S/M', 'content-type': 'application/grpc-web+proto' }, { body: message('ping') }) },
  { name: 'gRPC-Web: trailers only', ...web, ...upstream({ headers: { 'content-type': 'application/grpc', 'grpc-status': '5', 'grpc-message': 'nope' }, body: null }), ...call(message('ping'), BINARY), ...counts },
  { name: 'gRPC-Web: an upstream that is no gRPC', ...web, ...plain('404 Not Found', '<b>nothing & "more" é</b>'), ...call(message('ping'), BINARY), ...log },
  { name: 'gRPC-Web: an upstream that is no gRPC answers 200', ...web, ...plain('200 OK', 'fine'), ...call(message('ping'), BINARY + asText) },
  { name: 'gRPC-Web: an empty answer that is no gRPC', ...web, ...plain('503 Service Unavailable', ''), ...call(message('ping'), BINARY) },
  { name: 'gRPC-Web: no upstream', ...web, upstreams: { u: 'refuse' }, ...call(message('ping'), BINARY), ...log },
  { name: 'gRPC-Web: no route', ...web, routes: [], ...call(message('ping'), BINARY), ...log },
  { name: 'gRPC-Web: another type passes untouched', ...web, ...call('{}', kind('application/grpc-web+json')) },
  { name: 'gRPC-Web: types are compared exactly in requests', ...web, ...call('{}', kind('application/grpc-web; charset=utf-8')) },
  { name: 'gRPC-Web: an accept-encoding of gRPC is kept', ...web, ...pong, ...call(message('ping'), `${BINARY}grpc-accept-encoding: gzip\r\nTE: x\r\n`) },
  { name: 'gRPC-Web: hostile base64', ...web, ...pong, ...call('AAAA*AAA', TEXT), ...log, viewUpstream: () => [] },
  { name: 'gRPC-Web: base64 that stops early', ...web, ...pong, ...call('AAAAA', TEXT), ...log, viewUpstream: () => [] },
  { name: 'gRPC-Web: only padding', ...web, ...pong, ...call('====', TEXT), ...log, viewUpstream: () => [] },
  { name: 'gRPC-Web: an empty text body', ...web, ...pong, ...call('', TEXT) },
]), suite('grpcbridge', [
  { name: 'gRPC bridge: HTTP/1 gets status and message in headers', ...bridge, ...pong, ...call(message('ping'), GRPC), ...counts, ...log },
  { name: 'gRPC bridge: a failure is 503', ...bridge, ...upstream({ ...answer('half'), trailers: { 'grpc-status': '13', 'grpc-message': 'bad%20luck' } }), ...call(message('ping'), GRPC), ...counts, ...log },
  { name: 'gRPC bridge: trailers only', ...bridge, ...upstream({ headers: { 'content-type': 'application/grpc', 'grpc-status': '5', 'grpc-message': 'nope' }, body: null }), ...call(message('ping'), GRPC), ...log },
  { name: 'gRPC bridge: trailers only and fine', ...bridge, ...upstream({ headers: { 'content-type': 'application/grpc', 'grpc-status': '0' }, body: null }), ...call(message('ping'), GRPC) },
  { name: 'gRPC bridge: no trailers at all', ...bridge, ...upstream({ headers: { 'content-type': 'application/grpc' }, body: message('x') }), ...call(message('ping'), GRPC) },
  { name: 'gRPC bridge: a status that is no number', ...bridge, ...upstream({ ...answer('x'), trailers: { 'grpc-status': 'zero' } }), ...call(message('ping'), GRPC) },
  { name: 'gRPC bridge: other requests pass untouched', ...bridge, ...upstream({ headers: { 'content-type': 'text/plain' }, body: 'x', trailers: { 'grpc-status': '3' } }), ...call('a', kind('text/plain')) },
  { name: 'gRPC bridge: HTTP/2 passes untouched', ...bridge, ...pong, client: async ctx => h2request(await ctx.h2(), { ':method': 'POST', ':path': '/s.S/M', 'content-type': 'application/grpc', te: 'trailers' }, { body: message('ping') }), ...counts },
  { name: 'gRPC bridge: an answer over the buffer limit', ...bridge, listener: { per_connection_buffer_limit_bytes: 1024 }, ...upstream(answer('x'.repeat(5000))), ...call(message('ping'), GRPC), ...log, viewUpstream: () => [] },
  { name: 'gRPC bridge: the upstream resets in the middle', ...bridge, upstreams: { u: { make: () => new H2Upstream(async stream => { stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { sendDate: false }); stream.write(message('half')); await new Promise(r => setTimeout(r, 100)); stream.close(2); }) } }, clusters: { u: h2upstream() }, ...call(message('ping'), GRPC), ...log },
  { name: 'gRPC bridge: no upstream', ...bridge, upstreams: { u: 'refuse' }, ...call(message('ping'), GRPC), ...log },
  { name: 'gRPC bridge: protobuf becomes gRPC', ...protobuf, ...pong, ...call('ping', PROTOBUF), ...log },
  { name: 'gRPC bridge: protobuf in chunks', ...protobuf, ...pong, send: [`POST /s.S/M HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n${PROTOBUF}\r\n2\r\npi\r\n`, 100, '2\r\nng\r\n0\r\n\r\n'] },
  { name: 'gRPC bridge: protobuf with an empty body', ...protobuf, ...pong, ...call('', PROTOBUF) },
  { name: 'gRPC bridge: protobuf and a failure', ...protobuf, ...upstream({ ...answer('half'), trailers: { 'grpc-status': '13', 'grpc-message': 'bad' } }), ...call('ping', PROTOBUF), ...log },
  { name: 'gRPC bridge: protobuf and trailers only', ...protobuf, ...upstream({ headers: { 'content-type': 'application/grpc', 'grpc-status': '5', 'grpc-message': 'nope' }, body: null }), ...call('ping', PROTOBUF), ...log },
  { name: 'gRPC bridge: protobuf and two messages back', ...protobuf, ...upstream(answer('one', 'two')), ...call('ping', PROTOBUF) },
  { name: 'gRPC bridge: protobuf and an answer that is shorter than a prefix', ...protobuf, ...upstream({ headers: { 'content-type': 'application/grpc' }, body: 'abc', trailers: { 'grpc-status': '0' } }), ...call('ping', PROTOBUF) },
  { name: 'gRPC bridge: protobuf and an answer that is no gRPC', ...protobuf, ...upstream({ headers: { 'content-type': 'text/plain' }, body: 'plain text' }), ...call('ping', PROTOBUF) },
  { name: 'gRPC bridge: protobuf and no upstream', ...protobuf, upstreams: { u: 'refuse' }, ...call('ping', PROTOBUF), ...log },
  { name: 'gRPC bridge: gRPC where protobuf is bridged too', ...protobuf, ...pong, ...call(message('ping'), GRPC) },
  { name: 'gRPC bridge: protobuf over HTTP/2', ...protobuf, ...pong, client: async ctx => h2request(await ctx.h2(), { ':method': 'POST', ':path': '/s.S/M', 'content-type': 'application/x-protobuf' }, { body: 'ping' }) },
  { name: 'gRPC bridge: protobuf over the buffer limit', ...protobuf, listener: { per_connection_buffer_limit_bytes: 1024 }, ...pong, send: [`POST /s.S/M HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5000\r\n${PROTOBUF}\r\n`, 'x'.repeat(2000), 200, 'x'.repeat(2000)], viewUpstream: () => [],
    differs: { id: 'bridge-too-large', envoy: t => t.includes('(nothing)'), plenipo: t => t.includes('413 Payload Too Large') } },
  { name: 'gRPC bridge: the query is cut off', ...chain(http('grpc_http1_bridge', 'Config', { ignore_query_parameters: true })), ...pong, ...call(message('ping'), GRPC, '/s.S/M?q=1') },
  { name: 'gRPC bridge: the query of other requests is kept', ...chain(http('grpc_http1_bridge', 'Config', { ignore_query_parameters: true })), ...call('a', kind('text/plain'), '/s.S/M?q=1') },
  { name: 'gRPC bridge: the query is kept', ...bridge, ...pong, ...call(message('ping'), GRPC, '/s.S/M?q=1') },
  { name: 'gRPC bridge: the query of protobuf', ...chain(http('grpc_http1_bridge', 'Config', { ignore_query_parameters: true, upgrade_protobuf_to_grpc: true })), ...pong, ...call('ping', PROTOBUF, '/s.S/M?q=1') },
]), suite('grpcstats', [
  { name: 'gRPC stats: one set a cluster', ...stats({}), ...upstream(answer('a', 'b')), ...h2calls([{}, { body: message('1') + message('2') + message('3') }], [{ ':path': '/x.Y/Z' }, { body: message('1') }]), ...counts },
  { name: 'gRPC stats: all methods', ...stats({ stats_for_all_methods: true }), ...upstream(answer('a', 'b')), ...h2calls([{}, { body: message('1') + message('2') }], [{ ':path': '/x.Y/Z?q=1' }, { body: message('1') }]), ...counts },
  { name: 'gRPC stats: dots in services', ...stats({ stats_for_all_methods: true, replace_dots_in_grpc_service_name: true }), ...pong, ...h2calls([{ ':path': '/a.b.C/Do.It' }, { body: message('1') }]), ...counts },
  { name: 'gRPC stats: a list of methods', ...stats({ individual_method_stats_allowlist: { services: [{ name: 's.S', method_names: ['M', 'N'] }] } }), ...pong, ...h2calls([{}, { body: message('1') }], [{ ':path': '/s.S/Other' }, { body: message('1') }]), ...counts },
  { name: 'gRPC stats: statuses', ...stats({}), ...upstream({ ...answer('x'), trailers: { 'grpc-status': '7' } }), ...h2calls([{}, { body: message('1') }], [{}, { body: message('1') }]), ...counts },
  { name: 'gRPC stats: trailers only', ...stats({}), ...upstream({ headers: { 'content-type': 'application/grpc', 'grpc-status': '16' }, body: null }), ...h2calls([{}, { body: message('1') }]), ...counts },
  { name: 'gRPC stats: local replies count too', ...stats({ stats_for_all_methods: true }), upstreams: { u: 'refuse' }, ...h2calls([{}, { body: message('1') }]), ...counts,
    differs: { id: 'grpc-stats-unsent', envoy: t => t.includes('.request_message_count: 1') && t.includes('.14: 1'), plenipo: t => !t.includes('.request_message_count') && t.includes('.14: 1') } },
  { name: 'gRPC stats: paths of another form', ...stats({ stats_for_all_methods: true }), ...pong, ...h2calls([{ ':path': '/a/b/c' }, { body: message('1') }], [{ ':path': '/one' }, { body: message('1') }], [{ ':path': '//s.S//M' }, { body: message('1') }]), ...counts },
  { name: 'gRPC stats: what is no gRPC counts nowhere', ...stats({}), ...pong, ...h2calls([{ 'content-type': 'application/json' }, { body: '{}' }]), ...counts },
  { name: 'gRPC stats: a status of the upstream\'s own', ...stats({}), ...upstream({ ...answer('x'), trailers: { 'grpc-status': 'my-own' } }), ...h2calls([{}, { body: message('1') }]), ...counts,
    differs: { id: 'grpc-stats-names', envoy: t => t.includes('.grpc.my-own: 1') && t.includes('.failure: 1'), plenipo: t => !t.includes('my-own: 1') && t.includes('.failure: 1') } },
  { name: 'gRPC stats: filter state', ...stats({ emit_filter_state: true }), ...upstream(answer('a', 'b')), ...h2calls([{}, { body: message('1') }]), log: { log_format: { text_format_source: { inline_string: '%FILTER_STATE(envoy.filters.http.grpc_stats)% %FILTER_STATE(envoy.filters.http.grpc_stats:PLAIN)% %FILTER_STATE(envoy.filters.http.grpc_stats:FIELD:request_message_count)%\n' } } } },
  { name: 'gRPC stats: half a message', ...stats({}), ...pong, ...h2calls([{}, { body: message('1').slice(0, 3) }], [{}, { body: message('12345').slice(0, 7) }]), ...counts },
  { name: 'gRPC stats: Connect, unary', ...stats({}), ...upstream({ headers: { 'content-type': 'application/json' }, body: '{}' }), ...h2calls([{ 'content-type': 'application/json', 'connect-protocol-version': '1' }, { body: '{}' }]), ...counts },
  { name: 'gRPC stats: Connect, streaming', ...stats({}), ...upstream({ headers: { 'content-type': 'application/connect+json' }, body: `${message('{}')}\x02${message('{}').slice(1)}` }), ...h2calls([{ 'content-type': 'application/connect+json' }, { body: message('{}') + message('{}') }]), ...counts },
  { name: 'gRPC stats: Connect, a stream that fails', ...stats({}), ...upstream({ headers: { 'content-type': 'application/connect+json' }, body: `\x02${message('{"error":{"code":"internal"}}').slice(1)}` }), ...h2calls([{ 'content-type': 'application/connect+json' }, { body: message('{}') }]), ...counts },
]), suite('cors', [
  { name: 'CORS: a preflight', ...cors(to(whole)), send: [asks('https://shop.test')] },
  { name: 'CORS: a request of an allowed origin', ...cors(to(whole)), send: [req('/', 'Origin: https://shop.test\r\n')] },
  { name: 'CORS: a request of another origin', ...cors(to(whole)), send: [req('/', 'Origin: https://evil.test\r\n')] },
  { name: 'CORS: a preflight of another origin goes upstream', ...cors(to(whole)), send: [asks('https://evil.test')] },
  { name: 'CORS: a preflight of another origin is answered where it may not go upstream', ...cors(to({ ...whole, forward_not_matching_preflights: false })), send: [asks('https://evil.test')] },
  { name: 'CORS: without origin, and with an empty one', ...cors(to(whole)), send: [req('/'), { res: 1 }, req('/', 'Origin: \r\n')] },
  { name: 'CORS: OPTIONS without a method asked for is no preflight', ...cors(to(whole)), send: [asks('https://shop.test', '')] },
  { name: 'CORS: stars give back what was asked for', ...cors(to({ ...origins({ prefix: 'https://' }), allow_methods: '*', allow_headers: '*' })), send: [asks('https://x.test', 'Access-Control-Request-Method: PATCH\r\nAccess-Control-Request-Headers: x-1, x-2\r\n')] },
  { name: 'CORS: stars without headers asked for', ...cors(to({ ...origins({ prefix: 'https://' }), allow_methods: '*', allow_headers: '*' })), send: [asks('https://x.test')] },
  { name: 'CORS: the star as origin', ...cors(to(origins({ exact: '*' }))), send: [asks('https://any.test'), { res: 1 }, req('/', 'Origin: null\r\n')] },
  { name: 'CORS: a regular expression of origins', ...cors(to(origins({ safe_regex: { regex: 'https://[a-z]+\\.shop\\.test' } }))), send: [req('/', 'Origin: https://a.shop.test\r\n'), { res: 1 }, req('/', 'Origin: https://a.shop.test.evil\r\n')] },
  { name: 'CORS: private networks', ...cors(to({ ...origins(shop), allow_private_network_access: true })), send: [asks('https://shop.test', 'Access-Control-Request-Method: GET\r\nAccess-Control-Request-Private-Network: true\r\n')] },
  { name: 'CORS: private networks are not allowed unasked', ...cors(to(origins(shop))), send: [asks('https://shop.test', 'Access-Control-Request-Method: GET\r\nAccess-Control-Request-Private-Network: true\r\n')] },
  { name: 'CORS: what the upstream says is replaced', ...cors(to(whole), { upstreams: { u: replies(ok('x', 'Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: false\r\nVary: y\r\n')) } }), send: [req('/', 'Origin: https://shop.test\r\n')] },
  { name: 'CORS: disabled', ...cors(to({ ...whole, filter_enabled: { default_value: { numerator: 0 } } })), send: [asks('https://shop.test'), { res: 1 }, req('/', 'Origin: https://shop.test\r\n')] },
  { name: 'CORS: in the shadow', ...cors(to({ ...whole, filter_enabled: { default_value: { numerator: 0 } }, shadow_enabled: { default_value: { numerator: 100 } } })), send: [req('/', 'Origin: https://shop.test\r\n'), { res: 1 }, req('/', 'Origin: https://evil.test\r\n')] },
  { name: 'CORS: levels fill each other', ...corsChain, ...log, stats: [/cors/], vhosts: [{ name: 'v', domains: ['*'], ...policy({ ...origins(shop), max_age: '5', allow_methods: 'GET' }), routes: [to({ allow_methods: 'PUT', allow_credentials: false })] }], send: [asks('https://shop.test')] },
  { name: 'CORS: the fields of a route and a virtual host', ...corsChain, ...log, stats: [/cors/], vhosts: [{ name: 'v', domains: ['*'], cors: { ...origins(shop), max_age: '5', expose_headers: 'x-v' }, routes: [{ match: all, route: { cluster: '$u', cors: { allow_methods: 'PUT' } } }] }], send: [asks('https://shop.test'), { res: 1 }, req('/', 'Origin: https://shop.test\r\n')] },
  { name: 'CORS: the fields do not count beside a policy of the filter', ...corsChain, ...log, stats: [/cors/], vhosts: [{ name: 'v', domains: ['*'], ...policy(origins(shop)), routes: [{ match: all, route: { cluster: '$u', cors: { ...origins(shop), allow_methods: 'PUT' } } }] }], send: [asks('https://shop.test')] },
  { name: 'CORS: no policy at all', ...cors({ match: all, route: { cluster: '$u' } }), send: [asks('https://shop.test')] },
  { name: 'CORS: a route that answers itself has none', ...cors({ match: all, direct_response: { status: 200 }, ...policy(whole) }), send: [asks('https://shop.test')] },
  { name: 'CORS: on local replies', ...cors(to(whole), { upstreams: { u: 'refuse' } }), send: [req('/', 'Origin: https://shop.test\r\n')] },
  { name: 'CORS: a hostile origin', ...cors(to(origins({ prefix: 'https://' }))), send: [req('/', 'Origin: https://a"\t<x>%0d%0aX: 1\r\n'), { res: 1 }, req('/', 'Origin: https://a.test\r\nOrigin: https://b.test\r\n')] },
])];
