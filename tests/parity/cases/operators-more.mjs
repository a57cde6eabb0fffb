// Substitution operators of connections: ids, attempts, TLS, how they closed, local times; and those of formatter extensions.
import fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import { suite, req, router, toU, h2, h2upstream, tlsRaw, TYPE } from '../lib/suite.mjs';
import { replies, ok, sleep } from '../lib/raw.mjs';
import { h2request, h2ok } from '../lib/h2.mjs';

const file = name => fs.readFileSync(fileURLToPath(new URL(`../certs/${name}`, import.meta.url)));
const identity = name => ({ certificate_chain: { filename: `\${certs}/${name}.crt` }, private_key: { filename: `\${certs}/${name}.key` } });
/** One line an operator, so that a difference says which. */
const each = (...ops) => ({ log: { log_format: { text_format_source: { inline_string: `${ops.map(o => `${o.replace(/[({].*/s, '')}=%${o}%`).join('\n')}\n` } } }, logLines: ops.length });
const extended = (more, text) => ({ log: { log_format: { text_format_source: { inline_string: `${text}\n` }, ...more } } });
const json = (...ops) => ({ log: { log_format: { json_format: Object.fromEntries(ops.map((o, i) => [`${i} ${o}`, `%${o}%`])) } } });
const CONNECTION = ['UPSTREAM_CONNECTION_ID', 'UPSTREAM_CONNECTION_IDS_ATTEMPTED', 'UPSTREAM_HOSTS_ATTEMPTED', 'UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT', 'UPSTREAM_HOST_NAMES_ATTEMPTED', 'UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT',
  'UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID', 'UPSTREAM_SERVER_NAME', 'UPSTREAM_DETECTED_CLOSE_TYPE', 'UPSTREAM_LOCAL_CLOSE_REASON', 'DOWNSTREAM_DETECTED_CLOSE_TYPE', 'DOWNSTREAM_LOCAL_CLOSE_REASON', 'CONNECTION_TERMINATION_DETAILS', 'DOWNSTREAM_TRANSPORT_FAILURE_REASON', 'UPSTREAM_TRANSPORT_FAILURE_REASON', 'ROUTE_RESOLUTION_COUNT', 'DOWNSTREAM_HANDSHAKE_DURATION'];
const TLS = ['DOWNSTREAM_TLS_GROUP', 'DOWNSTREAM_HANDSHAKE_DURATION', 'DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256', 'DOWNSTREAM_PEER_ISSUER_SERIAL', 'UPSTREAM_TLS_GROUP', 'UPSTREAM_SERVER_NAME', 'DOWNSTREAM_TLS_VERSION'];
const POINTS = ['US_CX_BEG', 'US_CX_END', 'US_HS_END', 'DS_CX_BEG', 'DS_CX_END', 'DS_HS_BEG', 'DS_HS_END', 'DS_RX_HDR_END'];
/** Numbers of connections, and times, are not the same twice. */
const numbers = { viewLog: t => t.replace(/(CONNECTION_ID(?:S_ATTEMPTED)?(?:=|":"?)|DURATION=)-?\d+/g, (all, name) => /ID=0$|ID":0$/.test(all) ? all : `${name}N`) };
const points = { viewLog: t => t.replace(/=\d+/g, '=N') };
const retry = { match: { prefix: '/' }, route: { cluster: '$u', retry_policy: { retry_on: '5xx,connect-failure', num_retries: 2, retry_back_off: { base_interval: '0.001s' } } } };
const filter = (type, config) => ({ name: type.split('.')[0], typed_config: { '@type': `${TYPE}.extensions.filters.http.${type}`, ...config } });
const append = (key, value) => ({ ...filter('header_mutation.v3.HeaderMutation', { mutations: { request_mutations: [{ append: { header: { key, value } } }] } }), name: key });
const withoutQuery = { formatters: [{ name: 'f', typed_config: { '@type': `${TYPE}.extensions.formatter.req_without_query.v3.ReqWithoutQuery` } }] };
const two = script => ({ upstreams: { u: script, v: script }, clusters: { u: { lb_policy: 'ROUND_ROBIN', endpoints: ['u', 'v'] } }, routes: [{ ...retry, route: { ...retry.route, retry_policy: { ...retry.route.retry_policy, num_retries: 3 } } }] });
const server = names => ({ chains: f => [{ filters: [f], transport_socket: { name: 'envoy.transport_sockets.tls', typed_config: { '@type': `${TYPE}.extensions.transport_sockets.tls.v3.DownstreamTlsContext`,
  common_tls_context: { tls_certificates: [identity('people-server')], alpn_protocols: ['http/1.1'], validation_context: { trusted_ca: { filename: '${certs}/people-ca.crt' } } } } } }] });
const upstreamTls = { clusters: { u: { transport_socket: { name: 'envoy.transport_sockets.tls', typed_config: { '@type': `${TYPE}.extensions.transport_sockets.tls.v3.UpstreamTlsContext`, sni: 'a.test', common_tls_context: { tls_params: { tls_maximum_protocol_version: 'TLSv1_3' } } } } } }, upstreams: { u: tlsRaw(replies(ok())) } };
const ask = (who, maxVersion) => async ctx => { const c = await ctx.connect('main', { tls: { servername: 'a.test', maxVersion, ALPNProtocols: ['http/1.1'], ...(who && { key: file(`${who}.key`), cert: file(`${who}.crt`) }) } }); c.write(req('/')); return (await c.response()).head; };

export default [suite('operators-more', [
  { name: 'connection: of an answer', ...each(...CONNECTION), ...numbers, send: [req('/')] },
  { name: 'connection: as JSON', ...json(...CONNECTION), ...numbers, send: [req('/')] },
  { name: 'connection: none', ...each(...CONNECTION), ...numbers, routes: [], send: [req('/')] },
  { name: 'connection: not made', ...each(...CONNECTION), ...numbers, upstreams: { u: 'refuse' }, send: [req('/')] },
  { name: 'connection: three attempts', ...each(...CONNECTION), ...numbers, routes: [retry], upstreams: { u: replies('HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n') }, send: [req('/')] },
  { name: 'connection: three attempts without a connection', ...each(...CONNECTION), ...numbers, routes: [retry], upstreams: { u: 'refuse' }, send: [req('/')] },
  { name: 'attempts: two hosts that fail', ...each(...CONNECTION.slice(0, 6)), ...two(replies('HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n')), viewUpstream: () => [], viewLog: t => t.replace(/:[uv]/g, ':x').replace(/\d{2,}/g, 'N'), send: [req('/')] },
  { name: 'attempts: two hosts that refuse', ...each(...CONNECTION.slice(0, 6)), ...two('refuse'), viewLog: t => t.replace(/:[uv]/g, ':x'), send: [req('/')] },
  { name: 'connection: the upstream resets', ...each(...CONNECTION), ...numbers, upstreams: { u: async wire => { await wire.head(); await sleep(400); wire.reset(); } }, send: [req('/')] },
  { name: 'connection: the client resets', ...each(...CONNECTION), ...numbers, upstreams: { u: replies([1500, ok()]) }, client: async ctx => { const c = await ctx.connect(); c.write(req('/')); await ctx.sleep(400); c.reset(); await ctx.sleep(400); } },
  { name: 'connection: the client closes', ...each(...CONNECTION), ...numbers, upstreams: { u: replies([1500, ok()]) }, client: async ctx => { const c = await ctx.connect(); c.write(req('/')); await ctx.sleep(400); c.end(); await ctx.sleep(400); } },
  { name: 'connection: a head that is refused', ...each(...CONNECTION), ...numbers, send: ['GET / HTTP/1.1\r\nHost: a.test\r\nBad Name: 1\r\n\r\n'] },
  { name: 'connection: too late', ...each(...CONNECTION), ...numbers, routes: [{ match: { prefix: '/' }, route: { cluster: '$u', timeout: '0.3s' } }], upstreams: { u: replies([1500, ok()]) }, send: [req('/')] },
  { name: 'connection: HTTP/2 both ways', ...each(...CONNECTION), ...numbers, upstreams: { u: h2(h2ok()) }, clusters: { u: h2upstream() }, client: async ctx => h2request(await ctx.h2(), {}) },
  { name: 'tls: a certificate that is not trusted', ...each('DOWNSTREAM_TRANSPORT_FAILURE_REASON', 'UPSTREAM_TLS_GROUP', 'UPSTREAM_TLS_VERSION', 'UPSTREAM_SERVER_NAME', 'UPSTREAM_CONNECTION_ID'), clusters: { u: { transport_socket: { name: 'envoy.transport_sockets.tls', typed_config: { '@type': `${TYPE}.extensions.transport_sockets.tls.v3.UpstreamTlsContext`, sni: 'a.test', common_tls_context: { validation_context: { trusted_ca: { filename: '${certs}/people-ca.crt' } } } } } } }, upstreams: { u: tlsRaw(replies(ok())) }, send: [req('/')] },
  { name: 'connection: the upstream closes', ...each(...CONNECTION), ...numbers, upstreams: { u: async wire => { await wire.head(); await sleep(400); wire.socket.end(); } }, send: [req('/')] },
  { name: 'tls: both sides, TLS 1.3', ...server(), ...upstreamTls, ...each(...TLS), ...numbers, client: ask('jane') },
  { name: 'tls: TLS 1.2', ...server(), ...upstreamTls, ...each(...TLS), ...numbers, client: ask('jane', 'TLSv1.2') },
  { name: 'tls: none', ...each(...TLS), ...numbers, send: [req('/')] },
  { name: 'points: without TLS', ...each(...POINTS.flatMap(p => [`COMMON_DURATION(${p}:DS_TX_END:ms)`, `COMMON_DURATION(DS_RX_BEG:${p}:ms)`])), ...points, send: [req('/', '', 'body')] },
  { name: 'points: of TLS', ...server(), ...upstreamTls, ...each(...POINTS.flatMap(p => [`COMMON_DURATION(${p}:DS_TX_END:ms)`, `COMMON_DURATION(DS_RX_BEG:${p}:ms)`])), ...points, client: ask() },
  { name: 'points: without an upstream', routes: [], ...each(...POINTS.flatMap(p => [`COMMON_DURATION(${p}:DS_TX_END:ms)`, `COMMON_DURATION(DS_RX_BEG:${p}:ms)`])), ...points, send: [req('/')] },
  { name: 'local time', viewLog: t => t.replace(/\d{4}-\d\d-\d\dT[\d:.]+/g, 'T'), ...each('START_TIME_LOCAL', 'EMIT_TIME_LOCAL', 'START_TIME_LOCAL(%z %Z)', 'EMIT_TIME_LOCAL(%Ez)'), send: [req('/')] },
  { name: 'query: decoded', ...each('QUERY_PARAMS(DECODED)', 'QUERY_PARAMS(DECODED):5', 'QUERY_PARAMS(ORIG)'), send: [req('/a?x=1%20%41+%zz&b=2&x=%00%0A%0d%3C%7b%C3&c&=d&%41=e%')] },
  { name: 'query: decoded, hostile', ...json('QUERY_PARAMS(DECODED)'), send: [req('/a?b=%ff%22%0d%0aX&a=%2525&a=2&&')] },
  { name: 'query: decoded, none', ...each('QUERY_PARAMS(DECODED)'), send: [req('/a')] },
  { name: 'formatters: REQ_WITHOUT_QUERY', ...extended(withoutQuery, '%REQ_WITHOUT_QUERY(:path)%|%REQ_WITHOUT_QUERY(x-none?:path)%|%REQ_WITHOUT_QUERY(:path):3%|%REQ_WITHOUT_QUERY(x-none)%|%REQ_WITHOUT_QUERY%|%REQ_WITHOUT_QUERY(x-q)%|%REQ(:path)%'), send: [req('/abcdef?x=1?y', 'X-Q: ?only\r\n')] },
  { name: 'formatters: REQ_WITHOUT_QUERY as JSON', log: { log_format: { json_format: { a: '%REQ_WITHOUT_QUERY(:path)%', b: '%REQ_WITHOUT_QUERY(x-none)%', c: '<%REQ_WITHOUT_QUERY(x-q)%>' }, ...withoutQuery } }, send: [req('/a"b?x', 'X-Q: \xff"?\r\n')] },
  { name: 'formatters: METADATA needs none, and may have one', ...extended({ formatters: [{ name: 'm', typed_config: { '@type': `${TYPE}.extensions.formatter.metadata.v3.Metadata` } }] }, '%METADATA(ROUTE:r:k)%|%METADATA(CLUSTER:c)%'), routes: [{ ...toU, metadata: { filter_metadata: { r: { k: 'route' } } } }], send: [req('/')] },
  { name: 'formatters: in the body of a local reply', hcm: { local_reply_config: { body_format: { text_format_source: { inline_string: 'for %REQ_WITHOUT_QUERY(:path)%: %RESPONSE_CODE%' }, ...withoutQuery } } }, routes: [], send: [req('/a/b?c=d')] },
  { name: 'slow head: the stream begins with its first byte', viewLog: t => t.replace(/=\d+/g, n => n.slice(1) < 350 ? '=short' : '=long'), ...each('COMMON_DURATION(DS_RX_BEG:DS_RX_HDR_END:ms)', 'DURATION', 'REQUEST_DURATION', 'COMMON_DURATION(DS_RX_HDR_END:DS_TX_BEG:ms)'), send: ['GET / HTTP/1.1\r\nHost: a', 700, '.test\r\n\r\n'] },
  { name: 'upstream cluster: known before a filter answers', ...each('UPSTREAM_CLUSTER', 'UPSTREAM_CLUSTER_RAW', 'UPSTREAM_HOST', 'RESPONSE_CODE'), clusters: { u: { alt_stat_name: 'other' } }, hcm: { http_filters: [filter('buffer.v3.Buffer', { max_request_bytes: 2 }), router] }, send: [req('/', '', 'body')] },
  { name: 'upstream cluster: in a header that a filter adds', hcm: { http_filters: [append('x-c', '%UPSTREAM_CLUSTER%'), router] }, clusters: { u: { alt_stat_name: 'other' } }, send: [req('/')] },
  { name: 'upstream cluster: one that a filter changes', ...each('UPSTREAM_CLUSTER', 'UPSTREAM_CLUSTER_RAW'), hcm: { http_filters: [append('x-to', '$u'), append('x-c', '%UPSTREAM_CLUSTER%'), router] }, routes: [{ match: { prefix: '/' }, route: { cluster_header: 'x-to' } }], send: [req('/')] },
  { name: 'upstream cluster: unknown', ...each('UPSTREAM_CLUSTER', 'UPSTREAM_CLUSTER_RAW'), routes: [{ match: { prefix: '/' }, route: { cluster_header: 'x-to' } }], send: [req('/', 'X-To: none\r\n')] },
  { name: 'upstream cluster: none of a direct response', ...each('UPSTREAM_CLUSTER'), routes: [{ match: { prefix: '/' }, direct_response: { status: 200 } }], send: [req('/')] },
  { name: 'hostile: line breaks and NUL in a host that is rewritten', hcm: { http_filters: [filter('set_metadata.v3.Config', { metadata: [{ metadata_namespace: 'n', value: { crlf: 'a\r\nx-evil: 1', lf: 'a\nb', nul: 'a\0b' } }] }), router] }, routes: ['crlf', 'lf', 'nul'].map(k => ({ match: { prefix: `/${k}` }, route: { cluster: '$u', host_rewrite: `%DYNAMIC_METADATA(n:${k})%` } })), send: [req('/crlf'), { res: 1 }, req('/lf'), { res: 1 }, req('/nul')],
    differs: { id: 'headers-of-operators', envoy: t => t.includes('invalid header value for: :authority') && t.includes('upstream u: no connection'), plenipo: t => t.includes('HTTP/1.1 200 OK') && t.split('  host: a.test').length === 4 && !t.includes('x-evil') } },
]), suite('operators-more-refused', [
  { name: 'REQ_WITHOUT_QUERY without its formatter', ...each('REQ_WITHOUT_QUERY(:path)'), refused: 'REQ_WITHOUT_QUERY', send: [req('/')] },
  { name: 'REQ_WITHOUT_QUERY of three headers', ...extended(withoutQuery, '%REQ_WITHOUT_QUERY(a?b?c)%'), refused: 'a?b?c', send: [req('/')] },
  { name: 'START_TIME_LOCAL with a length', ...each('START_TIME_LOCAL:5'), refused: 'START_TIME_LOCAL', send: [req('/')] },
  { name: 'UPSTREAM_CONNECTION_ID with an argument', ...each('UPSTREAM_CONNECTION_ID(1)'), refused: 'UPSTREAM_CONNECTION_ID', send: [req('/')] },
  { name: 'START_TIME_LOCAL with a line break', ...each('START_TIME_LOCAL(%n)'), refused: 'line', send: [req('/')] },
], { alone: true })];
