// request_mirror_policies: copies of a request to other clusters, whose answers nobody waits for.
import { suite, req, h2upstream, h2 } from '../lib/suite.mjs';
import { replies, repliesAtHead, ok } from '../lib/raw.mjs';

const all = { prefix: '/' };
const two = (shadow = replies(ok('shadow'))) => ({ u: replies(ok('main')), s: shadow });
const mirror = (policy = {}, extra = {}) => [{ match: all, route: { cluster: '$u', timeout: '3s', request_mirror_policies: [{ cluster: '$s', ...policy }], ...extra } }];
const log = { log: { log_format: { text_format_source: { inline_string: '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_CLUSTER%\n' } } } };
const stats = { ...log, stats: [/^(cluster|http)\.ID.*(upstream_rq|retry|upstream_cx_destroy|downstream_rq_\dxx).*: [1-9]/, /rq_active: /], statsText: async ctx => (await ctx.admin('/stats')).split('\n').filter(l => !/_time:|_ms:|_bytes/.test(l)).join('\n') };
const get = [req('/'), { res: 1 }, 200];
const post = [req('/', '', 'the body'), { res: 1 }, 200];
const heads = { viewUpstream: saw => saw.map(w => ({ ...w, bytes: w.bytes.slice(0, 60).split('\r\n').slice(0, 2).join(' ') + (w.bytes.length > 10000 ? ' large' : '') })) };

