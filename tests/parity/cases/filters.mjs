// The first tenants of the walls: buffer and header_mutation filters, websockets, TLS on both sides.
import fs from 'node:fs';
import { suite, req, toU, router, TYPE, h2, h2upstream, tlsRaw } from '../lib/suite.mjs';
import { replies, ok, RawUpstream } from '../lib/raw.mjs';
import { h2request, h2ok } from '../lib/h2.mjs';

const all = { prefix: '/' };
const U = { route: { cluster: '$u' } };
const H = { log: { log_format: { text_format_source: { inline_string: '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %BYTES_RECEIVED% %BYTES_SENT%\n' } } } };
const buffer = max_request_bytes => ({ name: 'envoy.filters.http.buffer', typed_config: { '@type': `${TYPE}.extensions.filters.http.buffer.v3.Buffer`, max_request_bytes } });
const perRoute = c => ({ 'envoy.filters.http.buffer': { '@type': `${TYPE}.extensions.filters.http.buffer.v3.BufferPerRoute`, ...c } });
const mutation = mutations => ({ name: 'envoy.filters.http.header_mutation', typed_config: { '@type': `${TYPE}.extensions.filters.http.header_mutation.v3.HeaderMutation`, mutations } });
const mutationPerRoute = mutations => ({ 'envoy.filters.http.header_mutation': { '@type': `${TYPE}.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute`, mutations } });
const append = (key, value, append_action) => ({ append: { header: { key, value }, ...(append_action && { append_action }) } });
const filters = (...f) => ({ http_filters: [...f, router] });
const post = (path, headers, body) => `POST ${path} HTTP/1.1\r\nHost: a.test\r\n${headers}\r\n${body}`;

// websockets
const WS = 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n';
const ws = { upgrade_configs: [{ upgrade_type: 'websocket' }] };
const S101 = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n';
const echo = { u: async wire => { await wire.head(); wire.write(S101); for (let at = wire.cursor; ;) { await wire.until(() => wire.text.length > at, 10000); if (wire.text.length === at) { wire.end(); return; } wire.write(wire.text.slice(at).toUpperCase()); at = wire.text.length; } } };

// TLS
const chain = (cert, extra = {}) => ({ certificate_chain: { filename: `\${certs}/${cert}.crt` }, private_key: { filename: `\${certs}/${cert}.key` }, ...extra });
const down = (cert = 'server', common = {}, extra = {}) => ({ name: 'envoy.transport_sockets.tls', typed_config: { '@type': `${TYPE}.extensions.transport_sockets.tls.v3.DownstreamTlsContext`, common_tls_context: { tls_certificates: [chain(cert)], ...common }, ...extra } });
const upTls = (common = {}, extra = {}) => ({ transport_socket: { name: 'envoy.transport_sockets.tls', typed_config: { '@type': `${TYPE}.extensions.transport_sockets.tls.v3.UpstreamTlsContext`, common_tls_context: common, ...extra } } });
const inspector = { listener_filters: [{ name: 'envoy.filters.listener.tls_inspector', typed_config: { '@type': `${TYPE}.extensions.filters.listener.tls_inspector.v3.TlsInspector` } }] };
const tlsListener = (...args) => ({ chains: f => [{ filters: [f], transport_socket: down(...args) }] });
const named = (f, body) => ({ ...f, typed_config: { ...f.typed_config, route_config: { name: body, virtual_hosts: [{ name: 'v', domains: ['*'], routes: [{ match: all, direct_response: { status: 200, body: { inline_string: body } } }] }] } } });
const sni = { ...inspector, chains: undefined };
const h2alpn = { alpn_protocols: ['h2', 'http/1.1'] };
const tlsGet = options => async ctx => {
  const c = await ctx.connect('main', { tls: options });
  c.write(req('/'));
  await c.response();
  const cert = c.socket.getPeerCertificate();
  return { alpn: c.socket.alpnProtocol, subject: cert.subject?.CN, protocol: c.socket.getProtocol(), resumed: c.socket.isSessionReused() };
};
const tries = list => async ctx => { const out = []; for (const o of list) { try { const c = await ctx.connect('main', { hidden: true, tls: o }); c.write(req('/')); const t = await c.response({ ms: 2000 }); out.push(`${c.socket.getPeerCertificate().subject?.CN} ${c.socket.alpnProtocol}${c.socket.alpnProtocol === 'h2' ? '' : ` ${t.slice(9, 12)} ${t.split('\r\n\r\n')[1]}`}`); } catch (e) { out.push(e.code ?? 'refused'); } } return out; };
const clientCert = dir => ({ key: fs.readFileSync(`${dir}/client.key`), cert: fs.readFileSync(`${dir}/client.crt`) });
const CERTS = new URL('../certs', import.meta.url).pathname;
const san = (san_type, exact) => ({ validation_context: { trusted_ca: { filename: '${certs}/ca.crt' }, match_typed_subject_alt_names: [{ san_type, matcher: { exact } }] } });
const ca = { validation_context: { trusted_ca: { filename: '${certs}/ca.crt' } } };

