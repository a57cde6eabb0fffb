// Which protocol a host is spoken to where a cluster leaves that open: use_downstream_protocol_config and auto_config.
import { suite, req, TYPE } from '../lib/suite.mjs';
import { RawUpstream, replies, ok, sleep } from '../lib/raw.mjs';
import { h2request, h2ok, h2answer, H2Upstream } from '../lib/h2.mjs';
import fs from 'node:fs';

const CERTS = new URL('../certs', import.meta.url).pathname;
const log = { log: { log_format: { text_format_source: { inline_string: '%PROTOCOL% %UPSTREAM_PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS%\n' } } } };
const OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
const options = o => ({ typed_extension_protocol_options: { [OPTIONS]: { '@type': `type.googleapis.com/${OPTIONS}`, ...o } } });
const downstream = (o = {}) => options({ use_downstream_protocol_config: o });
const auto = (o = {}) => options({ auto_config: o });
const tls = (extra = {}) => ({ transport_socket: { name: 'envoy.transport_sockets.tls', typed_config: { '@type': `${TYPE}.extensions.transport_sockets.tls.v3.UpstreamTlsContext`, ...extra } } });
const server = extra => ({ key: fs.readFileSync(`${CERTS}/server.key`), cert: fs.readFileSync(`${CERTS}/server.crt`), ...extra });
const https1 = (script, alpn) => ({ make: () => new RawUpstream(script, { tls: server(alpn && { ALPNProtocols: alpn }) }) });
const https2 = (handler = h2ok()) => ({ make: () => new H2Upstream(handler, { tls: server() }) });
const get = async ctx => h2request(await ctx.h2(), { ':method': 'GET' });
const post = async ctx => h2request(await ctx.h2(), { ':method': 'POST' }, { body: 'hello', trailers: { 'x-t': '1' } });
const codecs = { stats: [/ID_u\.(upstream_cx_http[12]_total|upstream_rq_total)/] };
const together = n => async ctx => { const s = await ctx.h2(); return Promise.all(Array.from({ length: n }, () => h2request(s, { ':method': 'GET' }).then(r => r.body))); };
const slow = https2(async stream => { await sleep(150); h2answer(stream); });

export default [suite('upstream-choice', [
  { name: 'downstream protocol: HTTP/1.1 goes on as HTTP/1.1', clusters: { u: downstream() }, send: [req('/')], ...log, ...codecs },
  { name: 'downstream protocol: HTTP/1.0 goes on as HTTP/1.1', hcm: { http_protocol_options: { accept_http_10: true } }, clusters: { u: downstream() }, send: ['GET / HTTP/1.0\r\nHost: a.test\r\n\r\n'], ...log },
  { name: 'downstream protocol: HTTP/2 goes on as HTTP/2', clusters: { u: downstream({ http2_protocol_options: {} }) }, upstreams: { u: { make: () => new H2Upstream() } }, client: get, ...log, ...codecs },
  { name: 'downstream protocol: HTTP/2 goes on as HTTP/2 where its options are not named', clusters: { u: downstream() }, upstreams: { u: { make: () => new H2Upstream() } }, client: post, ...log },
  { name: 'downstream protocol: HTTP/2 to a host that does not speak it', clusters: { u: downstream() }, upstreams: { u: replies(ok()) }, client: async ctx => (await get(ctx)).headers.filter(([n]) => n === ':status'), viewUpstream: () => [] },
  { name: 'downstream protocol: options of HTTP/1', clusters: { u: downstream({ http_protocol_options: { header_key_format: { proper_case_words: {} } } }) }, send: [req('/', 'x-some-name: 1\r\n')] },
  { name: 'downstream protocol: both over one cluster with TLS', clusters: { u: { ...downstream(), ...tls() } }, upstreams: { u: https2() }, client: get, ...log },
  { name: 'downstream protocol: HTTP/1.1 over TLS', clusters: { u: { ...downstream(), ...tls() } }, upstreams: { u: https1(replies(ok()), ['http/1.1', 'h2']) }, send: [req('/')], ...log },
  { name: 'auto: the host chooses HTTP/2', clusters: { u: { ...auto(), ...tls() } }, upstreams: { u: https2() }, send: [req('/'), { res: 1 }, req('/2')], ...log, ...codecs },
  { name: 'auto: the host chooses HTTP/1.1', clusters: { u: { ...auto(), ...tls() } }, upstreams: { u: https1(replies(ok(), ok()), ['http/1.1']) }, send: [req('/'), { res: 1 }, req('/2')], ...log, ...codecs },
  { name: 'auto: the host knows no ALPN', clusters: { u: { ...auto(), ...tls() } }, upstreams: { u: https1(replies(ok(), ok())) }, send: [req('/')], ...log, ...codecs },
  { name: 'auto: a connection counts once', clusters: { u: { ...auto(), ...tls() } }, upstreams: { u: https2() }, send: [req('/')], stats: [/ID_u\.upstream_cx_total/],
    differs: { id: 'auto-cx-total', envoy: t => t.includes('upstream_cx_total: 2'), plenipo: t => t.includes('upstream_cx_total: 1') } },
  { name: 'auto: HTTP/2 clients too', clusters: { u: { ...auto(), ...tls() } }, upstreams: { u: https1(replies(ok()), ['http/1.1']) }, client: get, ...log },
  { name: 'auto: alpn_protocols of the context count more', clusters: { u: { ...auto(), ...tls({ common_tls_context: { alpn_protocols: ['http/1.1'] } }) } }, upstreams: { u: https1(replies(ok()), ['h2', 'http/1.1']) }, send: [req('/')], ...log },
  { name: 'auto: options of HTTP/1', clusters: { u: { ...auto({ http_protocol_options: { header_key_format: { proper_case_words: {} } } }), ...tls() } }, upstreams: { u: https1(replies(ok()), ['http/1.1']) }, send: [req('/', 'x-some-name: 1\r\n')] },
  { name: 'auto: later requests share a connection of HTTP/2', clusters: { u: { ...auto(), ...tls() } }, upstreams: { u: slow }, client: async ctx => { await get(ctx); return together(5)(ctx); }, viewUpstream: saw => ({ sessions: saw.sessions, requests: [] }) },
  { name: 'auto: connections of HTTP/1.1 are limited', clusters: { u: { ...auto(), ...tls(), circuit_breakers: { thresholds: [{ max_connections: 1 }] } } }, upstreams: { u: https1(async wire => { for (let i = 0; i < 3; i++) { await wire.head(); await sleep(50); wire.write(ok()); } }, ['http/1.1']) }, client: together(3), viewUpstream: () => [] },
  { name: 'auto: the handshake fails', clusters: { u: { ...auto(), ...tls() } }, upstreams: { u: replies(ok()) }, client: async ctx => (await get(ctx)).headers.filter(([n]) => n === ':status'), viewUpstream: () => [] },
]), suite('upstream-choice-refused', [
  { name: 'auto: without TLS', clusters: { u: auto() }, refused: 'auto_config', send: [req('/')] },
])];
