// The proxy-status header: why an answer is not the upstream's own (RFC 9209).
import { suite, req } from '../lib/suite.mjs';
import { h2request } from '../lib/h2.mjs';
import { replies, ok } from '../lib/raw.mjs';

const status = (config = {}) => ({ proxy_status_config: config });
const W = { log: { log_format: { text_format_source: { inline_string: '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n' } } } };
const routes = [{ match: { prefix: '/none' }, route: { cluster: 'nowhere' } }, { match: { path: '/d' }, direct_response: { status: 503 } }, { match: { prefix: '/slow' }, route: { cluster: '$slow', timeout: '0.2s' } },
  { match: { prefix: '/dead' }, route: { cluster: '$dead' } }, { match: { prefix: '/cut' }, route: { cluster: '$cut' } }, { match: { prefix: '/bad' }, route: { cluster: '$bad' } }, { match: { prefix: '/full' }, route: { cluster: '$full' } },
  { match: { prefix: '/empty' }, route: { cluster: '$empty' } }, { match: { prefix: '/u' }, route: { cluster: '$u' } }];
const upstreams = { u: replies(ok()), slow: replies([1500, ok()]), dead: 'refuse', cut: replies([{ end: true }]), bad: replies('HTTP/9 x\r\n\r\n'), full: replies(ok()), empty: 'refuse' };
const parts = { routeConfig: { name: 'r', validate_clusters: false, virtual_hosts: [{ name: 'v', domains: ['*'], routes }] }, upstreams,
  clusters: { full: { circuit_breakers: { thresholds: [{ max_requests: 0, max_pending_requests: 0, max_connections: 0 }] } }, empty: { endpoints: [] } } };
const ask = (...list) => async ctx => { for (const p of list) { const c = await ctx.connect(); c.write(req(p)); await c.response({ ms: 3000 }); } };
const ALL = ['/u', '/nothing', '/none', '/d', '/slow', '/dead', '/cut', '/bad', '/full', '/empty'];
const view = t => t.replace(/127\.0\.0\.1:\d+/g, '127.0.0.1:<port>').replace(/\|[^"]*delayed[^"]*/g, '|<why>');

export default suite('proxy-status', [
  { name: 'errors: every kind', ...W, ...parts, hcm: status(), client: ask(...ALL), view },
  { name: 'errors: remove_details', ...parts, hcm: status({ remove_details: true }), client: ask(...ALL), view },
  { name: 'errors: remove_response_flags', ...parts, hcm: status({ remove_response_flags: true }), client: ask('/nothing', '/dead', '/slow'), view },
  { name: 'errors: remove_connection_termination_details', ...parts, hcm: status({ remove_connection_termination_details: true }), client: ask('/nothing', '/dead'), view },
  { name: 'errors: set_recommended_response_code', ...W, ...parts, hcm: status({ set_recommended_response_code: true }), client: ask(...ALL), view },
  { name: 'name: the server\'s', ...parts, hcm: { server_name: 'mine 1', ...status() }, client: ask('/nothing') },
  { name: 'name: literal', ...parts, hcm: { server_name: 'mine', ...status({ literal_proxy_name: 'a "proxy"; x=1' }) }, client: ask('/nothing') },
  { name: 'name: the node\'s', ...parts, hcm: status({ use_node_id: true }), client: ask('/nothing') },
  { name: 'name: use_node_id false', ...parts, hcm: status({ use_node_id: false }), client: ask('/nothing') },
  { name: 'header: the upstream\'s own stays', ...W, hcm: status(), upstreams: { u: replies('HTTP/1.1 502 Bad Gateway\r\nproxy-status: inner; error=dns_error\r\ncontent-length: 0\r\n\r\n') }, send: [req('/')] },
  { name: 'header: off', ...parts, client: ask('/nothing', '/dead') },
  { name: 'header: a request that cannot be read', ...W, hcm: status(), send: ['GET / HTTP/1.1\r\n\r\n'] },
  { name: 'header: a request that is no HTTP', ...W, hcm: status({ set_recommended_response_code: true }), send: ['NONSENSE\r\n\r\n'] },
  { name: 'header: header timeout', ...W, hcm: { ...status(), request_headers_timeout: '0.2s' }, send: ['GET / HTTP/1.1\r\nHost: a'] },
  { name: 'header: over HTTP/2', ...W, ...parts, hcm: status(), client: async ctx => { const out = []; for (const p of ['/u', '/nothing', '/none', '/dead', '/slow']) { const s = await ctx.h2(); const r = await h2request(s, { ':path': p }); out.push({ ...r, headers: r.headers?.map(([n, v]) => [n, view(v)]) }); } return out; } },
  { name: 'header: gRPC', ...W, ...parts, hcm: status({ set_recommended_response_code: true }), client: async ctx => { const s = await ctx.h2(); return h2request(s, { ':method': 'POST', ':path': '/nothing', 'content-type': 'application/grpc' }); } },
]);
