// What a cluster says of the protocol to its hosts: limits of answers, streams of a connection, connections and their ends.
import { suite, req, h2, tlsRaw, TYPE as ENVOY } from '../lib/suite.mjs';
import { replies, ok, sleep } from '../lib/raw.mjs';
import { h2ok, h2answer } from '../lib/h2.mjs';

const H = { log: { log_format: { text_format_source: { inline_string: '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_PROTOCOL%\n' } } } };
const TYPE = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
/** A cluster's HttpProtocolOptions: `explicit` is the explicit_http_config, `more` the other fields. */
const options = (explicit, more = {}) => ({ typed_extension_protocol_options: { [TYPE]: { '@type': `type.googleapis.com/${TYPE}`, ...(explicit && { explicit_http_config: explicit }), ...more } } });
const http1 = (o = {}, more) => options({ http_protocol_options: o }, more);
const http2 = (o = {}, more) => options({ http2_protocol_options: o }, more);
const common = (o) => ({ common_http_protocol_options: o });
const many = n => Array.from({ length: n }, (_, i) => `x-${i}: 1\r\n`).join('');
const manyH2 = n => Object.fromEntries(Array.from({ length: n }, (_, i) => [`x-${i}`, '1']));
const upstreamStats = (...names) => [new RegExp(`^cluster\\.ID_u\\.(${names.join('|')}):`)];

/** Sends `paths` at once over one HTTP/2 connection of a client and counts the upstream's connections. */
const together = (...paths) => async ctx => {
  const s = await ctx.h2();
  const all = await Promise.all(paths.map(path => new Promise(done => {
    const st = s.request({ ':path': path, ':authority': 'a.test' });
    let status; let body = '';
    st.on('response', h => { status = h[':status']; });
    st.on('data', d => { body += d; });
    st.on('error', () => {});
    st.on('close', () => done(`${path} ${status} ${body}`));
  })));
  return all;
};
const slowH2 = h2(async (stream, request) => { await sleep(700); if (!stream.destroyed) h2answer(stream); });
const countSessions = { viewUpstream: saw => ({ sessions: saw.sessions, requests: [] }) };

const trusted = { common_tls_context: { validation_context: { trusted_ca: { filename: '${certs}/ca.crt' } } } };
/** A cluster whose hosts speak TLS, with upstream_http_protocol_options. */
const tls = (names, context = {}) => ({ ...http1({}, { upstream_http_protocol_options: names }), transport_socket: { name: 'envoy.transport_sockets.tls', typed_config: { '@type': `${ENVOY}.extensions.transport_sockets.tls.v3.UpstreamTlsContext`, ...context } } });
/** Two requests on one connection, so many ms apart. */
const twice = (pause, after = 0) => async ctx => {
  const c = await ctx.connect('main', { hidden: true });
  c.write(req('/1'));
  await c.has('ok', 2000);
  await sleep(pause);
  const at = c.text.length;
  c.write(req('/2'));
  await c.until(() => c.text.indexOf('ok', at) >= 0, 2000);
  await sleep(after);
  return { answers: c.text.split('HTTP/1.1 200').length - 1 };
};
const count = saw => ({ sessions: Array.isArray(saw) ? saw.length : saw.sessions, requests: [] });

