// virtual_clusters and Route.stat_prefix: requests of a virtual host that are counted by what they are; and by zone.
import { suite, req, h2upstream, h2 } from '../lib/suite.mjs';
import { replies, ok } from '../lib/raw.mjs';

const all = { prefix: '/' };
const LOG = { log: { log_format: { text_format_source: { inline_string: '%RESPONSE_CODE% %VIRTUAL_CLUSTER_NAME%\n' } } } };
const of = (name, ...headers) => ({ name, headers });
const path = regex => ({ name: ':path', string_match: { safe_regex: { regex } } });
const method = exact => ({ name: ':method', string_match: { exact } });
const users = of('users', path('/users/\\d+'), method('GET'));
const posts = of('posts', method('POST'));
/** A virtual host of the case's own, with these virtual clusters. */
const host = (clusters, route = {}, more = {}) => [{ name: '${id}', domains: ['*'], virtual_clusters: clusters, routes: [{ match: all, route: { cluster: '$u', ...route } }], ...more }];
const stats = { stats: [/^vhost\.ID\./], statsText: async ctx => (await ctx.admin('/stats')).split('\n').map(l => l.replace(/_time: .*/, '_time: there')).join('\n') };
const fail = (status = 503) => ok('bad', '', `${status} X`);
const retry = { retry_policy: { retry_on: '5xx', num_retries: 1, retry_back_off: { base_interval: '0.005s' } } };
const two = [req('/users/1'), { res: 1 }, req('/other'), { res: 1 }];
const one = [req('/users/1'), { res: 1 }];