export default [suite('filters', [
  { name: 'buffer: a body under the limit arrives whole with content-length', hcm: filters(buffer(100)), send: [post('/', 'Transfer-Encoding: chunked\r\n', '3\r\nabc\r\n'), 200, '2\r\nde\r\n0\r\n\r\n', { res: 1 }] },
  { name: 'buffer: exactly the limit', hcm: filters(buffer(5)), send: [post('/', 'Content-Length: 5\r\n', 'abcde')] },
  { name: 'buffer: over the limit is 413', hcm: filters(buffer(5)), send: [post('/', 'Content-Length: 6\r\n', 'abcdef')], ...H },
  { name: 'buffer: over the limit in chunks is 413', hcm: filters(buffer(5)), send: [post('/', 'Transfer-Encoding: chunked\r\n', '3\r\nabc\r\n'), 200, '3\r\ndef\r\n'], ...H },
  { name: 'buffer: GET passes at once', hcm: filters(buffer(5)), send: [req('/')] },
  { name: 'buffer: incomplete body is not forwarded', hcm: filters(buffer(50)), send: [post('/', 'Content-Length: 10\r\n', 'abc')] },
  { name: 'buffer: client goes away while it is buffered', hcm: filters(buffer(50)), send: [post('/', 'Content-Length: 10\r\n', 'abc'), 200, { rst: 1 }, 300] },
  { name: 'buffer: disabled per route', hcm: filters(buffer(5)), routes: [{ match: { prefix: '/off' }, ...U, typed_per_filter_config: perRoute({ disabled: true }) }, { match: { prefix: '/big' }, ...U, typed_per_filter_config: perRoute({ buffer: { max_request_bytes: 10 } }) }, { match: all, ...U }], send: [post('/off', 'Content-Length: 8\r\n', 'abcdefgh'), { res: 1 }, post('/big', 'Content-Length: 8\r\n', 'abcdefgh'), { res: 1 }, post('/', 'Content-Length: 8\r\n', 'abcdefgh')] },
  { name: 'buffer: per virtual host', hcm: filters(buffer(5)), vhosts: [{ name: 'v', domains: ['*'], typed_per_filter_config: perRoute({ buffer: { max_request_bytes: 10 } }), routes: [toU] }], send: [post('/', 'Content-Length: 8\r\n', 'abcdefgh')] },
  { name: 'buffer: grpc over the limit', hcm: filters(buffer(5)), client: async ctx => h2request(await ctx.h2(), { ':method': 'POST', 'content-type': 'application/grpc' }, { body: 'abcdefgh' }),
    differs: { id: 'buffer-last-frame', envoy: t => t.includes(':status: 200') && t.includes('abcdefgh'), plenipo: t => t.includes('grpc-message: Payload Too Large') && t.includes('upstream u: no connection') } },
  { name: 'header_mutation: request and response', hcm: filters(mutation({ request_mutations: [{ remove: 'x-bad' }, append('x-new', '1'), append('x-over', 'n', 'OVERWRITE_IF_EXISTS_OR_ADD')], response_mutations: [{ remove: 'x-up' }, append('x-down', '%REQ(x-new)%')] })), upstreams: { u: replies(ok('ok', 'x-up: 1\r\n')) }, send: [req('/', 'X-Bad: 1\r\nX-Over: o\r\nX-New: 0\r\n')] },
  { name: 'header_mutation: per route and per virtual host', hcm: filters(mutation({ request_mutations: [append('x-m', 'listener')] })), vhosts: [{ name: 'v', domains: ['*'], typed_per_filter_config: mutationPerRoute({ request_mutations: [append('x-m', 'vhost')], response_mutations: [append('x-r', 'vhost')] }), routes: [{ match: { prefix: '/r' }, ...U, typed_per_filter_config: mutationPerRoute({ request_mutations: [append('x-m', 'route')], response_mutations: [append('x-r', 'route')] }) }, toU] }], send: [req('/r'), { res: 1 }, req('/v')] },
  { name: 'header_mutation: on local replies', hcm: filters(mutation({ response_mutations: [append('x-down', '1')] })), routes: [{ match: all, direct_response: { status: 200, body: { inline_string: 'x' } } }], send: [req('/')] },
  { name: 'header_mutation: order with route adds', hcm: filters(mutation({ request_mutations: [append('x-m', 'filter')], response_mutations: [append('x-m', 'filter')] })), routes: [{ match: all, ...U, request_headers_to_add: [{ header: { key: 'x-m', value: 'route' } }], response_headers_to_add: [{ header: { key: 'x-m', value: 'route' } }] }], send: [req('/')] },
  { name: 'header_mutation: a hostile value through %REQ%', hcm: filters(mutation({ request_mutations: [append('x-copy', '%REQ(x-in)%')] })), send: [req('/', 'X-In: a\tb; c=%00%0d\r\n')] },
]), suite('websocket', [
  { name: 'websocket: upgrade and bytes both ways', hcm: ws, upstreams: echo, send: [req('/', WS), { has: '\r\n\r\n' }, 'hello', { has: 'HELLO' }, ' world', { has: ' WORLD' }], ...H, stats: [] },
  { name: 'websocket: bytes right behind the request', hcm: ws, upstreams: echo, send: [`${req('/', WS)}early`, { has: 'EARLY' }] },
  { name: 'websocket: upstream closes', hcm: ws, upstreams: { u: async wire => { await wire.head(); wire.write(`${S101}bye`); await wire.until(() => false, 200); wire.end(); } }, send: [req('/', WS), { has: 'bye' }], ...H },
  { name: 'websocket: client closes', hcm: ws, upstreams: echo, send: [req('/', WS), { has: '\r\n\r\n' }, 'x', { has: 'X' }, { fin: 1 }], ...H },
  { name: 'websocket: client resets', hcm: ws, upstreams: echo, send: [req('/', WS), { has: '\r\n\r\n' }, 'x', { has: 'X' }, { rst: 1 }, 300], ...H },
  { name: 'websocket: upstream refuses with 403', hcm: ws, upstreams: { u: replies(ok('no', '', '403 Forbidden')) }, send: [req('/', WS), { res: 1 }, 100, req('/2')] },
  { name: 'websocket: upstream answers 200', hcm: ws, upstreams: { u: replies(ok('plain')) }, send: [req('/', WS), { res: 1 }] },
  { name: 'websocket: upstream answers 101 for another protocol', hcm: ws, upstreams: { u: replies('HTTP/1.1 101 X\r\nUpgrade: other\r\nConnection: Upgrade\r\n\r\n') }, send: [req('/', WS), { res: 1 }, 'x'] },
  { name: 'websocket: mixed case and lists', hcm: ws, upstreams: echo, send: [req('/', 'connection: keep-alive, UPGRADE\r\nupgrade: WebSocket\r\n'), { has: '\r\n\r\n' }, 'x', { has: 'X' }] },
  { name: 'websocket: with a body', hcm: ws, upstreams: echo, send: [req('/', `${WS}Content-Length: 3\r\n`) + 'abc', { has: '101' }] },
  { name: 'websocket: POST', hcm: ws, upstreams: echo, send: [post('/', `${WS}Content-Length: 0\r\n`, ''), { has: '101' }] },
  { name: 'websocket: another type is still 403', hcm: ws, upstreams: echo, send: [req('/', 'Connection: Upgrade\r\nUpgrade: foo\r\n')], ...H },
  { name: 'websocket: disabled on the route', hcm: ws, upstreams: echo, routes: [{ match: all, route: { cluster: '$u', upgrade_configs: [{ upgrade_type: 'websocket', enabled: false }] } }], send: [req('/', WS)] },
  { name: 'websocket: enabled on the route only', upstreams: echo, routes: [{ match: all, route: { cluster: '$u', upgrade_configs: [{ upgrade_type: 'websocket' }] } }], send: [req('/', WS), { has: '\r\n\r\n' }, 'x', { has: 'X' }] },
  { name: 'websocket: not ended by the route timeout', hcm: ws, upstreams: echo, routes: [{ match: all, route: { cluster: '$u', timeout: '0.3s' } }], send: [req('/', WS), { has: '\r\n\r\n' }, 600, 'x', { has: 'X' }] },
  { name: 'websocket: 100 KB each way', hcm: ws, upstreams: echo, client: async ctx => { const c = await ctx.connect('main', { hidden: true }); c.write(req('/', WS)); await c.head(); c.write('y'.repeat(100000)); await c.until(() => c.text.length - c.cursor >= 100000); return { back: c.text.length - c.cursor }; }, viewUpstream: () => [] },
  { name: 'websocket: smuggled request in an upgrade the upstream refused', hcm: ws, upstreams: { u: replies(ok('no', '', '426 Upgrade Required'), ok('evil')) }, send: [`${req('/', WS)}GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n`] },
]), suite('tls', [
  { name: 'TLS downstream: HTTP/1.1', ...tlsListener(), client: tlsGet({ servername: 'a.test' }), ...H },
  { name: 'TLS downstream: ALPN h2', ...tlsListener('server', h2alpn), client: async ctx => h2request(await ctx.h2('main', { tls: { servername: 'a.test' } }), {}) },
  { name: 'TLS downstream: ALPN choice', ...tlsListener('server', h2alpn), client: tries([{ ALPNProtocols: ['http/1.1'] }, { ALPNProtocols: ['http/1.1', 'h2'] }, { ALPNProtocols: ['foo'] }, {}]) },
  { name: 'TLS downstream: no ALPN configured', ...tlsListener(), client: tries([{ ALPNProtocols: ['http/1.1'] }, { ALPNProtocols: ['foo'] }]) },
  { name: 'TLS downstream: TLS 1.2 and 1.3, not 1.1', ...tlsListener(), client: tries([{ maxVersion: 'TLSv1.2' }, { minVersion: 'TLSv1.3' }, { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'ALL:@SECLEVEL=0' }]), differs: { id: 'tls-alerts', envoy: t => t.includes('ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION'), plenipo: t => t.includes('ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE') && t.split('server false 200 ok').length === 3 } },
  { name: 'TLS downstream: plain HTTP on a TLS port', ...tlsListener(), send: [req('/')], differs: { id: 'tls-alerts', envoy: t => t.startsWith('client 1 (closed):\n  (nothing)'), plenipo: t => t.startsWith('client 1 (closed):\n  \\x15\\x03\\x03') && t.includes('upstream u: no connection') } },
  { name: 'TLS downstream: garbage', ...tlsListener(), send: ['\x16\x03\x01\x00\x05hello'], view: t => t.length ? 'an alert' : '', differs: { id: 'tls-alerts', envoy: t => t.startsWith('client 1 (closed):\n  an alert'), plenipo: t => t.startsWith('client 1 (closed):\n  (nothing)') } },
  { name: 'TLS downstream: x-forwarded-proto is https at the edge', hcm: { use_remote_address: true }, ...tlsListener(), client: tlsGet({ servername: 'a.test' }) },
  { name: 'TLS downstream: x-forwarded-proto without use_remote_address', ...tlsListener(), client: tlsGet({ servername: 'a.test' }) },
  { name: 'TLS downstream: https redirect over TLS', ...tlsListener(), routes: [{ match: all, redirect: { path_redirect: '/n' } }], client: tlsGet({ servername: 'a.test' }) },
  { name: 'TLS downstream: client certificate required, none given', ...tlsListener('server', ca, { require_client_certificate: true }), client: tries([{ maxVersion: 'TLSv1.2' }]), differs: { id: 'tls-alerts', envoy: t => t.includes('ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE'), plenipo: t => t.includes('ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED') } },
  { name: 'TLS downstream: client certificate required and given', ...tlsListener('server', ca, { require_client_certificate: true }), client: tries([clientCert(CERTS)]) },
  { name: 'TLS downstream: client certificate with the wanted name', ...tlsListener('server', san('URI', 'spiffe://parity/client'), { require_client_certificate: true }), client: tries([clientCert(CERTS)]) },
  { name: 'TLS downstream: client certificate without the wanted name', ...tlsListener('server', san('URI', 'spiffe://parity/other'), { require_client_certificate: true }), client: tries([{ ...clientCert(CERTS), maxVersion: 'TLSv1.2' }]), differs: { id: 'tls-alerts', envoy: t => t.includes('ALERT_CERTIFICATE_UNKNOWN'), plenipo: t => t.includes('ALERT_BAD_CERTIFICATE') } },
  { name: 'TLS downstream: wanted names ask for a certificate', ...tlsListener('server', san('DNS', 'nobody')), client: tries([{ maxVersion: 'TLSv1.2' }]), differs: { id: 'tls-alerts', envoy: t => t.includes('ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE'), plenipo: t => t.includes('ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED') } },
  { name: 'TLS downstream: a trusted CA alone asks for no certificate', ...tlsListener('server', ca), client: tries([{ maxVersion: 'TLSv1.2' }, { maxVersion: 'TLSv1.2', ...clientCert(CERTS) }]) },
  { name: 'TLS upstream: SAN match by a wildcard of the certificate', clusters: { u: upTls(san('DNS', 'x.wild.test')) }, upstreams: { u: tlsRaw(replies(ok()), { key: fs.readFileSync(`${CERTS}/other.key`), cert: fs.readFileSync(`${CERTS}/other.crt`) }) }, send: [req('/')] },
  { name: 'TLS upstream: SAN match by IP address', clusters: { u: upTls(san('IP_ADDRESS', '127.0.0.1')) }, upstreams: { u: tlsRaw(replies(ok())) }, send: [req('/')] },
  { name: 'TLS SNI: chain by server name', listener: inspector, chains: f => [{ filter_chain_match: { server_names: ['a.test'] }, filters: [named(f, 'a')], transport_socket: down('server') }, { filter_chain_match: { server_names: ['*.wild.test', 'b.test'] }, filters: [named(f, 'b')], transport_socket: down('other') }], client: tries([{ servername: 'a.test' }, { servername: 'b.test' }, { servername: 'x.wild.test' }, { servername: 'x.y.wild.test' }, { servername: 'wild.test' }, { servername: 'A.TEST' }]) },
  { name: 'TLS SNI: no match closes', listener: inspector, chains: f => [{ filter_chain_match: { server_names: ['a.test'] }, filters: [named(f, 'a')], transport_socket: down('server') }], client: tries([{ servername: 'zzz.test' }, {}]) },
  { name: 'TLS SNI: default_filter_chain', listener: inspector, chains: f => [{ filter_chain_match: { server_names: ['a.test'] }, filters: [named(f, 'a')], transport_socket: down('server') }, { filters: [named(f, 'any')], transport_socket: down('other') }], client: tries([{ servername: 'a.test' }, { servername: 'zzz.test' }, {}]) },
  { name: 'TLS SNI: chain by ALPN and by transport protocol', listener: inspector, chains: f => [{ filter_chain_match: { application_protocols: ['h2'] }, filters: [named(f, 'h2')], transport_socket: down('server', { alpn_protocols: ['http/1.1'] }) }, { filter_chain_match: { transport_protocol: 'tls' }, filters: [named(f, 'tls')], transport_socket: down('other') }, { filter_chain_match: { transport_protocol: 'raw_buffer' }, filters: [named(f, 'raw')] }],
    client: async ctx => { const out = await tries([{ ALPNProtocols: ['h2', 'http/1.1'] }, { ALPNProtocols: ['http/1.1'] }])(ctx); const c = await ctx.connect(); c.write(req('/')); await c.response(); return out; } },
  { name: 'TLS SNI: two certificates in one context', chains: f => [{ filters: [named(f, 'x')], transport_socket: { name: 'envoy.transport_sockets.tls', typed_config: { '@type': `${TYPE}.extensions.transport_sockets.tls.v3.DownstreamTlsContext`, common_tls_context: { tls_certificates: [chain('server'), chain('other')] } } } }], client: tries([{ servername: 'a.test' }, { servername: 'b.test' }, { servername: 'q.wild.test' }, { servername: 'zzz' }, {}]) },
  { name: 'TLS upstream: HTTP/1.1 without SNI', clusters: { u: upTls() }, upstreams: { u: tlsRaw(replies(ok())) }, send: [req('/')] },
  { name: 'TLS upstream: SNI and verified CA', clusters: { u: upTls(ca, { sni: 'a.test' }) }, upstreams: { u: tlsRaw(replies(ok())) }, send: [req('/')] },
  { name: 'TLS upstream: SAN match', clusters: { u: upTls({ validation_context: { ...ca.validation_context, match_typed_subject_alt_names: [{ san_type: 'DNS', matcher: { exact: 'a.test' } }] } }, { sni: 'a.test' }) }, upstreams: { u: tlsRaw(replies(ok())) }, send: [req('/')] },
  { name: 'TLS upstream: SAN mismatch is 503', clusters: { u: upTls({ validation_context: { ...ca.validation_context, match_typed_subject_alt_names: [{ san_type: 'DNS', matcher: { exact: 'evil.test' } }] } }) }, upstreams: { u: tlsRaw(replies(ok())) }, send: [req('/')], ...H, viewUpstream: () => [], view: t => t.replace(/TLS_error:.*/s, 'TLS_error…'), viewLog: t => t.replace(/TLS_error:\S*/, 'TLS_error…') },
  { name: 'TLS upstream: unknown CA is 503', clusters: { u: upTls({ validation_context: { trusted_ca: { filename: '${certs}/client.crt' } } }) }, upstreams: { u: tlsRaw(replies(ok())) }, send: [req('/')], ...H, viewUpstream: () => [], view: t => t.replace(/TLS_error:.*/s, 'TLS_error…'), viewLog: t => t.replace(/TLS_error:\S*/, 'TLS_error…') },
  { name: 'TLS upstream: upstream speaks plain HTTP', clusters: { u: upTls() }, upstreams: { u: replies(ok()) }, send: [req('/')], ...H, viewUpstream: () => [], view: t => t.replace(/TLS_error:.*/s, 'TLS_error…'), viewLog: t => t.replace(/TLS_error:\S*/, 'TLS_error…') },
  { name: 'TLS upstream: HTTP/2 with ALPN', clusters: { u: { ...h2upstream(), ...upTls({}, { sni: 'a.test' }) } }, upstreams: { u: h2(h2ok(), { tls: true }) }, send: [req('/')] },
  { name: 'TLS upstream: client certificate is presented', clusters: { u: upTls({ tls_certificates: [chain('client')] }) }, upstreams: { u: { make: certs => new RawUpstream(async (wire, up) => { await wire.request(); wire.write(ok(String(wire.socket.getPeerCertificate().subject?.CN))); }, { tls: { ...certs.server, requestCert: true, rejectUnauthorized: false } }) } }, send: [req('/')] },
])];