export default [suite('mirror', [
  { name: 'request_mirror_policies: GET', upstreams: two(), routes: mirror(), send: get, ...stats },
  { name: 'request_mirror_policies: POST', upstreams: two(), routes: mirror(), send: post, ...stats },
  { name: 'request_mirror_policies: chunked with trailers', upstreams: two(), routes: mirror(), send: ['POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n', 50, '2\r\nde\r\n0\r\n\r\n', { res: 1 }, 200], ...stats },
  { name: 'request_mirror_policies: HEAD', upstreams: two(), routes: mirror(), send: ['HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n', { head: 1 }, 200] },
  { name: 'request_mirror_policies: a host with a port', upstreams: two(), routes: mirror(), send: ['GET / HTTP/1.1\r\nHost: a.test:8080\r\n\r\n', { res: 1 }, 200] },
  { name: 'request_mirror_policies: an IPv6 host', upstreams: two(), routes: mirror(), send: ['GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n', { res: 1 }, 200] },
  { name: 'request_mirror_policies: an IPv6 host without a port', upstreams: two(), routes: mirror(), send: ['GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n', { res: 1 }, 200] },
  { name: 'request_mirror_policies: an empty host', upstreams: two(), routes: mirror(), send: ['GET / HTTP/1.1\r\nHost: \r\n\r\n', { res: 1 }, 200] },
  { name: 'request_mirror_policies: x-forwarded-for', hcm: { use_remote_address: true }, upstreams: two(), routes: mirror(), send: [req('/', 'X-Forwarded-For: 1.2.3.4\r\n'), { res: 1 }, 200] },
  { name: 'request_mirror_policies: disable_shadow_host_suffix_append', upstreams: two(), routes: mirror({ disable_shadow_host_suffix_append: true }), send: get },
  { name: 'request_mirror_policies: host_rewrite_literal', upstreams: two(), routes: mirror({ host_rewrite_literal: 'other.test' }), send: get },
  { name: 'request_mirror_policies: host_rewrite_literal without the suffix', upstreams: two(), routes: mirror({ host_rewrite_literal: 'other.test:81', disable_shadow_host_suffix_append: true }), send: get },
  { name: 'request_mirror_policies: request_headers_mutations', upstreams: two(), routes: mirror({ request_headers_mutations: [{ append: { header: { key: 'x-shadow', value: 'yes' } } }, { remove: 'x-gone' }, { append: { header: { key: 'x-method', value: '%REQ(:method)%' }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' } }] }), send: [req('/', 'X-Gone: 1\r\nX-Method: x\r\n'), { res: 1 }, 200] },
  { name: 'request_mirror_policies: header edits and rewrites of the route', upstreams: two(), routes: [{ ...mirror({}, { prefix_rewrite: '/new', host_rewrite_literal: 'h.test' })[0], request_headers_to_add: [{ header: { key: 'x-a', value: '1' } }] }], send: get },
  { name: 'request_mirror_policies: cluster_header', upstreams: two(), routes: mirror({ cluster: undefined, cluster_header: 'x-to' }), client: async ctx => { const c = await ctx.connect(); c.write(req('/', `X-To: ${ctx.id}_s\r\n`)); await c.response(); await ctx.sleep(200); }, viewUpstream: saw => saw.map(w => ({ ...w, bytes: w.bytes.replace(/x-to: .*/, 'x-to: <cluster>') })) },
  { name: 'request_mirror_policies: cluster_header that is not there', upstreams: two(), routes: mirror({ cluster: undefined, cluster_header: 'x-to' }), send: get },
  { name: 'request_mirror_policies: cluster_header of an unknown cluster', upstreams: two(), routes: mirror({ cluster: undefined, cluster_header: 'x-to' }), send: [req('/', 'X-To: nowhere\r\n'), { res: 1 }, 200], ...stats },
  { name: 'request_mirror_policies: runtime_fraction 0', upstreams: two(), routes: mirror({ runtime_fraction: { default_value: { numerator: 0 } } }), send: get },
  { name: 'request_mirror_policies: runtime_fraction 100 of HUNDRED', upstreams: two(), routes: mirror({ runtime_fraction: { default_value: { numerator: 100 }, runtime_key: 'none' } }), send: get },
  { name: 'request_mirror_policies: two clusters', upstreams: { ...two(), t: replies(ok('third')) }, routes: mirror({}, { request_mirror_policies: [{ cluster: '$s' }, { cluster: '$t' }] }), send: post },
  { name: 'request_mirror_policies: of the virtual host', upstreams: two(), vhosts: [{ name: 'v', domains: ['*'], request_mirror_policies: [{ cluster: '$s' }], routes: [{ match: all, route: { cluster: '$u' } }] }], send: get },
  { name: 'request_mirror_policies: of the route in place of the virtual host', upstreams: { ...two(), t: replies(ok('third')) }, vhosts: [{ name: 'v', domains: ['*'], request_mirror_policies: [{ cluster: '$t' }], routes: mirror() }], send: get },
  { name: 'request_mirror_policies: of the route configuration', upstreams: two(), routeConfig: { name: 'r', request_mirror_policies: [{ cluster: '$s' }], virtual_hosts: [{ name: 'v', domains: ['*'], routes: [{ match: all, route: { cluster: '$u' } }] }] }, send: get },
  { name: 'request_mirror_policies: trace_sampled', upstreams: two(), routes: mirror({ trace_sampled: true }), send: get },
  { name: 'request_mirror_policies: an upgrade', hcm: { upgrade_configs: [{ upgrade_type: 'websocket' }] }, upstreams: { u: replies('HTTP/1.1 101 X\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n'), s: replies(ok('shadow')) }, routes: mirror(), send: [req('/', 'Connection: Upgrade\r\nUpgrade: websocket\r\n'), { has: '101' }, 100, 'frames', 300] },
  { name: 'request_mirror_policies: HTTP/2 shadow', clusters: { s: h2upstream() }, upstreams: two(h2()), routes: mirror(), send: post, ...stats },
  { name: 'request_mirror_policies: HTTP/2 to both', clusters: { u: h2upstream(), s: h2upstream() }, upstreams: { u: h2(), s: h2() }, routes: mirror(), send: post },
  { name: 'request_mirror_policies: the main cluster is not there', upstreams: two(), routeConfig: { name: 'r', validate_clusters: false, virtual_hosts: [{ name: 'v', domains: ['*'], routes: [{ match: all, route: { cluster: 'nowhere', request_mirror_policies: [{ cluster: '$s' }] } }] }] }, send: get, ...log },
  { name: 'request_mirror_policies: the shadow cluster is not there', upstreams: { u: replies(ok('main')) }, routeConfig: { name: 'r', validate_clusters: false, virtual_hosts: [{ name: 'v', domains: ['*'], routes: [{ match: all, route: { cluster: '$u', request_mirror_policies: [{ cluster: 'nowhere' }] } }] }] }, send: post, ...stats },
  { name: 'request_mirror_policies: the main cluster has no host', clusters: { u: { endpoints: [] } }, upstreams: two(), routes: mirror(), send: get, ...stats },
  { name: 'request_mirror_policies: the shadow has no host', clusters: { s: { endpoints: [] } }, upstreams: two(), routes: mirror(), send: post, ...stats },
  { name: 'request_mirror_policies: the shadow is dead', upstreams: two('refuse'), routes: mirror(), send: post, ...stats },
  { name: 'request_mirror_policies: the shadow is slow', upstreams: two(replies([700, ok('late')])), routes: mirror(), send: [req('/', '', 'the body'), { res: 1 }, 900], ...stats },
  { name: 'request_mirror_policies: the shadow answers before the body is over', upstreams: two(repliesAtHead(ok('early'))), routes: mirror(), send: ['POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 6\r\n\r\nabc', 900, 'def', { res: 1 }, 200], ...stats },
  { name: 'request_mirror_policies: the shadow closes in the middle', upstreams: two(repliesAtHead({ reset: true })), routes: mirror(), send: ['POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 6\r\n\r\nabc', 1200, 'def', { res: 1 }, 200], ...stats },
  { name: 'request_mirror_policies: the shadow overflows its circuit breaker', clusters: { s: { circuit_breakers: { thresholds: [{ max_requests: 0 }] } } }, upstreams: two(), routes: mirror(), send: post, ...stats },
  { name: 'request_mirror_policies: the shadow answers 503', upstreams: two(replies(ok('bad', '', '503 X'))), routes: mirror({}, { retry_policy: { retry_on: '5xx' } }), send: post, ...stats },
  { name: 'request_mirror_policies: the shadow outlives the timeout', upstreams: two(replies([1500, ok('late')])), routes: mirror({}, { timeout: '0.4s' }), send: [req('/', '', 'the body'), { res: 1 }, 700], ...stats },
  { name: 'request_mirror_policies: the main request is retried, the shadow is sent once', upstreams: { u: replies(ok('bad', '', '503 X'), ok('good')), s: replies(ok('shadow')) }, routes: mirror({}, { retry_policy: { retry_on: '5xx' } }), send: post, ...stats },
  { name: 'request_mirror_policies: the main request fails before its body is over', upstreams: { u: repliesAtHead(ok('early', 'connection: close\r\n')), s: replies(ok('shadow')) }, routes: mirror(), send: ['POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 6\r\n\r\nabc', { res: 1 }, 300], ...stats },
  { name: 'request_mirror_policies: the client leaves in the middle', upstreams: two(), routes: mirror(), send: ['POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 6\r\n\r\nabc', 300, { rst: 1 }, 300], ...stats },
  { name: 'request_mirror_policies: the client leaves, the request was whole', upstreams: { u: replies([1500, ok()]), s: replies([700, ok('shadow')]) }, routes: mirror(), send: [req('/', '', 'the body'), 300, { rst: 1 }, 900], ...stats },
  { name: 'request_mirror_policies: a large body', upstreams: two(), routes: mirror(), send: [req('/', '', 'x'.repeat(300000)), { res: 1 }, 300], ...heads, ...stats },
  { name: 'request_mirror_policies: a shadow that does not read', listener: { per_connection_buffer_limit_bytes: 65536 }, upstreams: two(async wire => { wire.socket.pause(); await wire.until(() => false, 5000); }), routes: mirror(), client: async ctx => {
    const c = await ctx.connect('main', { hidden: true }); c.write(req('/', '', 'x'.repeat(16000000))); return { answered: Boolean(await c.has('main', 2500)) };
  }, ...heads, viewUpstream: () => [], differs: { id: 'shadow-never-slows', envoy: t => t.includes('"answered": false'), plenipo: t => t.includes('"answered": true') } },
  { name: 'request_mirror_policies: filters and retries of the route see one request', vhosts: [{ name: 'v', domains: ['*'], include_request_attempt_count: true, routes: mirror() }], upstreams: two(), send: get },
]), suite('mirror-refused', [
  { name: 'request_mirror_policies: no cluster', routes: [{ match: all, route: { cluster: '$u', request_mirror_policies: [{}] } }], refused: 'cluster', send: [] },
  { name: 'request_mirror_policies: cluster and cluster_header', routes: [{ match: all, route: { cluster: '$u', request_mirror_policies: [{ cluster: '$u', cluster_header: 'x' }] } }], refused: 'cluster_header', send: [] },
  { name: 'request_mirror_policies: request_headers_mutations of the host', routes: [{ match: all, route: { cluster: '$u', request_mirror_policies: [{ cluster: '$u', request_headers_mutations: [{ append: { header: { key: 'host', value: 'x' } } }] }] } }], refused: 'request_headers_mutations[0]', send: [] },
  { name: 'request_mirror_policies: an empty runtime_fraction', routes: [{ match: all, route: { cluster: '$u', request_mirror_policies: [{ cluster: '$u', runtime_fraction: {} }] } }], refused: 'default_value', send: [] },
  { name: 'request_mirror_policies: an unknown cluster', routes: [{ match: all, route: { cluster: '$u', request_mirror_policies: [{ cluster: 'nowhere' }] } }], refused: 'nowhere', send: [] },
])];