export default [suite('virtual clusters', [
  { name: 'virtual_clusters: one that matches and the other', vhosts: host([users]), send: two, logLines: 2, ...LOG, ...stats },
  { name: 'virtual_clusters: the first that matches counts', vhosts: host([users, of('all', path('.*'))]), send: two, logLines: 2, ...LOG, ...stats },
  { name: 'virtual_clusters: every header must match', vhosts: host([users, posts]), send: [req('/users/1', '', 'x'), { res: 1 }, req('/users/x'), { res: 1 }], logLines: 2, ...LOG, ...stats },
  { name: 'virtual_clusters: none', vhosts: host([]), send: one, ...LOG, ...stats },
  { name: 'virtual_clusters: names with dots and colons', vhosts: host([of('a.b:c', path('.*'))]), send: one, ...LOG, ...stats },
  { name: 'virtual_clusters: two of one name', vhosts: host([of('same', method('GET')), of('same', method('POST'))]), send: [req('/'), { res: 1 }, req('/', '', 'x'), { res: 1 }], logLines: 2, ...LOG, ...stats },
  { name: 'virtual_clusters: one that is named other', vhosts: host([of('other', method('POST'))]), send: [req('/'), { res: 1 }, req('/', '', 'x'), { res: 1 }], logLines: 2, ...LOG, ...stats },
  { name: 'virtual_clusters: a retry that works', vhosts: host([users], retry), upstreams: { u: replies(fail(), ok('good')) }, send: one, ...LOG, ...stats },
  { name: 'virtual_clusters: no retry left', vhosts: host([users], retry), upstreams: { u: replies(fail(500), fail(502)) }, send: one, ...LOG, ...stats },
  { name: 'virtual_clusters: no leave for a retry', vhosts: host([users], retry), clusters: { u: { circuit_breakers: { thresholds: [{ max_retries: 0 }] } } }, upstreams: { u: replies(fail()) }, send: one, ...LOG, ...stats },
  { name: 'virtual_clusters: the timeout passes', vhosts: host([users], { timeout: '0.3s' }), upstreams: { u: replies([1500, ok()]) }, send: one, ...LOG, ...stats },
  { name: 'virtual_clusters: an attempt times out', vhosts: host([users], { timeout: '4s', retry_policy: { retry_on: 'gateway-error', per_try_timeout: '0.3s', num_retries: 1 } }), upstreams: { u: replies([2000, ok()]) }, send: one, ...LOG, ...stats },
  { name: 'virtual_clusters: nothing to connect to', vhosts: host([users]), upstreams: { u: 'refuse' }, send: one, ...LOG, ...stats },
  { name: 'virtual_clusters: the cluster has no host', vhosts: host([users]), clusters: { u: { endpoints: [] } }, send: one, ...LOG, ...stats },
  { name: 'virtual_clusters: the cluster is not there', routeConfig: { name: 'r', validate_clusters: false, virtual_hosts: host([users], { cluster: 'nowhere' }) }, send: one, ...LOG, ...stats },
  { name: 'virtual_clusters: a direct response', vhosts: [{ name: '${id}', domains: ['*'], virtual_clusters: [users], routes: [{ match: all, direct_response: { status: 200 } }] }], send: one, ...LOG, ...stats },
  { name: 'virtual_clusters: a full circuit breaker', vhosts: host([users]), clusters: { u: { circuit_breakers: { thresholds: [{ max_requests: 0 }] } } }, send: one, ...LOG, ...stats },
  { name: 'virtual_clusters: an internal request', hcm: { use_remote_address: true, internal_address_config: { cidr_ranges: [{ address_prefix: '127.0.0.0', prefix_len: 8 }] } }, vhosts: host([users]), send: one, ...LOG, ...stats },
  { name: 'virtual_clusters: an interim answer', hcm: { proxy_100_continue: true }, vhosts: host([users]), upstreams: { u: replies('HTTP/1.1 100 Continue\r\n\r\n' + ok('x')) }, send: one, ...LOG, ...stats },
  { name: 'virtual_clusters: the client leaves', vhosts: host([users]), upstreams: { u: replies([1000, ok()]) }, send: [req('/users/1'), 300, { rst: 1 }, 300], ...LOG, ...stats },
  { name: 'virtual_clusters: HTTP/2 and an answer that breaks off', vhosts: host([users]), clusters: { u: h2upstream() }, upstreams: { u: h2() }, send: one, ...LOG, ...stats },
  { name: 'virtual_clusters: a shadow is not counted', vhosts: host([users], { request_mirror_policies: [{ cluster: '$s' }] }), upstreams: { u: replies(ok()), s: replies(ok()) }, send: [...one, 200], ...LOG, ...stats },
  { name: 'virtual_clusters: the path before it is rewritten, headers before they are added', vhosts: host([of('new', path('/new.*')), of('added', { name: 'x-added', present_match: true }), users], { prefix_rewrite: '/new' }, { request_headers_to_add: [{ header: { key: 'x-added', value: '1' } }] }), send: one, ...LOG, ...stats },
  { name: 'stat_prefix: of a route', vhosts: [{ name: '${id}', domains: ['*'], routes: [{ match: all, stat_prefix: 'mine', route: { cluster: '$u' } }] }], send: one, ...stats },
  { name: 'stat_prefix: beside virtual clusters', vhosts: [{ name: '${id}', domains: ['*'], virtual_clusters: [users], routes: [{ match: all, stat_prefix: 'a.b', route: { cluster: '$u', ...retry } }] }], upstreams: { u: replies(fail(), ok()) }, send: one, ...stats },
  { name: 'stat_prefix: of a redirect and a direct response', vhosts: [{ name: '${id}', domains: ['*'], routes: [{ match: { prefix: '/r' }, stat_prefix: 'r', redirect: { path_redirect: '/x' } }, { match: all, stat_prefix: 'd', direct_response: { status: 200 } }] }], send: [req('/r'), { res: 1 }, req('/d'), { res: 1 }], ...stats },
  { name: 'stat_prefix: the timeout passes, no retry left', vhosts: [{ name: '${id}', domains: ['*'], routes: [{ match: all, stat_prefix: 'mine', route: { cluster: '$u', timeout: '0.3s' } }] }], upstreams: { u: replies([1500, ok()]) }, send: one, ...stats },
]), suite('virtual-clusters-refused', [
  { name: 'virtual_clusters: without headers', vhosts: host([of('x')]), refused: 'virtual_clusters[0]', send: [] },
  { name: 'virtual_clusters: without a name', vhosts: host([of('', path('.*'))]), refused: 'virtual_clusters[0].name', send: [] },
  { name: 'virtual_clusters: a bad regex', vhosts: host([of('x', path('('))]), refused: 'virtual_clusters[0].headers[0]', send: [] },
]), suite('zones', [
  { name: 'zone: of the node and of the host', clusters: { u: { load_assignment: { cluster_name: '$u', endpoints: [{ locality: { zone: 'b' }, lb_endpoints: [{ endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: '${port:u}' } } } }] }] } } }, upstreams: { u: replies(ok(), fail()) }, send: two, stats: [/^cluster\.ID_u\.zone/], statsText: stats.statsText },
  { name: 'zone: of the node alone', send: one, stats: [/^cluster\.ID_u\.zone/] },
  { name: 'zone: a host that cannot be reached', clusters: { u: { load_assignment: { cluster_name: '$u', endpoints: [{ locality: { zone: 'b.c:d' }, lb_endpoints: [{ endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: '${port:u}' } } } }] }] } } }, upstreams: { u: 'refuse' }, send: one, stats: [/^cluster\.ID_u\.zone/], statsText: stats.statsText },
], { bootstrap: { node: { id: 'n', cluster: 'c', locality: { zone: 'a' } } } })];
