// health_status of endpoints: who gets traffic, when a cluster panics, degraded hosts, and what the admin pages say of each.
import { suite, req } from '../lib/suite.mjs';
import { replies, ok } from '../lib/raw.mjs';

const at = (name, more = {}) => ({ endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: `\${port:${name}}` } } }, ...more });
const is = (name, health_status, more = {}) => at(name, { health_status, ...more });
const assignment = (endpoints, policy) => ({ load_assignment: { cluster_name: '$all', endpoints, ...(policy && { policy }) } });
const sequence = async (ctx, n, path = '/') => { const c = await ctx.connect('main', { hidden: true }); let out = ''; for (let i = 0; i < n; i++) { c.write(req(path)); out += (await c.response()).slice(-1); } return out; };
const count = text => Object.fromEntries([...new Set(text)].sort().map(n => [n, text.split(n).length - 1]));
const shares = n => async ctx => count(await sequence(ctx, n));
const used = n => async ctx => Object.keys(count(await sequence(ctx, n))).join('');
/** How many of 200 requests the degraded hosts got, as one of a few words: chance decides. */
const degradedShare = degraded => async ctx => { const s = await sequence(ctx, 200); const n = [...s].filter(c => degraded.includes(c)).length; return [Object.keys(count(s)).join(''), n === 0 ? 'none' : n === 200 ? 'all' : n > 40 && n < 90 ? 'a third' : n > 105 && n < 155 ? 'two thirds' : n]; };
const stats = { stats: [/ID_all\.(membership_(total|healthy|degraded|excluded|change)|max_host_weight|default\.total_match_count|lb_healthy_panic|upstream_cx_none_healthy|upstream_rq_total)/] };
const log = { log: { log_format: { text_format_source: { inline_string: '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n' } } } };
const names = ['a', 'b', 'c', 'd', 'e', 'f'];
/** A case over a cluster of these endpoints; each upstream answers with its letter. */
const hosts = (endpoints, more = {}) => {
  const letters = names.filter(n => JSON.stringify(endpoints).includes(`port:${n}}`));
  const { cluster = {}, ...rest } = more;
  return { upstreams: Object.fromEntries(letters.map(n => [n, replies(ok(n))])), routes: [{ match: { prefix: '/' }, route: { cluster: '$all' } }], settle: 0, viewUpstream: () => [],
    clusters: { ...Object.fromEntries(letters.map(n => [n, null])), all: { endpoints, ...cluster } }, ...rest };
};
const own = (ctx, text) => { let i = 0; const seen = {}; return text.replaceAll(ctx.id, 'ID').replace(/("port_value": ?|127\.0\.0\.1:)(\d+)/g, (_, before, port) => `${before}${seen[port] ??= ++i}`); };
const lines = (filter = () => true) => async ctx => own(ctx, (await ctx.admin('/clusters')).split('\n').filter(l => l.startsWith(`${ctx.id}_all::127`)).filter(filter).join('\n')).split('\n');
const flags = lines(l => l.includes('::health_flags::'));
const statuses = async ctx => JSON.parse(own(ctx, JSON.stringify(JSON.parse(await ctx.admin('/clusters?format=json')).cluster_statuses.find(c => c.name === `${ctx.id}_all`).host_statuses ?? [])));
const dump = async ctx => sorted(JSON.parse(own(ctx, JSON.stringify(JSON.parse(await ctx.admin('/config_dump?include_eds')).configs.find(c => c['@type'].endsWith('EndpointsConfigDump')).static_endpoint_configs.find(c => c.endpoint_config.cluster_name === `${ctx.id}_all`)))));
/** Keys of metadata in order: Envoy has none. */
const sorted = v => Array.isArray(v) ? v.map(sorted) : v && typeof v === 'object' ? Object.fromEntries(Object.keys(v).sort().map(k => [k, sorted(v[k])])) : v;
const every = ['UNKNOWN', 'HEALTHY', 'UNHEALTHY', 'DRAINING', 'TIMEOUT', 'DEGRADED'].map((status, i) => is(names[i], status));
const panic = value => ({ cluster: { common_lb_config: { healthy_panic_threshold: { value } } } });
const region = (r, endpoints, z) => ({ locality: { region: r, ...(z && { zone: z }) }, lb_endpoints: endpoints });

