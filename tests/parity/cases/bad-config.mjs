// Configurations that Envoy refuses: plenipo must refuse them too, with exit status 1, naming what is wrong; and quirks that both accept.
import { suite, req, toU, router, TYPE } from '../lib/suite.mjs';

const all = { prefix: '/' };
const route = r => ({ routes: [{ match: all, ...r }] });
const bad = (name, mention, parts) => ({ name: `refused: ${name}`, refused: mention, send: [], ...parts });
const tls = (cert, key) => f => [{ filters: [f], transport_socket: { name: 'envoy.transport_sockets.tls', typed_config: { '@type': `${TYPE}.extensions.transport_sockets.tls.v3.DownstreamTlsContext`, common_tls_context: { tls_certificates: [{ certificate_chain: { filename: `\${certs}/${cert}` }, private_key: { filename: `\${certs}/${key}` } }] } } } }];

export default suite('bad-config', [
  bad('unknown field in a listener', 'no_such_field', { listener: { no_such_field: 1 } }),
  bad('unknown field in a route', 'clustre', { routes: [{ match: all, route: { clustre: '$u' } }] }),
  bad('unknown field deep in an Any', 'codec_typo', { hcm: { codec_typo: 'AUTO' } }),
  bad('string where a message belongs', 'connect_timeout', { clusters: { u: { connect_timeout: 'soon' } } }),
  bad('negative duration', 'connect_timeout', { clusters: { u: { connect_timeout: '-1s' } } }),
  bad('unknown enum value', 'lb_policy', { clusters: { u: { lb_policy: 'BEST' } } }),
  bad('unknown @type', 'NoSuchThing', { hcm: { http_filters: [{ name: 'x', typed_config: { '@type': `${TYPE}.extensions.filters.http.NoSuchThing` } }, router] } }),
  bad('a route to a cluster that is not there', 'nowhere', route({ route: { cluster: 'nowhere' } })),
  bad('no route action', 'routes[0]', { routes: [{ match: all }] }),
  bad('no path in a match', 'match', { routes: [{ match: {}, route: { cluster: '$u' } }] }),
  bad('an invalid regex', 'regex', { routes: [{ match: { safe_regex: { regex: '/(a' } }, route: { cluster: '$u' } }] }),
  bad('a lookahead, which RE2 has not', 'regex', { routes: [{ match: { safe_regex: { regex: '/(?=a)' } }, route: { cluster: '$u' } }] }),
  bad('two virtual hosts of one domain', 'a.test', { vhosts: [{ name: 'v1', domains: ['a.test'], routes: [toU] }, { name: 'v2', domains: ['a.test'], routes: [toU] }] }),
  bad('a virtual host without domains', 'domains', { vhosts: [{ name: 'v1', domains: [], routes: [toU] }] }),
  bad('two virtual hosts for *', 'wildcard', { vhosts: [{ name: 'v1', domains: ['*'], routes: [toU] }, { name: 'v2', domains: ['*'], routes: [toU] }] }),
  bad('weights of which the sum is 0', 'weight', route({ route: { weighted_clusters: { clusters: [{ name: '$u', weight: 0 }] } } })),
  bad('prefix_rewrite together with regex_rewrite', 'rewrite', route({ route: { cluster: '$u', prefix_rewrite: '/a', regex_rewrite: { pattern: { regex: 'a' }, substitution: 'b' } } })),
  bad('adding a pseudo-header', 'request_headers_to_add[0].header.key', route({ route: { cluster: '$u' }, request_headers_to_add: [{ header: { key: ':path', value: '/x' } }] })),
  bad('removing host', 'host', route({ route: { cluster: '$u' }, request_headers_to_remove: ['host'] })),
  bad('a header value with CRLF', 'value', route({ route: { cluster: '$u' }, request_headers_to_add: [{ header: { key: 'x-a', value: 'a\r\nb: c' } }] })),
  bad('a header name with a space', 'key', route({ route: { cluster: '$u' }, request_headers_to_add: [{ header: { key: 'x a\r\n', value: 'a' } }] })),
  bad('an unknown substitution operator', 'NOT_THERE', route({ route: { cluster: '$u' }, request_headers_to_add: [{ header: { key: 'x-a', value: '%NOT_THERE%' } }] })),
  bad('an unclosed substitution operator', 'request_headers_to_add[0].header.value', route({ route: { cluster: '$u' }, request_headers_to_add: [{ header: { key: 'x-a', value: '%REQ(x' } }] })),
  bad('no terminal filter', 'http_filters', { hcm: { http_filters: [{ name: 'envoy.filters.http.buffer', typed_config: { '@type': `${TYPE}.extensions.filters.http.buffer.v3.Buffer`, max_request_bytes: 5 } }] } }),
  bad('a filter behind the router', 'router', { hcm: { http_filters: [router, { name: 'envoy.filters.http.buffer', typed_config: { '@type': `${TYPE}.extensions.filters.http.buffer.v3.Buffer`, max_request_bytes: 5 } }] } }),
  bad('STATIC with a host name', 'nice.test', { clusters: { u: { endpoints: [{ endpoint: { address: { socket_address: { address: 'nice.test', port_value: 80 } } } }] } } }),
  bad('a port out of range', 'port_value', { clusters: { u: { endpoints: [{ endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: 70000 } } } }] } } }),
  bad('LOGICAL_DNS with two endpoints', 'LOGICAL_DNS', { clusters: { u: { type: 'LOGICAL_DNS', endpoints: ['u', 'u'] } } }),
  bad('a certificate that is not there', 'missing.crt', { chains: tls('missing.crt', 'server.key') }),
  bad('names of certificates without a trusted CA', 'SAN-based verification', { chains: f => tls('server.crt', 'server.key')(f).map(c => { c.transport_socket.typed_config.common_tls_context.validation_context = { match_typed_subject_alt_names: [{ san_type: 'DNS', matcher: { exact: 'a.test' } }] }; return c; }) }),
  bad('a key that does not fit the certificate', 'key', { chains: tls('server.crt', 'other.key') }),
  bad('a direct response of status 99', 'status', route({ direct_response: { status: 99 } })),
  bad('buffer of 0 bytes', 'max_request_bytes', { hcm: { http_filters: [{ name: 'envoy.filters.http.buffer', typed_config: { '@type': `${TYPE}.extensions.filters.http.buffer.v3.Buffer`, max_request_bytes: 0 } }, router] } }),
  bad('an HTTP/2 window below 65535', 'initial_stream_window_size', { hcm: { http2_protocol_options: { initial_stream_window_size: 1000 } } }),
  bad('keepalive pings without a timeout', 'timeout', { hcm: { http2_protocol_options: { connection_keepalive: { interval: '1s' } } } }),
  bad('a connect_config of a websocket', 'ConnectConfig', { routes: [{ match: all, route: { cluster: '$u', upgrade_configs: [{ upgrade_type: 'websocket', connect_config: {} }] } }] }),
  bad('no stat_prefix', 'stat_prefix', { hcm: { stat_prefix: '' } }),
  bad('no admin port and an empty listener', 'address', { listener: { address: {} } }),
  { name: 'accepted: camelCase names', listener: { perConnectionBufferLimitBytes: 5000 }, hcm: { serverName: 'camel' }, send: [req('/')] },
  { name: 'accepted: numbers as strings and enums as numbers', listener: { per_connection_buffer_limit_bytes: '5000' }, clusters: { u: { lb_policy: 3, connect_timeout: '1.500s' } }, send: [req('/')] },
  { name: 'accepted: the router filter by a name of its own', hcm: { http_filters: [{ ...router, name: 'my-router' }] }, send: [req('/')] },
  { name: 'accepted: null for a message', hcm: { access_log: null }, send: [req('/')] },
], { alone: true });