export default suite('upstream-protocols', [
  // max_headers_count, max_response_headers_kb
  { name: 'headers of an answer: as many as max_headers_count', clusters: { u: http1({}, common({ max_headers_count: 6 })) }, upstreams: { u: replies(ok('ok', many(5))) }, send: req(), ...H },
  { name: 'headers of an answer: one more than max_headers_count', clusters: { u: http1({}, common({ max_headers_count: 5 })) }, upstreams: { u: replies(ok('ok', many(5))) }, send: req(), ...H, stats: upstreamStats('upstream_cx_protocol_error', 'upstream_rq_503', 'upstream_rq_502') },
  { name: 'headers of an answer: over 100 where the cluster allows it', clusters: { u: http1({}, common({ max_headers_count: 200 })) }, upstreams: { u: replies(ok('ok', many(150))) }, send: req(), ...H },
  { name: 'headers of an answer: over 100 by default', upstreams: { u: replies(ok('ok', many(101))) }, send: req(), ...H },
  { name: 'headers of an answer: by the cluster\'s old field', clusters: { u: common({ max_headers_count: 3 }) }, upstreams: { u: replies(ok('ok', many(3))) }, send: req(), ...H },
  { name: 'headers of an answer: HTTP/2, as many as allowed', clusters: { u: http2({}, common({ max_headers_count: 6 })) }, upstreams: { u: h2(h2ok({ headers: manyH2(5) })) }, send: req(), ...H },
  { name: 'headers of an answer: HTTP/2, one more', clusters: { u: http2({}, common({ max_headers_count: 5 })) }, upstreams: { u: h2(h2ok({ headers: manyH2(6) })) }, send: req(), ...H, viewUpstream: () => [] },
  { name: 'headers of an answer: HTTP/2, over 100', clusters: { u: http2({}, common({ max_headers_count: 200 })) }, upstreams: { u: h2(h2ok({ headers: manyH2(150) })) }, send: req(), ...H },
  { name: 'size of an answer\'s head: 79 KiB', upstreams: { u: replies(ok('ok', `x: ${'a'.repeat(79 * 1024)}\r\n`)) }, send: req(), ...H, view: t => t.replace(/a{100,}/, m => `<${m.length}>`) },
  { name: 'size of an answer\'s head: over max_response_headers_kb', clusters: { u: http1({}, common({ max_response_headers_kb: 8 })) }, upstreams: { u: replies(ok('ok', `x: ${'a'.repeat(8 * 1024)}\r\n`)) }, send: req(), ...H },
  { name: 'size of an answer\'s head: under a max_response_headers_kb of 200', clusters: { u: http1({}, common({ max_response_headers_kb: 200 })) }, upstreams: { u: replies(ok('ok', `x: ${'a'.repeat(190 * 1024)}\r\n`)) }, send: req(), ...H, view: t => t.replace(/a{100,}/, m => `<${m.length}>`) },
  // max_concurrent_streams
  { name: 'streams: one at a time makes a connection a request', clusters: { u: http2({ max_concurrent_streams: 1 }) }, upstreams: { u: slowH2 }, client: together('/1', '/2', '/3'), ...countSessions, stats: upstreamStats('upstream_cx_http2_total', 'upstream_rq_total', 'upstream_cx_overflow') },
  { name: 'streams: two at a time', clusters: { u: http2({ max_concurrent_streams: 2 }) }, upstreams: { u: slowH2 }, client: together('/1', '/2', '/3', '/4'), ...countSessions },
  { name: 'streams: without a limit of ours they share a connection', clusters: { u: http2() }, upstreams: { u: slowH2 }, client: together('/1', '/2', '/3', '/4'), ...countSessions },
  { name: 'streams: by the cluster\'s old field', clusters: { u: { http2_protocol_options: { max_concurrent_streams: 1 } } }, upstreams: { u: slowH2 }, client: together('/1', '/2'), ...countSessions },
  // how long connections are kept
  ...[['HTTP/1', http1, { u: replies(ok()) }], ['HTTP/2', http2, { u: h2(h2ok()) }]].flatMap(([name, protocol, upstreams]) => [
    { name: `connections: idle_timeout of ${name}`, clusters: { u: protocol({}, common({ idle_timeout: '0.3s' })) }, upstreams, client: twice(1800, 1500), viewUpstream: count, stats: upstreamStats('upstream_cx_total', 'upstream_cx_idle_timeout') },
    { name: `connections: ${name} within its idle_timeout`, clusters: { u: protocol({}, common({ idle_timeout: '5s' })) }, upstreams, client: twice(300), viewUpstream: count, stats: upstreamStats('upstream_cx_total', 'upstream_cx_idle_timeout') },
    { name: `connections: max_connection_duration of ${name}`, clusters: { u: protocol({}, common({ max_connection_duration: '0.3s' })) }, upstreams, client: twice(1600, 1300), viewUpstream: count, stats: upstreamStats('upstream_cx_total', 'upstream_cx_max_duration_reached') },
    { name: `connections: max_connection_duration of ${name} while a request runs`, clusters: { u: protocol({}, common({ max_connection_duration: '0.2s' })) }, upstreams: { u: name === 'HTTP/1' ? replies([600, ok()], ok()) : h2(async stream => { await sleep(600); h2answer(stream); }) }, client: twice(100), viewUpstream: count, stats: upstreamStats('upstream_cx_total') },
    { name: `connections: max_requests_per_connection of ${name}`, clusters: { u: protocol({}, common({ max_requests_per_connection: 1 })) }, upstreams, client: twice(200), viewUpstream: count, stats: upstreamStats('upstream_cx_total', 'upstream_cx_max_requests') },
  ]),
  // the server name of TLS
  { name: 'auto_sni: the host', clusters: { u: tls({ auto_sni: true }) }, upstreams: { u: tlsRaw(replies(ok())) }, send: req() },
  { name: 'auto_sni: the host without its port', clusters: { u: tls({ auto_sni: true }) }, upstreams: { u: tlsRaw(replies(ok())) }, send: 'GET / HTTP/1.1\r\nHost: b.test:8443\r\n\r\n' },
  { name: 'auto_sni: an address is not sent', clusters: { u: tls({ auto_sni: true }) }, upstreams: { u: tlsRaw(replies(ok())) }, send: 'GET / HTTP/1.1\r\nHost: 10.1.2.3:80\r\n\r\n' },
  { name: 'auto_sni: over the configured name', clusters: { u: tls({ auto_sni: true }, { sni: 'c.test' }) }, upstreams: { u: tlsRaw(replies(ok())) }, send: req() },
  { name: 'auto_sni: a host of its own for each connection', clusters: { u: tls({ auto_sni: true }) }, upstreams: { u: tlsRaw(replies(ok())) }, send: [req(), { res: 1 }, 'GET / HTTP/1.1\r\nHost: b.test\r\n\r\n', { res: 1 }, req('/3')] },
  { name: 'auto_sni: of another header', clusters: { u: tls({ auto_sni: true, override_auto_sni_header: 'x-name' }) }, upstreams: { u: tlsRaw(replies(ok())) }, send: req('/', 'x-name: d.test\r\n') },
  { name: 'auto_sni: of another header that is not there', clusters: { u: tls({ auto_sni: true, override_auto_sni_header: 'x-name' }, { sni: 'c.test' }) }, upstreams: { u: tlsRaw(replies(ok())) }, send: req() },
  { name: 'auto_san_validation: a certificate for the host', clusters: { u: tls({ auto_sni: true, auto_san_validation: true }, trusted) }, upstreams: { u: tlsRaw(replies(ok())) }, send: req() },
  { name: 'auto_san_validation: a certificate for another host', clusters: { u: tls({ auto_sni: true, auto_san_validation: true }, trusted) }, upstreams: { u: tlsRaw(replies(ok())) }, send: 'GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n', view: t => t.split('\r\n')[0], viewUpstream: () => [] },
  { name: 'auto_san_validation: without auto_sni the configured name is sent', clusters: { u: tls({ auto_san_validation: true }, { ...trusted, sni: 'c.test' }) }, upstreams: { u: tlsRaw(replies(ok())) }, send: req() },
  { name: 'auto_san_validation: without auto_sni, no name is sent', clusters: { u: tls({ auto_san_validation: true }, trusted) }, upstreams: { u: tlsRaw(replies(ok())) }, send: req() },
  { name: 'auto_san_validation: without auto_sni, another host', clusters: { u: tls({ auto_san_validation: true }, { ...trusted, sni: 'a.test' }) }, upstreams: { u: tlsRaw(replies(ok())) }, send: 'GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n', view: t => t.split('\r\n')[0], viewUpstream: () => [] },
  { name: 'auto_san_validation: hostile: another host after one that fits', clusters: { u: tls({ auto_san_validation: true }, { ...trusted, sni: 'a.test' }) }, upstreams: { u: tlsRaw(replies(ok())) }, send: [req(), { res: 1 }, 'GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n', { res: 1 }], view: t => t.match(/HTTP\/1.1 \d+/g)?.join(' '), viewUpstream: () => [] },
  { name: 'auto_san_validation: hostile: a host that is no name', clusters: { u: tls({ auto_sni: true, auto_san_validation: true }, { ...trusted, sni: 'a.test' }) }, upstreams: { u: tlsRaw(replies(ok())) }, send: 'GET / HTTP/1.1\r\nHost: a_.-test\r\n\r\n', view: t => t.split('\r\n')[0], viewUpstream: () => [] },
  { name: 'auto_san_validation: an address', clusters: { u: tls({ auto_san_validation: true }, trusted) }, upstreams: { u: tlsRaw(replies(ok())) }, send: 'GET / HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n' },
]);
