// Timeouts of routes, streams, requests and clusters: which answer each gives, with which flag, detail and counter, and what the upstream is told of it.
import { suite, req, h2upstream, h2, TYPE } from '../lib/suite.mjs';
import { replies, ok } from '../lib/raw.mjs';
import { h2request } from '../lib/h2.mjs';

const all = { prefix: '/' };
const LOG = { log: { log_format: { text_format_source: { inline_string: '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT%\n' } } } };
const to = (route = {}) => [{ match: all, route: { cluster: '$u', ...route } }];
const late = (ms = 600) => replies([ms, ok('late')]);
const grpc = (timeout, more = '') => `POST /s/m HTTP/1.1\r\nHost: a.test\r\nContent-Type: application/grpc\r\n${timeout === undefined ? '' : `grpc-timeout: ${timeout}\r\n`}${more}Content-Length: 1\r\n\r\nx`;
const slow = (route, more = {}) => ({ upstreams: { u: late() }, routes: to(route), send: [req('/'), { res: 1 }], ...LOG, ...more });
/** A gRPC request to an upstream that answers at once: what timeout does it see? */
const told = (timeout, route, more = {}) => ({ routes: to(route), send: [grpc(timeout), { res: 1 }], ...LOG, ...more });
const slowCall = (timeout, route, more = {}) => ({ upstreams: { u: late() }, routes: to(route), send: [grpc(timeout), { res: 1 }], ...LOG, ...more });
const common = options => ({ typed_extension_protocol_options: { 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': { '@type': `${TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions`, common_http_protocol_options: options, explicit_http_config: { http_protocol_options: {} } } } });
const half = 'POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 6\r\n\r\nabc';
const manager = [/^http\.ID\.downstream_rq_(max_duration_reached|idle_timeout|timeout|header_timeout|tx_reset|4xx|5xx):/];
const cluster = [/^cluster\.ID_u\.upstream_rq_(timeout|max_duration_reached|tx_reset|5xx|504|408|2xx|completed):/];
const answering = { u: replies(['HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc', 900, 'def']) };

export default suite('timeouts', [
  // route timeout
  { name: 'timeout: nothing came', ...slow({ timeout: '0.15s' }), stats: cluster },
  { name: 'timeout: the answer began', ...slow({ timeout: '0.3s' }), upstreams: answering, stats: cluster },
  { name: 'timeout: does not run before the request is over', ...slow({ timeout: '0.4s' }), upstreams: { u: replies(ok()) }, send: [half, 900, 'def', { res: 1 }] },
  { name: 'timeout: while the connection is made', ...slow({ timeout: '0.2s' }), upstreams: { u: replies([600, ok()]) }, clusters: { u: { circuit_breakers: { thresholds: [{ max_connections: 1 }] } } }, client: async ctx => { const a = await ctx.connect(); a.write(req('/a')); await ctx.sleep(30); const b = await ctx.connect(); b.write(req('/b')); await Promise.all([a.response(), b.response()]); }, logLines: 2, viewUpstream: () => [] },
  { name: 'timeout: grpc', ...slowCall(undefined, { timeout: '0.15s' }) },
  { name: 'timeout: less than a millisecond', ...slow({ timeout: '0.0005s' }) },

  // route idle timeout
  { name: 'idle_timeout: of the route, nothing came', ...slow({ idle_timeout: '0.15s' }), stats: manager },
  { name: 'idle_timeout: while the request is coming', ...slow({ idle_timeout: '0.15s' }), send: [half, { res: 1 }], stats: manager },
  { name: 'idle_timeout: the answer began', ...slow({ idle_timeout: '0.3s' }), upstreams: answering, stats: manager },
  { name: 'idle_timeout: each piece starts it anew', ...slow({ idle_timeout: '0.8s' }), upstreams: { u: replies(['HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc', 500, 'def', 500, 'ghi']) } },
  { name: 'idle_timeout: 0 turns the connection manager\'s off', ...slow({ idle_timeout: '0s' }), hcm: { stream_idle_timeout: '0.15s' } },
  { name: 'idle_timeout: longer than the connection manager\'s', ...slow({ idle_timeout: '2s' }), hcm: { stream_idle_timeout: '0.15s' } },
  { name: 'stream_idle_timeout: nothing came', ...slow({}), hcm: { stream_idle_timeout: '0.15s' }, stats: manager },
  { name: 'stream_idle_timeout: grpc', ...slowCall(undefined, {}), hcm: { stream_idle_timeout: '0.15s' } },
  { name: 'request_timeout: the body does not come', ...slow({}), hcm: { request_timeout: '0.2s' }, send: [half, { res: 1 }], stats: manager },
  { name: 'request_timeout: the answer may take longer', ...slow({}), hcm: { request_timeout: '0.2s' } },
  { name: 'request_headers_timeout: the head does not come', ...slow({}), hcm: { request_headers_timeout: '0.2s' }, send: ['GET / HTTP/1.1\r\nHost: a', { res: 1 }], stats: manager },

  // max_stream_duration
  { name: 'max_stream_duration: of the connection manager, nothing came', ...slow({}), hcm: { common_http_protocol_options: { max_stream_duration: '0.2s' } }, stats: manager },
  { name: 'max_stream_duration: while the request is coming', ...slow({}), hcm: { common_http_protocol_options: { max_stream_duration: '0.2s' } }, send: [half, { res: 1 }], stats: manager },
  { name: 'max_stream_duration: the answer began', ...slow({}), upstreams: answering, hcm: { common_http_protocol_options: { max_stream_duration: '0.3s' } }, stats: manager },
  { name: 'max_stream_duration: the route\'s is longer', ...slow({ max_stream_duration: { max_stream_duration: '3s' } }), hcm: { common_http_protocol_options: { max_stream_duration: '0.2s' } } },
  { name: 'max_stream_duration: the route\'s 0 turns it off', ...slow({ max_stream_duration: { max_stream_duration: '0s' } }), hcm: { common_http_protocol_options: { max_stream_duration: '0.2s' } } },
  { name: 'max_stream_duration: the route\'s is empty', ...slow({ max_stream_duration: {} }), hcm: { common_http_protocol_options: { max_stream_duration: '0.2s' } }, stats: manager },
  { name: 'max_stream_duration: of the route', ...slow({ max_stream_duration: { max_stream_duration: '0.2s' } }), stats: manager },
  { name: 'max_stream_duration: the route\'s timeout has no say beside it', ...slow({ timeout: '0.1s', max_stream_duration: { max_stream_duration: '3s' } }) },
  { name: 'max_stream_duration: grpc', ...slowCall(undefined, { max_stream_duration: { max_stream_duration: '0.2s' } }) },
  { name: 'max_stream_duration: of the connection manager, before there is a route', ...slow({}), hcm: { common_http_protocol_options: { max_stream_duration: '0.2s' } }, routes: [{ match: { path: '/no' }, route: { cluster: '$u' } }] },
  { name: 'max_stream_duration: HTTP/2', hcm: { common_http_protocol_options: { max_stream_duration: '0.3s' } }, upstreams: answering, client: async ctx => { const s = await ctx.h2(); const r = await h2request(s, { ':path': '/' }); return [r.headers?.find(h => h[0] === ':status'), r.body, r.rst]; }, ...LOG, viewUpstream: () => [] },
  { name: 'grpc_timeout_header_max: the header counts', ...slowCall('200m', { max_stream_duration: { max_stream_duration: '5s', grpc_timeout_header_max: '3s' } }), stats: manager },
  { name: 'grpc_timeout_header_max: caps the header', ...slowCall('9S', { max_stream_duration: { max_stream_duration: '5s', grpc_timeout_header_max: '0.2s' } }) },
  { name: 'grpc_timeout_header_max: 0 is no cap', ...told('9S', { max_stream_duration: { max_stream_duration: '5s', grpc_timeout_header_max: '0s' } }) },
  { name: 'grpc_timeout_header_max: no header', ...told(undefined, { max_stream_duration: { max_stream_duration: '5s', grpc_timeout_header_max: '3s' } }) },
  { name: 'grpc_timeout_header_max: the upstream is told the cap', ...told('9S', { max_stream_duration: { max_stream_duration: '5s', grpc_timeout_header_max: '3s' } }) },
  { name: 'grpc_timeout_header_offset: is taken off', ...told('2S', { max_stream_duration: { grpc_timeout_header_max: '3s', grpc_timeout_header_offset: '0.5s' } }) },
  { name: 'grpc_timeout_header_offset: longer than the header', ...told('450m', { max_stream_duration: { grpc_timeout_header_max: '3s', grpc_timeout_header_offset: '0.5s' } }) },
  { name: 'grpc-timeout: a request that is not gRPC', ...slow({ max_stream_duration: { max_stream_duration: '5s', grpc_timeout_header_max: '3s' } }), send: [req('/', 'grpc-timeout: 200m\r\n'), { res: 1 }] },
  { name: 'grpc-timeout: without max_stream_duration it passes', ...told('200m', {}) },
  { name: 'grpc-timeout: with max_stream_duration only', ...told('200m', { max_stream_duration: { max_stream_duration: '5s' } }) },
  ...['1H', '1M', '1S', '5000m', '123456789S', '1', 'S', '', '1x', '+1S', '99999999H'].map(t => ({ name: `grpc-timeout: ${t || 'empty'}`, ...told(t, { max_stream_duration: { max_stream_duration: '5s', grpc_timeout_header_max: '0s' } }) })),
  ...['1u', '1n'].map(t => ({ name: `grpc-timeout: ${t}`, ...slowCall(t, { max_stream_duration: { max_stream_duration: '5s', grpc_timeout_header_max: '0s' } }, { viewUpstream: () => [] }) })), // a millisecond: how far the request comes is chance
  { name: 'max_grpc_timeout: the header counts', ...slowCall('200m', { max_grpc_timeout: '3s' }), stats: cluster },
  { name: 'max_grpc_timeout: caps the header', ...told('9S', { max_grpc_timeout: '3s' }) },
  { name: 'max_grpc_timeout: no header', ...told(undefined, { timeout: '1s', max_grpc_timeout: '3s' }) },
  { name: 'max_grpc_timeout: 0 is no cap', ...told('9S', { max_grpc_timeout: '0s' }) },
  { name: 'max_grpc_timeout: 0 and no header', ...told(undefined, { timeout: '1s', max_grpc_timeout: '0s' }) },
  { name: 'max_grpc_timeout: not for other requests', ...slow({ timeout: '0.2s', max_grpc_timeout: '3s' }), send: [req('/', 'grpc-timeout: 5S\r\n'), { res: 1 }] },
  { name: 'grpc_timeout_offset: is taken off', ...told('2S', { max_grpc_timeout: '3s', grpc_timeout_offset: '0.5s' }) },
  { name: 'grpc_timeout_offset: longer than the header', ...told('450m', { max_grpc_timeout: '3s', grpc_timeout_offset: '0.5s' }) },

  // of the cluster
  { name: 'cluster max_stream_duration: nothing came', ...slow({}), clusters: { u: common({ max_stream_duration: '0.2s' }) }, stats: cluster },
  { name: 'cluster max_stream_duration: the answer began', ...slow({}), upstreams: answering, clusters: { u: common({ max_stream_duration: '0.3s' }) }, stats: cluster },
  { name: 'cluster max_stream_duration: while the request is coming', ...slow({}), clusters: { u: common({ max_stream_duration: '0.2s' }) }, send: [half, { res: 1 }], stats: cluster },
  { name: 'cluster max_stream_duration: is retried as a reset', ...slow({ retry_policy: { retry_on: 'reset', retry_back_off: { base_interval: '0.005s' } } }), upstreams: { u: replies([600, ok('late')], ok('good')) }, clusters: { u: common({ max_stream_duration: '0.2s' }) }, stats: cluster },
  { name: 'cluster max_stream_duration: x-envoy-upstream-stream-duration-ms 0 turns it off', ...slow({}), clusters: { u: common({ max_stream_duration: '0.2s' }) }, hcm: { internal_address_config: { cidr_ranges: [{ address_prefix: '10.0.0.0', prefix_len: 8 }] } }, send: [req('/', 'x-forwarded-for: 10.0.0.1\r\nx-envoy-upstream-stream-duration-ms: 0\r\n'), { res: 1 }] },

  // actions
  { name: 'priority: HIGH', clusters: { u: { circuit_breakers: { thresholds: [{ max_requests: 0 }, { priority: 'HIGH', max_retries: 0 }] } } }, routes: to({ priority: 'HIGH', retry_policy: { retry_on: '5xx' } }), upstreams: { u: replies(ok('bad', '', '503 X')) }, send: [req('/'), { res: 1 }], ...LOG },
  { name: 'cluster_not_found_response_code: NOT_FOUND', vhosts: undefined, routeConfig: { name: 'r', validate_clusters: false, virtual_hosts: [{ name: 'v', domains: ['*'], routes: [{ match: all, route: { cluster: 'nowhere', cluster_not_found_response_code: 'NOT_FOUND' } }] }] }, send: [req('/'), { res: 1 }], ...LOG },
  { name: 'cluster_not_found_response_code: INTERNAL_SERVER_ERROR, grpc', routeConfig: { name: 'r', validate_clusters: false, virtual_hosts: [{ name: 'v', domains: ['*'], routes: [{ match: all, route: { cluster: 'nowhere', cluster_not_found_response_code: 'INTERNAL_SERVER_ERROR' } }] }] }, send: [grpc(), { res: 1 }], ...LOG },
  { name: 'max_direct_response_body_size_bytes: as large as allowed', routeConfig: { name: 'r', max_direct_response_body_size_bytes: 10, virtual_hosts: [{ name: 'v', domains: ['*'], routes: [{ match: all, direct_response: { status: 200, body: { inline_string: '0123456789' } } }] }] }, send: [req('/'), { res: 1 }] },
]);
