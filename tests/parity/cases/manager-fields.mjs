// Fields of the connection manager, its routes and its router that fit no other suite: x-forwarded-proto by port, how much of a body is kept,
// which statistics there are, what has no effect.
import { suite, req, router, TYPE } from '../lib/suite.mjs';
import { replies, ok } from '../lib/raw.mjs';

const all = { prefix: '/' };
const format = text => ({ log: { log_format: { text_format_source: { inline_string: `${text}\n` } } } });
const LOG = format('%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT%');

const pp = { name: 'envoy.filters.listener.proxy_protocol', typed_config: { '@type': `${TYPE}.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol`, stat_prefix: '${id}', allow_requests_without_proxy_protocol: true } };
const ports = { https_destination_ports: [443, 8443], http_destination_ports: [80, 8443] };
const trusting = { use_remote_address: true };
/** A request behind a PROXY protocol header that names this port. */
const proto = (name, port, hcm = {}, headers = '') => ({ name: `forward_proto_config: ${name}`, listener: { listener_filters: [pp] }, hcm: { forward_proto_config: ports, ...hcm },
  send: [`${port === undefined ? '' : `PROXY TCP4 1.2.3.4 5.6.7.8 1111 ${port}\r\n`}${req('/', headers)}`, { res: 1 }], ...format('%RESPONSE_CODE% %REQ(X-FORWARDED-PROTO)% %REQ(:SCHEME)%') });

/** A request with a body of 2000 bytes that is tried again where it was kept; `host` and `route` say how much is kept. */
const kept = (name, host, route = {}, more = {}) => ({ name: `request_body_buffer_limit: ${name}`,
  vhosts: [{ name: 'v', domains: ['*'], ...host, routes: [{ match: all, ...route, route: { cluster: '$u', retry_policy: { retry_on: '5xx', retry_back_off: { base_interval: '0.005s' } } } }] }],
  upstreams: { u: replies(ok('bad', '', '503 X'), ok('good')) }, send: [req('/', '', 'x'.repeat(2000)), { res: 1 }], viewUpstream: s => s.map(w => ({ ...w, bytes: w.bytes.slice(0, 16) })), ...LOG, ...more });

const counts = { stats: [/^cluster\.ID_u\.(.*\.)?upstream_rq_\w+: [1-9]/] };
const told = fields => ({ http_filters: [{ ...router, typed_config: { ...router.typed_config, ...fields } }] });
const failing = { upstreams: { u: replies(ok('bad', '', '503 X')) } };
const late = { upstreams: { u: replies([1200, ok()]) }, routes: [{ match: all, route: { cluster: '$u', timeout: '0.3s' } }] };
const get = [req('/'), { res: 1 }];
const call = [`POST /s/m HTTP/1.1\r\nHost: a.test\r\nContent-Type: application/grpc\r\nContent-Length: 1\r\n\r\nx`, { res: 1 }];
const dynamic = (name, more = {}) => ({ hcm: told({ dynamic_stats: false }), send: get, ...more, ...counts, name: `dynamic_stats: false, ${name}` });
const suppressed = (name, more = {}) => ({ name: `suppress_grpc_request_failure_code_stats: ${name}`, hcm: told({ suppress_grpc_request_failure_code_stats: true }), send: call, ...counts, ...more });

const struct = type => ({ '@type': 'type.googleapis.com/xds.type.v3.TypedStruct', type_url: `type.googleapis.com/${type}`, value: { a: 1 } });
const optional = (name, filter, more = {}) => ({ name: `is_optional: ${name}`, hcm: { http_filters: [{ name: 'nobody', is_optional: true, ...filter }, router] }, send: get, ...more });
const byRoute = (name, config, more = {}) => ({ name: `is_optional: ${name}`, routes: [{ match: all, route: { cluster: '$u' }, typed_per_filter_config: { nobody: { '@type': `${TYPE}.config.route.v3.FilterConfig`, is_optional: true, ...config } } }], send: get, ...more });

