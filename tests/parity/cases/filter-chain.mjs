// Filters that are left out or put in by route, and the options of LEAST_REQUEST.
import { suite, req, toU, router, TYPE } from '../lib/suite.mjs';
import { replies, ok } from '../lib/raw.mjs';

const all = { prefix: '/' };
const U = { route: { cluster: '$u' } };
const append = (key, value) => ({ append: { header: { key, value } } });
const mutation = (mutations, fields = {}) => ({ name: 'm', ...fields, typed_config: { '@type': `${TYPE}.extensions.filters.http.header_mutation.v3.HeaderMutation`, mutations } });
const own = { '@type': `${TYPE}.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute`, mutations: { request_mutations: [append('x-m', 'route')] } };
const wrapper = fields => ({ '@type': `${TYPE}.config.route.v3.FilterConfig`, ...fields });
const chain = (...f) => ({ http_filters: [...f, router] });
const on = mutation({ request_mutations: [append('x-m', 'chain')], response_mutations: [append('x-r', 'chain')] });
const off = mutation({ request_mutations: [append('x-m', 'chain')] }, { disabled: true });
const route = (prefix, m) => ({ match: { prefix }, ...U, ...(m && { typed_per_filter_config: { m } }) });
const get = (...paths) => paths.flatMap(p => [req(p), { res: 1 }]);

const weighted = (name, weight) => ({ endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: `\${port:${name}}` } } }, load_balancing_weight: weight });
const two = () => ({ a: replies(ok('a')), b: replies(ok('b')) });
const cluster = fields => ({ a: null, b: null, all: { endpoints: [weighted('a', 1), weighted('b', 3)], lb_policy: 'LEAST_REQUEST', ...fields } });
const toAll = [{ match: all, route: { cluster: '$all' } }];
/** How many of 40 requests, one after the other on one connection, each host got. */
const shares = async ctx => {
  const c = await ctx.connect('main', { hidden: true });
  const seen = { a: 0, b: 0 };
  for (let i = 0; i < 40; i += 1) {
    c.write(req('/'));
    const answer = await c.response();
    seen[answer.trim().at(-1)] += 1;
  }
  return seen;
};
const hidden = { hideUpstreams: true };

export default [suite('filter-chain', [
  { name: 'FilterConfig.disabled: by route', hcm: chain(on), routes: [route('/off', wrapper({ disabled: true })), route('/')], send: get('/off', '/on') },
  { name: 'FilterConfig.disabled: by virtual host, the route puts it in again', hcm: chain(on), vhosts: [{ name: 'v', domains: ['*'], typed_per_filter_config: { m: wrapper({ disabled: true }) }, routes: [route('/plain', own), route('/wrapped', wrapper({ config: own })), route('/')] }], send: get('/plain', '/wrapped', '/off') },
  { name: 'FilterConfig.disabled: by route configuration', hcm: chain(on), routeConfig: { name: 'r', typed_per_filter_config: { m: wrapper({ disabled: true }) }, virtual_hosts: [{ name: 'v', domains: ['*'], routes: [route('/r', own), route('/')] }] }, send: get('/r', '/') },
  { name: 'FilterConfig.disabled: a weighted cluster decides before its route', hcm: chain(on), routes: [{ match: all, route: { weighted_clusters: { clusters: [{ name: '$u', weight: 1, typed_per_filter_config: { m: wrapper({ disabled: true }) } }] } }, typed_per_filter_config: { m: own } }], send: get('/') },
  { name: 'FilterConfig.disabled: a name that is not in the chain', hcm: chain(on), routes: [{ ...route('/'), typed_per_filter_config: { other: wrapper({ disabled: true }) } }], send: get('/') },
  { name: 'HttpFilter.disabled: out by default, in where a route configures it', hcm: chain(off), routes: [route('/plain', own), route('/wrapped', wrapper({ config: own })), route('/off', wrapper({ disabled: true })), route('/')], send: get('/plain', '/wrapped', '/off', '/') },
  { name: 'HttpFilter.disabled: out without a route', hcm: chain(off), vhosts: [{ name: 'v', domains: ['b.test'], routes: [toU] }], send: get('/') },
  { name: 'HttpFilter.disabled: two of one kind', hcm: chain({ ...off, name: 'n' }, on), routes: [route('/')], send: get('/') },

  { name: 'LEAST_REQUEST: weights without requests under way', upstreams: two(), clusters: cluster(), routes: toAll, client: shares, ...hidden },
  { name: 'LEAST_REQUEST: active_request_bias 0 is the weights alone', upstreams: two(), clusters: cluster({ least_request_lb_config: { active_request_bias: { default_value: 0, runtime_key: 'x' } } }), routes: toAll, client: shares, ...hidden },
  { name: 'LEAST_REQUEST: a negative active_request_bias has no effect', upstreams: two(), clusters: cluster({ least_request_lb_config: { active_request_bias: { default_value: -2, runtime_key: 'x' } } }), routes: toAll, client: shares, ...hidden },
  { name: 'LEAST_REQUEST: slow_start_config', unsupported: 'slow_start_config', clusters: { u: { lb_policy: 'LEAST_REQUEST', least_request_lb_config: { slow_start_config: { slow_start_window: '10s' } } } }, send: get('/') },
]), suite('filter-chain-refused', [
  { name: 'refused: HttpFilter.disabled on the router', refused: 'disabled', hcm: { http_filters: [{ ...router, disabled: true }] }, send: [] },
  { name: 'refused: an empty FilterConfig', refused: 'typed_per_filter_config', hcm: chain(on), routes: [route('/', wrapper({}))], send: [] },
  { name: 'refused: a FilterConfig with another filter\'s configuration', refused: 'typed_per_filter_config', hcm: chain(on), routes: [route('/', wrapper({ config: { '@type': `${TYPE}.config.route.v3.FilterConfig` } }))], send: [] },
  { name: 'refused: LEAST_REQUEST choice_count below 2', refused: 'choice_count', clusters: { u: { lb_policy: 'LEAST_REQUEST', least_request_lb_config: { choice_count: 1 } } }, send: [] },
], { alone: true })];
