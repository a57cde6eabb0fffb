// Substitution operators: metadata, filter state; in text and JSON logs, in headers, with lengths, and with hostile values.
import fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import { suite, req, toU, tlsRaw, TYPE } from '../lib/suite.mjs';
import { replies, ok } from '../lib/raw.mjs';

const inline = s => ({ text_format_source: { inline_string: s } });
const text = (s, extra = {}) => ({ log: { log_format: { ...inline(`${s}\n`), ...extra } } });
const json = (o, extra = {}) => ({ log: { log_format: { json_format: o, ...extra } } });
const router = { name: 'router', typed_config: { '@type': `${TYPE}.extensions.filters.http.router.v3.Router` } };
const setMetadata = (...metadata) => ({ name: 'md', typed_config: { '@type': `${TYPE}.extensions.filters.http.set_metadata.v3.Config`, metadata } });
const entry = (metadata_namespace, value, allow_overwrite = false) => ({ metadata_namespace, value, allow_overwrite });
const setState = (values, more = {}) => ({ name: 'fs', typed_config: { '@type': `${TYPE}.extensions.filters.http.set_filter_state.v3.Config`, on_request_headers: values, ...more } });
const state = (object_key, format, more = {}) => ({ object_key, factory_key: 'envoy.string', format_string: inline(format), ...more });
const addHeader = (key, value) => ({ name: 'hm', typed_config: { '@type': `${TYPE}.extensions.filters.http.header_mutation.v3.HeaderMutation`, mutations: { request_mutations: [{ append: { header: { key, value } } }] } } });
const chain = (...filters) => ({ hcm: { http_filters: [...filters, router] } });

const file = name => fs.readFileSync(fileURLToPath(new URL(`../certs/${name}`, import.meta.url)));
const identity = name => ({ certificate_chain: { filename: `\${certs}/${name}.crt` }, private_key: { filename: `\${certs}/${name}.key` } });
const mutual = { chains: f => [{ name: 'the-chain', metadata: { filter_metadata: { fc: { k: 'chain' } } }, filters: [f], transport_socket: { name: 'envoy.transport_sockets.tls', typed_config: { '@type': `${TYPE}.extensions.transport_sockets.tls.v3.DownstreamTlsContext`,
  common_tls_context: { tls_certificates: [identity('people-server')], alpn_protocols: ['http/1.1'], validation_context: { trusted_ca: { filename: '${certs}/people-ca.crt' } } } } } }] };