export default [suite('host-health', [
  { name: 'unhealthy hosts: one of three gets nothing', ...hosts([is('a', 'UNHEALTHY'), at('b'), at('c')]), client: shares(12), ...stats },
  { name: 'unhealthy hosts: one of two is not a panic', ...hosts([is('a', 'TIMEOUT'), at('b')]), client: shares(6), ...stats },
  { name: 'unhealthy hosts: every status in the text', ...hosts(every), client: flags },
  { name: 'unhealthy hosts: every status in JSON', ...hosts(every), client: statuses },
  { name: 'unhealthy hosts: all that the text says of them', ...hosts([is('a', 'DRAINING', { load_balancing_weight: 7 }), at('b')]), client: async ctx => { await sequence(ctx, 2); return lines()(ctx); } },
  { name: 'unhealthy hosts: every status counts as a member', ...hosts(every), client: used(30), ...stats },
  { name: 'unhealthy hosts: a number that no status has', ...hosts([is('a', 77), is('b', 'UNHEALTHY')]), client: async ctx => [await shares(6)(ctx), await flags(ctx)], ...stats },
  { name: 'unhealthy hosts: weights of the healthy ones count', ...hosts([is('a', 'UNHEALTHY', { load_balancing_weight: 10 }), at('b', { load_balancing_weight: 1 }), at('c', { load_balancing_weight: 3 })]), client: shares(40), ...stats },
  { name: 'unhealthy hosts: LEAST_REQUEST', ...hosts([is('a', 'UNHEALTHY'), at('b'), at('c')], { cluster: { lb_policy: 'LEAST_REQUEST' } }), client: used(60), ...stats },
  { name: 'unhealthy hosts: RANDOM', ...hosts([is('a', 'UNHEALTHY'), at('b'), at('c')], { cluster: { lb_policy: 'RANDOM' } }), client: used(60), ...stats },
  { name: 'unhealthy hosts: STRICT_DNS', ...hosts([is('a', 'UNHEALTHY'), at('b')], { cluster: { type: 'STRICT_DNS' } }), client: async ctx => [await shares(6)(ctx), await flags(ctx)] },
  { name: 'unhealthy hosts: the only one of LOGICAL_DNS', ...hosts([is('a', 'UNHEALTHY')], { cluster: { type: 'LOGICAL_DNS' } }), client: async ctx => [await shares(3)(ctx), await flags(ctx)], stats: [/ID_all\.(membership_(total|healthy)|lb_healthy_panic)/] },
  { name: 'unhealthy hosts: the same address twice', ...hosts([is('a', 'UNHEALTHY'), at('a')]), client: async ctx => [await shares(4)(ctx), await flags(ctx)], ...stats },

  { name: 'panic: most are unhealthy', ...hosts([is('a', 'UNHEALTHY'), is('b', 'UNHEALTHY'), at('c')]), client: shares(12), ...stats },
  { name: 'panic: all are unhealthy', ...hosts([is('a', 'UNHEALTHY'), is('b', 'TIMEOUT')]), client: shares(6), ...stats, ...log },
  { name: 'panic: all are draining', ...hosts([is('a', 'DRAINING'), is('b', 'DRAINING')]), client: shares(6), ...stats },
  { name: 'panic: those that drain do not count', ...hosts([is('a', 'DRAINING'), is('b', 'DRAINING'), at('c')]), client: shares(6), ...stats },
  { name: 'panic: no host at all', ...hosts([], {}), client: async ctx => { const c = await ctx.connect(); c.write(req('/')); await c.response(); }, ...stats, ...log },
  { name: 'panic: threshold 0, one healthy', ...hosts([is('a', 'UNHEALTHY'), is('b', 'UNHEALTHY'), at('c')], panic(0)), client: shares(6), ...stats },
  { name: 'panic: threshold 0, none healthy', ...hosts([is('a', 'UNHEALTHY'), is('b', 'UNHEALTHY')], panic(0)), client: async ctx => { const c = await ctx.connect(); c.write(req('/')); await c.response(); }, ...stats, ...log },
  { name: 'panic: threshold 30', ...hosts([is('a', 'UNHEALTHY'), is('b', 'UNHEALTHY'), at('c')], panic(30)), client: shares(6), ...stats },
  { name: 'panic: threshold 33.6 is 33', ...hosts([is('a', 'UNHEALTHY'), is('b', 'UNHEALTHY'), at('c')], panic(33.6)), client: shares(6), ...stats },
  { name: 'panic: threshold 100', ...hosts([is('a', 'UNHEALTHY'), at('b'), at('c')], panic(100)), client: shares(6), ...stats },
  { name: 'panic: threshold 100, all healthy', ...hosts([at('a'), at('b')], panic(100)), client: shares(6), ...stats },
  { name: 'panic: fail_traffic_on_panic', ...hosts([is('a', 'UNHEALTHY'), is('b', 'UNHEALTHY'), at('c')], { cluster: { common_lb_config: { zone_aware_lb_config: { fail_traffic_on_panic: true } } } }), client: async ctx => { const c = await ctx.connect(); c.write(req('/')); await c.response(); }, ...stats, ...log },
  { name: 'panic: fail_traffic_on_panic without one', ...hosts([is('a', 'UNHEALTHY'), at('b'), at('c')], { cluster: { common_lb_config: { zone_aware_lb_config: { fail_traffic_on_panic: true } } } }), client: shares(6), ...stats },
  { name: 'panic: every pick of a retry counts', ...hosts([is('a', 'UNHEALTHY'), is('b', 'UNHEALTHY')], { routes: [{ match: { prefix: '/' }, route: { cluster: '$all', retry_policy: { retry_on: '5xx', num_retries: 1 } } }], upstreams: { a: replies(ok('a', '', '503 X'), ok('a', '', '503 X')), b: replies(ok('b', '', '503 X'), ok('b', '', '503 X')) } }), client: async ctx => Object.values(await shares(1)(ctx)), stats: [/ID_all\.(lb_healthy_panic|upstream_rq_retry):/] },

  { name: 'degraded hosts: nothing while there are enough others', ...hosts([at('a'), at('b'), at('c'), is('d', 'DEGRADED')]), client: shares(12), ...stats },
  { name: 'degraded hosts: alone', ...hosts([is('a', 'DEGRADED'), is('b', 'DEGRADED')]), client: async ctx => [await shares(6)(ctx), await flags(ctx)], ...stats },
  { name: 'degraded hosts: beside an unhealthy one', ...hosts([is('a', 'UNHEALTHY'), is('b', 'DEGRADED')]), client: shares(6), ...stats },
  { name: 'degraded hosts: what the healthy are too few for', ...hosts([at('a'), is('b', 'DEGRADED'), is('c', 'DEGRADED'), is('d', 'DEGRADED')]), client: degradedShare('bcd') },
  { name: 'degraded hosts: scaled where some are unhealthy', ...hosts([at('a'), at('b'), is('c', 'DEGRADED'), is('d', 'UNHEALTHY'), is('e', 'UNHEALTHY')]), client: degradedShare('c') },
  { name: 'degraded hosts: too few with the healthy are a panic', ...hosts([is('a', 'UNHEALTHY'), is('b', 'UNHEALTHY'), is('c', 'DEGRADED')]), client: shares(6), ...stats },
  { name: 'degraded hosts: overprovisioning_factor', ...hosts([], { cluster: assignment([{ lb_endpoints: [at('a'), at('b'), is('c', 'DEGRADED')] }], { overprovisioning_factor: 100 }), upstreams: Object.fromEntries(['a', 'b', 'c'].map(n => [n, replies(ok(n))])) }), client: degradedShare('c') },
  { name: 'degraded hosts: overprovisioning_factor that suffices', ...hosts([], { cluster: assignment([{ lb_endpoints: [at('a'), at('b'), is('c', 'DEGRADED')] }], { overprovisioning_factor: 150 }), upstreams: Object.fromEntries(['a', 'b', 'c'].map(n => [n, replies(ok(n))])) }), client: degradedShare('c') },
  { name: 'degraded hosts: weighted_priority_health', ...hosts([], { cluster: assignment([{ lb_endpoints: [at('a', { load_balancing_weight: 2 }), is('b', 'DEGRADED', { load_balancing_weight: 4 })] }], { overprovisioning_factor: 100, weighted_priority_health: true }), upstreams: Object.fromEntries(['a', 'b'].map(n => [n, replies(ok(n))])) }), client: degradedShare('b') },

  { name: 'endpoints dump: every status', ...hosts(every), client: dump },
  { name: 'endpoints dump: localities in order, names, weights, metadata', ...hosts([], { cluster: assignment([
    region('r2', [is('a', 'UNHEALTHY', { load_balancing_weight: 3, metadata: { filter_metadata: { 'envoy.lb': { canary: true, n: 1, f: 2.5, l: [1, null, 'x'], o: {} } } } }), { ...at('b'), endpoint: { ...at('b').endpoint, hostname: 'b.test' } }], 'z'),
    region('r1', [is('c', 'DEGRADED')]), { lb_endpoints: [at('d')] }, region('r2', [at('e')], 'z')], { overprovisioning_factor: 150 }), upstreams: Object.fromEntries(names.slice(0, 5).map(n => [n, replies(ok(n))])) }), client: dump },
  { name: 'endpoints dump: no host', ...hosts([]), client: dump },
  { name: 'endpoints dump: STRICT_DNS', ...hosts([is('a', 'UNHEALTHY', { load_balancing_weight: 3 }), at('b')], { cluster: { type: 'STRICT_DNS' } }), client: dump },
  { name: 'endpoints dump: by resource', ...hosts([is('a', 'UNHEALTHY')]), client: async ctx => own(ctx, JSON.stringify(JSON.parse(await ctx.admin('/config_dump?include_eds&resource=static_endpoint_configs')).configs.filter(c => c.endpoint_config.cluster_name.startsWith(ctx.id)))) },
]), suite('host-health-refused', [
  { name: 'refused: a threshold beyond 100 percent', ...hosts([at('a')], panic(101)), refused: 'healthy_panic_threshold', send: [req('/')] },
  { name: 'refused: overprovisioning_factor 0', ...hosts([], { cluster: assignment([{ lb_endpoints: [at('a')] }], { overprovisioning_factor: 0 }), upstreams: { a: replies(ok('a')) } }), refused: 'overprovisioning_factor', send: [req('/')] },
  { name: 'refused: a status that is no status', ...hosts([is('a', 'SICK')]), refused: 'health_status', send: [req('/')] },
])];