/** The statistics' names; their values are a matter of time. */
const names = { stats: [/^http\.ID\.downstream_rq_route_resolution/], statsText: async ctx => (await ctx.admin('/stats')).replace(/: (No recorded values|P0\().*/g, ': <histogram>') };
const resolution = (name, on, send = get, more = {}) => ({ name: `record_route_resolution_stats: ${name}`, hcm: { record_route_resolution_stats: on }, send, ...names, ...more });

export default [suite('manager-fields', [
  proto('a port of https', 443, trusting),
  proto('a port of http', 80, trusting),
  proto('a port of both', 8443, trusting),
  proto('another port', 8080, trusting),
  proto('without use_remote_address', 443),
  proto('without use_remote_address, what the client says', 443, {}, 'x-forwarded-proto: http\r\n'),
  proto('hostile: the client says otherwise', 80, trusting, 'x-forwarded-proto: https\r\n'),
  proto('a trusted hop says otherwise', 443, { ...trusting, xff_num_trusted_hops: 1 }, 'x-forwarded-proto: http\r\n'),
  proto('scheme_header_transformation beside it', 443, { ...trusting, scheme_header_transformation: { scheme_to_overwrite: 'http' } }),
  proto('no PROXY protocol', undefined, trusting),
  { name: 'forward_proto_config: no PROXY protocol, our own port', hcm: { ...trusting, forward_proto_config: { https_destination_ports: ['${port:main}'] } }, send: get },

  kept('of the virtual host, less than the body', { request_body_buffer_limit: 1000 }),
  kept('of the virtual host, more than the body', { request_body_buffer_limit: 3000 }),
  kept('of the virtual host, more than of the connection', { request_body_buffer_limit: 3000 }, {}, { listener: { per_connection_buffer_limit_bytes: 1500 } }),
  kept('hostile: more than fits', { request_body_buffer_limit: '18446744073709551615' }),
  kept('of the route', {}, { request_body_buffer_limit: 1000 }),
  kept('the route allows more', { request_body_buffer_limit: 1000 }, { request_body_buffer_limit: 3000 }),
  kept('the route allows less', { request_body_buffer_limit: 3000 }, { request_body_buffer_limit: 1000 }),
  kept('0', {}, { request_body_buffer_limit: 0 }),
  kept('the other of the route', { request_body_buffer_limit: 1000 }, { per_request_buffer_limit_bytes: 3000 }),
  kept('both of the virtual host', { request_body_buffer_limit: 1000, per_request_buffer_limit_bytes: 3000 }),
  kept('both of the route', {}, { request_body_buffer_limit: 3000, per_request_buffer_limit_bytes: 1000 }),
  kept('per_request_buffer_limit_bytes less than the body', { per_request_buffer_limit_bytes: 1000 }),
  kept('per_request_buffer_limit_bytes more than the body', { per_request_buffer_limit_bytes: 3000 }),
  kept('per_request_buffer_limit_bytes of 0', { per_request_buffer_limit_bytes: 0 }),
  kept('per_request_buffer_limit_bytes, the route allows more', { per_request_buffer_limit_bytes: 1000 }, { per_request_buffer_limit_bytes: 3000 }),
  kept('per_request_buffer_limit_bytes more than of the connection', { per_request_buffer_limit_bytes: 3000 }, {}, { listener: { per_connection_buffer_limit_bytes: 1500 } }),

  dynamic('an answer'),
  dynamic('a failure', failing),
  dynamic('a retry', kept('', {})),
  dynamic('a timeout', late),
  dynamic('nobody there', { upstreams: { u: 'refuse' } }),
  dynamic('hostile: an alternative name', { hcm: { ...told({ dynamic_stats: false }), internal_address_config: { cidr_ranges: [{ address_prefix: '10.0.0.0', prefix_len: 8 }] } }, send: [req('/', 'x-forwarded-for: 10.0.0.1\r\nx-envoy-upstream-alt-stat-name: other\r\n'), { res: 1 }] }),
  { name: 'dynamic_stats: true', hcm: told({ dynamic_stats: true }), send: get, ...counts },
  suppressed('another request', { ...failing, send: get }),
  suppressed('a failure', failing),
  suppressed('a status of gRPC', { upstreams: { u: replies(ok('', 'grpc-status: 14\r\ncontent-type: application/grpc\r\n')) } }),
  suppressed('nobody there', { upstreams: { u: 'refuse' } }),
  suppressed('a timeout', late),
  suppressed('hostile: an alternative name', { hcm: { ...told({ suppress_grpc_request_failure_code_stats: true }), internal_address_config: { cidr_ranges: [{ address_prefix: '10.0.0.0', prefix_len: 8 }] } }, ...failing,
    send: [call[0].replace('Content-Type', 'x-forwarded-for: 10.0.0.1\r\nx-envoy-upstream-alt-stat-name: other\r\nContent-Type'), { res: 1 }] }),

  resolution('a route', true),
  resolution('none', true, get, { routes: [] }),
  resolution('hostile: no request', true, ['GET\r\n\r\n', { res: 1 }]),
  resolution('off', false),

  optional('a type nobody knows', { typed_config: struct('nobody.knows.v3.This') }, { client: async ctx => { const c = await ctx.connect(); c.write(req('/')); await c.response(); return (await ctx.admin('/config_dump')).includes('nobody.knows.v3.This'); } }),
  optional('no configuration', {}),
  optional('a type that is no filter', { typed_config: { '@type': 'type.googleapis.com/google.protobuf.Struct', value: { a: 1 } } }),
  optional('hostile: the name of another filter', { name: 'envoy.filters.http.buffer', typed_config: struct('nobody.knows.v3.This') }),
  byRoute('of a route, a type nobody knows', { config: struct('nobody.knows.v3.This') }),
  byRoute('of a route, disabled', { disabled: true }),

  { name: 'no effect: append_local_overload', hcm: { append_local_overload: true }, clusters: { u: { circuit_breakers: { thresholds: [{ max_requests: 0 }] } } }, send: get },
  { name: 'no effect: path_normalization_options', hcm: { path_normalization_options: { forwarding_transformation: { operations: [{ normalize_path_rfc_3986: {} }, { merge_slashes: {} }] }, http_filter_transformation: {} } }, send: [req('/a//b/../c'), { res: 1 }] },
  { name: 'no effect: unix_sockets', hcm: { internal_address_config: { unix_sockets: true } }, send: [req('/', 'x-envoy-retry-on: 5xx\r\n'), { res: 1 }] },
]), suite('manager-fields-refused', [
  optional('refused: hostile, an optional filter behind the router', {}, { refused: 'http_filters', hcm: { http_filters: [router, { name: 'nobody', is_optional: true }] }, send: [] }),
  byRoute('refused: of a route, not optional', { config: struct('nobody.knows.v3.This'), is_optional: false }, { refused: 'typed_per_filter_config', send: [] }),
  { name: 'typed_header_validation_config: refused, this Envoy has none either', refused: 'typed_header_validation_config', hcm: { typed_header_validation_config: { name: 'envoy.http.header_validators.envoy_default', typed_config: { '@type': `${TYPE}.extensions.http.header_validators.envoy_default.v3.HeaderValidatorConfig` } } }, send: [] },
], { alone: true })];