const upstreamTls = { clusters: { u: { transport_socket: { name: 'envoy.transport_sockets.tls', typed_config: { '@type': `${TYPE}.extensions.transport_sockets.tls.v3.UpstreamTlsContext`, sni: 'a.test', common_tls_context: { tls_params: { tls_minimum_protocol_version: 'TLSv1_3', tls_maximum_protocol_version: 'TLSv1_3' }, tls_certificates: [identity('jane')] } } } } }, upstreams: { u: tlsRaw(replies(ok()), { minVersion: 'TLSv1.3' }) } };
const askAs = who => async ctx => { const c = await ctx.connect('main', { tls: { servername: 'a.test', minVersion: 'TLSv1.3', ALPNProtocols: ['http/1.1'], ...(who && { key: file(`${who}.key`), cert: file(`${who}.crt`) }) } }); c.write(req('/')); return (await c.response()).head; };
/** One line an operator, so that a difference says which. */
const each = (...ops) => ({ ...text(ops.map(o => `${o.replace(/[({].*/s, '')}=%${o}%`).join('\n')), logLines: ops.length });
const PEER = ['SUBJECT', 'ISSUER', 'SERIAL', 'FINGERPRINT_1', 'FINGERPRINT_256', 'CERT', 'CERT_V_START', 'CERT_V_END', 'CERT_V_START(%Y-%m-%d)', 'CERT_V_END(%s)', 'DNS_SAN', 'URI_SAN', 'IP_SAN', 'EMAIL_SAN', 'CHAIN_FINGERPRINTS_1', 'CHAIN_FINGERPRINTS_256', 'CHAIN_SERIALS'].map(f => `DOWNSTREAM_PEER_${f}`);
const LOCAL = ['SUBJECT', 'DNS_SAN', 'URI_SAN', 'IP_SAN', 'EMAIL_SAN'].map(f => `DOWNSTREAM_LOCAL_${f}`);
const UPSTREAM = ['UPSTREAM_TLS_VERSION', 'UPSTREAM_TLS_CIPHER', ...['SUBJECT', 'ISSUER', 'CERT', 'CERT_V_START', 'CERT_V_END(%Y)', 'DNS_SAN', 'URI_SAN', 'IP_SAN'].map(f => `UPSTREAM_PEER_${f}`), 'UPSTREAM_LOCAL_DNS_SAN', 'UPSTREAM_LOCAL_URI_SAN', 'UPSTREAM_LOCAL_IP_SAN'];
const ATTEMPT = ['UPSTREAM_HOST_NAME', 'UPSTREAM_HOST_NAME_WITHOUT_PORT', 'UPSTREAM_CLUSTER', 'UPSTREAM_CLUSTER_RAW', 'UPSTREAM_CONNECTION_POOL_READY_DURATION', 'UPSTREAM_TLS_VERSION', 'UPSTREAM_PEER_SUBJECT', 'UPSTREAM_FILTER_STATE(a)', 'UPSTREAM_REQUEST_ATTEMPT_COUNT', 'UPSTREAM_REMOTE_ADDRESS'];
const PLAIN = ['ACCESS_LOG_TYPE', 'BYTES_RETRANSMITTED', 'PACKETS_RETRANSMITTED', 'CONNECTION_TERMINATION_DETAILS', 'CUSTOM_FLAGS', 'FILTER_CHAIN_NAME', 'LISTENER_NAME', 'ROUNDTRIP_DURATION', 'SPAN_ID', 'TRACE_ID', 'STREAM_ID', 'VIRTUAL_CLUSTER_NAME', 'DOWNSTREAM_TRANSPORT_FAILURE_REASON', 'DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID', 'DOWNSTREAM_PEER_SUBJECT', 'DOWNSTREAM_LOCAL_SUBJECT',
  'REQUEST_HEADER(x-a?x-b)', 'RESPONSE_HEADER(server):3', 'RESPONSE_TRAILER(a)', 'QUERY_PARAMS', 'QUERY_PARAMS(ORIG)', 'QUERY_PARAMS(ORIG):12', 'PATH', 'PATH(NQ)', 'PATH(WQ:PATH)', 'PATH(NQ:ORIG)', 'PATH(NQ:ORIG_OR_PATH):2', 'QUERY_PARAM(b)', 'QUERY_PARAM(none)', 'COMMON_DURATION(DS_RX_BEG:no-such)', 'COMMON_DURATION(US_RX_END:DS_RX_BEG:ns)'];
const co = (...operators) => `COALESCE(${JSON.stringify({ operators })})`;
const ready = { viewLog: t => t.replace(/(POOL_READY_DURATION=)\d+/, '$1N') };
const number = t => t.replace(/=\d+/g, '=N');

const md = chain(setMetadata(entry('n', { s: 'text', n: 1.5, i: 7, big: 1e21, t: true, z: null, o: { b: 'x"\n', a: [1, 'two', { c: null }] }, l: ['a'], e: '' }), entry('m', { k: 'v' })));
const withHost = { clusters: { u: { metadata: { filter_metadata: { c: { k: 'cluster', o: { p: 1 } } } },
  endpoints: [{ endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: '${port:u}' } } }, metadata: { filter_metadata: { h: { k: 'host', o: [1, 2] } } } }] } },
  vhosts: [{ name: 'v', domains: ['*'], metadata: { filter_metadata: { v: { k: 'vhost' } } }, routes: [{ ...toU, metadata: { filter_metadata: { r: { k: 'route', b: false } } } }] }] };

export default [suite('operators', [
  { name: 'metadata: DYNAMIC_METADATA of every kind as text', ...md, ...text('%DYNAMIC_METADATA(n:s)%|%DYNAMIC_METADATA(n:n)%|%DYNAMIC_METADATA(n:i)%|%DYNAMIC_METADATA(n:big)%|%DYNAMIC_METADATA(n:t)%|%DYNAMIC_METADATA(n:z)%|%DYNAMIC_METADATA(n:o)%|%DYNAMIC_METADATA(n:o:b)%|%DYNAMIC_METADATA(n:o:a)%|%DYNAMIC_METADATA(n:l)%|%DYNAMIC_METADATA(n:e)%|%DYNAMIC_METADATA(m)%|%DYNAMIC_METADATA(none)%|%DYNAMIC_METADATA(n:none)%|%DYNAMIC_METADATA(n:s:deeper)%'), send: [req('/')] },
  { name: 'metadata: DYNAMIC_METADATA of every kind as JSON', ...md, ...json({ s: '%DYNAMIC_METADATA(n:s)%', n: '%DYNAMIC_METADATA(n:n)%', t: '%DYNAMIC_METADATA(n:t)%', z: '%DYNAMIC_METADATA(n:z)%', o: '%DYNAMIC_METADATA(n:o)%', l: '%DYNAMIC_METADATA(n:l)%', e: '%DYNAMIC_METADATA(n:e)%', all: '%DYNAMIC_METADATA(n)%', none: '%DYNAMIC_METADATA(n:none)%', mixed: '<%DYNAMIC_METADATA(n:o)%>' }), send: [req('/')] },
  { name: 'metadata: lengths', ...md, ...text('%DYNAMIC_METADATA(n:s):2%|%DYNAMIC_METADATA(n:o):4%|%DYNAMIC_METADATA(n):3%|%DYNAMIC_METADATA(n:n):1%|%DYNAMIC_METADATA(n:s):0%'), send: [req('/')] },
  { name: 'metadata: lengths in JSON', ...md, ...json({ s: '%DYNAMIC_METADATA(n:s):2%', o: '%DYNAMIC_METADATA(n:o):4%' }), send: [req('/')] },
  { name: 'metadata: omit_empty_values', ...md, ...json({ z: '%DYNAMIC_METADATA(n:z)%', none: '%DYNAMIC_METADATA(x:y)%', s: '%DYNAMIC_METADATA(n:s)%', mixed: 'a%DYNAMIC_METADATA(x:y)%b' }, { omit_empty_values: true }), send: [req('/')] },
  { name: 'metadata: merged where it may be overwritten', ...chain(setMetadata(entry('n', { a: 1, o: { x: 1 }, l: [1], k: 'x' }), entry('n', { a: 2, o: { y: 2 }, l: [2], k: { z: 1 } }, true), entry('n', { a: 9 }))), ...text('%DYNAMIC_METADATA(n)%'), send: [req('/')] },
  { name: 'metadata: the deprecated fields', ...chain({ name: 'md', typed_config: { '@type': `${TYPE}.extensions.filters.http.set_metadata.v3.Config`, metadata_namespace: 'old', value: { a: 1 }, metadata: [entry('old', { a: 2 })] } }), ...text('%DYNAMIC_METADATA(old:a)%'), send: [req('/')] },
  { name: 'metadata: in headers both ways', ...md, routes: [{ ...toU, request_headers_to_add: [{ header: { key: 'x-s', value: 'a%DYNAMIC_METADATA(n:s)%b' } }, { header: { key: 'x-o', value: '%DYNAMIC_METADATA(n:o)%' } }, { header: { key: 'x-none', value: '%DYNAMIC_METADATA(n:none)%' } }], response_headers_to_add: [{ header: { key: 'x-n', value: '%DYNAMIC_METADATA(n:n)%' } }, { header: { key: 'x-z', value: '%DYNAMIC_METADATA(n:z)%' } }] }], send: [req('/')] },
  { name: 'metadata: of route, virtual host, cluster and host', ...withHost, ...text('%METADATA(ROUTE:r:k)%|%METADATA(ROUTE:r:b)%|%METADATA(VIRTUAL_HOST:v:k)%|%METADATA(CLUSTER:c:k)%|%METADATA(UPSTREAM_HOST:h:k)%|%CLUSTER_METADATA(c:o:p)%|%UPSTREAM_METADATA(h:o)%|%UPSTREAM_METADATA(h)%|%METADATA(DYNAMIC:n:a)%|%METADATA(ROUTE:none)%|%METADATA(ROUTE:r)%|%METADATA(LISTENER:l:k)%'), listener: { metadata: { filter_metadata: { l: { k: 'listener' } } } }, send: [req('/')] },
  { name: 'metadata: none where there is no route or host', routes: [], ...text('%METADATA(ROUTE:r:k)%|%METADATA(CLUSTER:c:k)%|%METADATA(UPSTREAM_HOST:h:k)%|%CLUSTER_METADATA(c)%|%UPSTREAM_METADATA(h)%'), send: [req('/')] },
  { name: 'filter state: PLAIN, TYPED, FIELD and none', ...chain(setState([state('a', 'v-%REQ(x-a)%'), state('b', 'q"%REQ(x-none)%')])), ...text('%FILTER_STATE(a)%|%FILTER_STATE(a:PLAIN)%|%FILTER_STATE(a:TYPED)%|%FILTER_STATE(a:FIELD:x)%|%FILTER_STATE(none)%|%FILTER_STATE(b:PLAIN)%|%FILTER_STATE(b)%|%FILTER_STATE(a:PLAIN):3%|%FILTER_STATE(a):3%'), send: [req('/', 'X-A: 1\r\n')] },
  { name: 'filter state: as JSON', ...chain(setState([state('a', 'v%REQ(x-a)%')])), ...json({ typed: '%FILTER_STATE(a)%', plain: '%FILTER_STATE(a:PLAIN)%', none: '%FILTER_STATE(b:PLAIN)%', cut: '%FILTER_STATE(a:PLAIN):1%' }), send: [req('/', 'X-A: "\t\xff\r\n')] },
  { name: 'filter state: skip_if_empty, the last one counts, read_only', ...chain(setState([state('a', '1'), state('a', '2', { read_only: true }), state('a', '%REQ(x-none)%', { skip_if_empty: true }), state('b', '%REQ(x-none)%'), state('c', '1', { read_only: true }), state('c', '2'), { object_key: 'envoy.string', format_string: inline('s') }])), ...text('%FILTER_STATE(a:PLAIN)%|%FILTER_STATE(b:PLAIN)%|%FILTER_STATE(c:PLAIN)%|%FILTER_STATE(envoy.string:PLAIN)%'), send: [req('/')] },
  { name: 'filter state: of a route after that of the chain', ...chain(setState([state('a', 'chain'), state('b', 'chain')])), routes: [{ ...toU, typed_per_filter_config: { fs: setState([state('a', 'route')]).typed_config } }], ...text('%FILTER_STATE(a:PLAIN)%|%FILTER_STATE(b:PLAIN)%'), send: [req('/')] },
  { name: 'filter state: clear_route_cache chooses the route anew', ...chain(addHeader('x-h', '1'), setState([state('a', '1')], { clear_route_cache: true })), routes: [{ match: { prefix: '/', headers: [{ name: 'x-h', present_match: true }] }, direct_response: { status: 201 } }, toU], send: [req('/')] },
  { name: 'filter state: without clear_route_cache the route stays', ...chain(addHeader('x-h', '1'), setState([state('a', '1')])), routes: [{ match: { prefix: '/', headers: [{ name: 'x-h', present_match: true }] }, direct_response: { status: 201 } }, toU], send: [req('/')] },
  { name: 'filter state: hostile bytes go to an upstream only where a header may have them', ...chain(setState([state('a', '%REQ(x-a)%')])), routes: [{ ...toU, request_headers_to_add: [{ header: { key: 'x-b', value: '%FILTER_STATE(a:PLAIN)%' } }] }], send: [req('/', 'X-A: a\tb\xff"\r\n')] },
  { name: 'connection: without TLS', ...each(...PLAIN), routes: [{ match: { prefix: '/a' }, route: { cluster: '$u', prefix_rewrite: '/z' } }], send: [req('/a/p?x=1%20%41+%zz&b=2', 'X-B: v\r\n')] },
  { name: 'connection: as JSON', ...json(Object.fromEntries(PLAIN.map((o, i) => [`${i}`, `%${o}%`]))), send: [req('/a?b', 'X-A: v\r\n')] },
  { name: 'upstream: of an answer', ...each(...ATTEMPT), ...ready, send: [req('/')] },
  { name: 'upstream: a host with a name', ...each(...ATTEMPT), ...ready, clusters: { u: { alt_stat_name: 'other', endpoints: [{ endpoint: { hostname: 'host.test:81', address: { socket_address: { address: '127.0.0.1', port_value: '${port:u}' } } } }] } }, send: [req('/')] },
  { name: 'upstream: none', ...each(...ATTEMPT), ...ready, routes: [], send: [req('/')] },
  { name: 'upstream: a connection that is not made', ...each(...ATTEMPT), ...ready, upstreams: { u: 'refuse' }, send: [req('/')] },
  { name: 'tls: a client with a certificate', ...mutual, ...each(...PEER, ...LOCAL, 'DOWNSTREAM_TLS_VERSION', 'REQUESTED_SERVER_NAME', 'FILTER_CHAIN_NAME', 'METADATA(LISTENER_FILTER_CHAIN:fc:k)'), client: askAs('jane') },
  { name: 'tls: a client without one', ...mutual, ...each(...PEER, ...LOCAL), client: askAs() },
  { name: 'tls: a certificate with little in it', ...mutual, ...each(...PEER), client: askAs('nobody') },
  { name: 'tls: in headers upstream', ...mutual, routes: [{ ...toU, request_headers_to_add: [{ header: { key: 'x-s', value: '%DOWNSTREAM_PEER_SUBJECT%' } }, { header: { key: 'x-u', value: '%DOWNSTREAM_PEER_URI_SAN%' } }, { header: { key: 'x-v', value: '%DOWNSTREAM_TLS_VERSION%' } }] }], client: askAs('jane') },
  { name: 'tls: upstream', ...upstreamTls, ...each(...UPSTREAM), send: [req('/')] },
  { name: 'duration: every pair is a number', ...each(...['DS_RX_END', 'US_TX_BEG', 'US_TX_END', 'US_RX_BEG', 'US_RX_END', 'DS_TX_BEG', 'DS_TX_END'].map(m => `COMMON_DURATION(DS_RX_BEG:${m}:us)`), 'REQUEST_TX_DURATION', 'RESPONSE_TX_DURATION', 'DURATION'), viewLog: number, send: [req('/', '', 'body')] },
  { name: 'duration: what was never', ...each(...['US_TX_BEG', 'US_TX_END', 'US_RX_BEG', 'US_RX_END'].map(m => `COMMON_DURATION(DS_RX_BEG:${m}:ms)`), 'REQUEST_TX_DURATION', 'RESPONSE_TX_DURATION'), routes: [{ match: { prefix: '/' }, direct_response: { status: 200 } }], send: [req('/')] },
  { name: 'unique id: another each time', ...text('%UNIQUE_ID% %UNIQUE_ID%'), send: [req('/')] },
  { name: 'coalesce: the first that is there', ...text(['x-none', 'x-empty', 'x-a'].map((n, i, all) => `%${co(...all.slice(i).map(param => ({ command: 'REQ', param })))}%`).join('|')), send: [req('/', 'X-A: aaaa\r\nX-Empty:\r\n')] },
  { name: 'coalesce: names, lengths, nothing', ...text([`%${co('PROTOCOL')}%`, `%${co({ command: 'REQ', param: 'x-none' }, 'RESPONSE_CODE')}%`, `%${co({ command: 'REQ', param: 'x-a', max_length: 2 })}%`, `%${co({ command: 'REQ', param: 'x-a' })}:3%`, `%${co({ command: 'REQ', param: 'x-none' }, 'UPSTREAM_TLS_VERSION')}%`].join('|')), send: [req('/', 'X-A: aaaa\r\n')] },
  { name: 'coalesce: within another', ...text(`%${co({ command: 'COALESCE', param: JSON.stringify({ operators: [{ command: 'REQ', param: 'x-none' }, 'PROTOCOL'] }) }, 'RESPONSE_CODE')}%`), send: [req('/')] },
  { name: 'coalesce: as JSON', ...json({ a: `%${co({ command: 'REQ', param: 'x-none' }, 'RESPONSE_CODE')}%`, b: `%${co({ command: 'REQ', param: 'x-none' })}%` }), send: [req('/')] },
  { name: 'coalesce: in a header', routes: [{ ...toU, request_headers_to_add: [{ header: { key: 'x-c', value: `%${co({ command: 'REQ', param: 'x-none' }, { command: 'REQ', param: ':path' })}%` } }] }], send: [req('/p')] },
  { name: 'grpc status: forms of what is none', ...text('%GRPC_STATUS%|%GRPC_STATUS(SNAKE_STRING)%|%GRPC_STATUS(NUMBER)%|%GRPC_STATUS_NUMBER%'), upstreams: { u: replies(...['99', '-1', 'x', '5', ''].map(n => `HTTP/1.1 200 OK\r\ngrpc-status: ${n}\r\ncontent-length: 0\r\n\r\n`)) }, send: [1, 2, 3, 4, 5].flatMap(() => [req('/', 'Content-Type: application/grpc\r\n'), { res: 1 }]), logLines: 5 },
  { name: 'hostile: line breaks and NUL of metadata in headers', ...chain(setMetadata(entry('n', { crlf: 'a\r\nx-evil: 1', lf: 'a\nb', nul: 'a\0b', ok: 'fine' }))), routes: [{ ...toU, request_headers_to_add: ['crlf', 'lf', 'nul', 'ok'].map(k => ({ header: { key: `x-${k}`, value: `%DYNAMIC_METADATA(n:${k})%` } })), response_headers_to_add: [{ header: { key: 'x-r', value: '%DYNAMIC_METADATA(n:crlf)%' } }] }], send: [req('/')],
    differs: { id: 'headers-of-operators', envoy: t => t.includes('invalid header value for: x-crlf') && t.includes('x-evil: 1'), plenipo: t => t.includes('HTTP/1.1 200 OK') && t.includes('x-ok: fine') && !/x-(evil|lf|nul|crlf|r):/.test(t) } },
]), suite('operators-refused', [
  { name: 'COALESCE of no JSON', ...text('%COALESCE(x)%'), refused: 'COALESCE', send: [req('/')] },
  { name: 'COALESCE of nothing', ...text('%COALESCE({"operators":[]})%'), refused: 'COALESCE', send: [req('/')] },
  { name: 'METADATA of nobody', ...text('%METADATA(NOBODY:a)%'), refused: 'NOBODY', send: [req('/')] },
  { name: 'COMMON_DURATION in hours', ...text('%COMMON_DURATION(DS_RX_BEG:DS_TX_END:h)%'), refused: 'precision', send: [req('/')] },
  { name: 'FILTER_STATE in no known form', ...text('%FILTER_STATE(a:JSON)%'), refused: 'PLAIN/TYPED/FIELD', send: [req('/')] },
  { name: 'PATH of another kind', ...text('%PATH(WQ:X)%'), refused: 'PATH', send: [req('/')] },
  { name: 'filter state: an object without a factory', ...chain(setState([{ object_key: 'no.such', format_string: inline('x') }])), refused: 'no.such', send: [req('/')] },
], { alone: true })];
