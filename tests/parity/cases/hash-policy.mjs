// hash_policy, and the balancers that go by it: RING_HASH and MAGLEV. Hosts are named by the hash_key of their metadata, so that which one is chosen can be compared.
import { suite, req, router, TYPE } from '../lib/suite.mjs';
import { replies, ok } from '../lib/raw.mjs';

const all = { prefix: '/' };
const names = ['a', 'b', 'c', 'd'];
const host = (name, weight, more = {}) => ({ endpoint: { hostname: `${name}.test`, address: { socket_address: { address: '127.0.0.1', port_value: `\${port:${name}}` } }, ...more }, ...(weight && { load_balancing_weight: weight }), metadata: { filter_metadata: { 'envoy.lb': { hash_key: `host-${name}` } } } });
const upstreams = Object.fromEntries(names.map(name => [name, replies(ok(name))]));
const nulls = Object.fromEntries(names.map(name => [name, null]));
/** A cluster of four hosts, and what more it is. */
const four = (more = {}, weights = {}) => ({ clusters: { ...nulls, all: { lb_policy: 'RING_HASH', endpoints: names.map(name => host(name, weights[name])), ...more } }, upstreams, viewUpstream: () => [] });
const to = (policies, more = {}) => [{ match: all, route: { cluster: '$all', ...(policies && { hash_policy: policies }), ...more } }];
/** The last characters of the answers to these requests, one after the other on one connection. */
const answers = (...heads) => async ctx => {
  const c = await ctx.connect('main', { hidden: true });
  let out = '';
  for (const head of heads) { c.write(head); out += (await c.response()).slice(-1); }
  return out;
};
const numbers = Array.from({ length: 16 }, (_, i) => i);
const byHeader = answers(...numbers.map(i => req('/', `X-Key: key-${i}\r\n`)));
const header = { header: { header_name: 'x-key' } };
const stats = { stats: [/^cluster\.ID_all\.(ring_hash_lb|maglev_lb)/] };
const cookie = (more = {}) => ({ cookie: { name: 'stick', ...more } });
/** What the client is told of a cookie, without its value. */
const told = { view: text => text.replace(/="[0-9a-f]{16}"/g, '="<value>"') };
/** Whether all requests of a connection, and those with the cookie that it gave, went to one host. */
const sticky = async ctx => {
  const c = await ctx.connect('main', { hidden: true });
  const seen = new Set();
  let value;
  for (let i = 0; i < 3; i++) { c.write(req('/')); const text = await c.response(); value = /stick=("?[^;]*)/.exec(text)?.[1]; seen.add(text.slice(-1)); }
  const other = await ctx.connect('main', { hidden: true });
  for (let i = 0; i < 3; i++) { other.write(req('/', `Cookie: stick=${value}\r\n`)); seen.add((await other.response()).slice(-1)); }
  return { hosts: seen.size, given: Boolean(value) };
};
const state = (factory, text) => ({ http_filters: [{ name: 'state', typed_config: { '@type': `${TYPE}.extensions.filters.http.set_filter_state.v3.Config`, on_request_headers: [{ object_key: 'hash.me', factory_key: factory, format_string: { text_format_source: { inline_string: text } } }] } }, router] });
const retry = { retry_policy: { retry_on: '5xx', num_retries: 2, retry_back_off: { base_interval: '0.001s' }, host_selection_retry_max_attempts: 5, retry_host_predicate: [{ name: 'envoy.retry_host_predicates.previous_hosts', typed_config: { '@type': `${TYPE}.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate` } }] } };
const bad = ok('x', '', '503 X');
const weighted = by => [{ match: all, route: { hash_policy: [header], weighted_clusters: { clusters: [{ name: '$u', weight: 3 }, { name: '$v', weight: 5 }], ...by } } }];

export default [suite('hash policy', [
  { name: 'RING_HASH: by header', ...four(), routes: to([header]), client: byHeader, ...stats },
  { name: 'RING_HASH: with weights', ...four({}, { a: 1, b: 2, c: 3, d: 100 }), routes: to([header]), client: byHeader, ...stats },
  { name: 'RING_HASH: minimum_ring_size', ...four({ ring_hash_lb_config: { minimum_ring_size: 7 } }), routes: to([header]), client: byHeader, ...stats },
  { name: 'RING_HASH: maximum_ring_size', ...four({ ring_hash_lb_config: { minimum_ring_size: 5, maximum_ring_size: 6 } }), routes: to([header]), client: byHeader, ...stats },
  { name: 'RING_HASH: MURMUR_HASH_2', ...four({ ring_hash_lb_config: { hash_function: 'MURMUR_HASH_2' } }), routes: to([header]), client: byHeader, ...stats },
  { name: 'RING_HASH: use_hostname_for_hashing', ...four({ type: 'STRICT_DNS', dns_lookup_family: 'V4_ONLY', common_lb_config: { consistent_hashing_lb_config: { use_hostname_for_hashing: true } }, endpoints: names.map(name => ({ ...host(name), metadata: undefined })) }), routes: to([header]), client: byHeader, ...stats },
  { name: 'RING_HASH: no host', clusters: { u: { lb_policy: 'RING_HASH', endpoints: [] } }, routes: [{ match: all, route: { cluster: '$u', hash_policy: [header] } }], send: [req('/', 'X-Key: 1\r\n'), { res: 1 }], stats: [/^cluster\.ID_u\.ring_hash_lb/] },
  { name: 'RING_HASH: retries go elsewhere', ...four(), upstreams: Object.fromEntries(names.map(name => [name, replies(ok(name, '', '503 X'))])), routes: to([header], retry), client: byHeader },
  { name: 'RING_HASH: unhealthy hosts are not on it', ...four({ endpoints: names.map(name => ({ ...host(name), ...(name === 'b' && { health_status: 'UNHEALTHY' }) })) }), routes: to([header]), client: byHeader, ...stats },
  { name: 'MAGLEV: by header', ...four({ lb_policy: 'MAGLEV' }), routes: to([header]), client: byHeader, ...stats },
  { name: 'MAGLEV: with weights', ...four({ lb_policy: 'MAGLEV' }, { a: 1, b: 2, c: 3, d: 100 }), routes: to([header]), client: byHeader, ...stats },
  { name: 'MAGLEV: table_size', ...four({ lb_policy: 'MAGLEV', maglev_lb_config: { table_size: 11 } }), routes: to([header]), client: byHeader, ...stats },
  { name: 'MAGLEV: table_size of fewer than there are hosts', ...four({ lb_policy: 'MAGLEV', maglev_lb_config: { table_size: 3 } }), routes: to([header]), client: byHeader, ...stats },
  { name: 'MAGLEV: retries go elsewhere', ...four({ lb_policy: 'MAGLEV' }), upstreams: Object.fromEntries(names.map(name => [name, replies(ok(name, '', '503 X'))])), routes: to([header], retry), client: byHeader },
  { name: 'MAGLEV: no host', clusters: { u: { lb_policy: 'MAGLEV', endpoints: [] } }, routes: [{ match: all, route: { cluster: '$u', hash_policy: [header] } }], send: [req('/', 'X-Key: 1\r\n'), { res: 1 }], stats: [/^cluster\.ID_u\.maglev_lb/] },
  { name: 'hash_policy: several lines of a header, in any order', ...four(), routes: to([header]), client: answers(...numbers.flatMap(i => [req('/', `X-Key: k${i}\r\nX-Key: ${i}\r\n`), req('/', `X-Key: ${i}\r\nX-Key: k${i}\r\n`)])) },
  { name: 'hash_policy: an empty header', ...four(), routes: to([header]), client: answers(req('/', 'X-Key: \r\n'), req('/', 'X-Key:\r\nX-Key:\r\n')) },
  { name: 'hash_policy: regex_rewrite of a header', ...four(), routes: to([{ header: { header_name: 'x-key', regex_rewrite: { pattern: { regex: '^key-(\\d).*' }, substitution: '\\1' } } }]), client: byHeader },
  { name: 'hash_policy: a query parameter', ...four(), routes: to([{ query_parameter: { name: 'q' } }]), client: answers(...numbers.map(i => req(`/?x=1&q=${i}&q=2`)), req('/?q'), req('/?q='), req('/?q=%31'), req('/?q=1#f')) },
  { name: 'hash_policy: the client address', ...four(), hcm: { use_remote_address: false }, routes: to([{ connection_properties: { source_ip: true } }]), client: answers(...numbers.map(i => req('/', `X-Forwarded-For: 9.9.9.${i}\r\n`)), req('/')) },
  { name: 'hash_policy: source_ip false', ...four({ endpoints: [host('a')] }), routes: to([{ connection_properties: { source_ip: false } }]), client: answers(req('/')) },
  { name: 'hash_policy: filter state that can be hashed', ...four(), hcm: state('envoy.hashable_string', '%REQ(x-key)%'), routes: to([{ filter_state: { key: 'hash.me' } }]), client: byHeader },
  { name: 'hash_policy: several are mixed', ...four(), routes: to([header, { query_parameter: { name: 'q' } }, header]), client: answers(...numbers.map(i => req(`/?q=${i % 3}`, `X-Key: ${i}\r\n`))) },
  { name: 'hash_policy: terminal', ...four(), routes: to([{ ...header, terminal: true }, { query_parameter: { name: 'q' } }]), client: answers(...numbers.map(i => req(`/?q=${i}`, 'X-Key: same\r\n')), ...numbers.map(i => req(`/?q=${i}`))) },
  { name: 'hash_policy: the header as the route leaves it', ...four(), routes: [{ ...to([header])[0], request_headers_to_add: [{ header: { key: 'x-key', value: 'fixed' }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' }] }], client: byHeader },
  { name: 'hash_policy: the path before it is rewritten?', ...four(), routes: to([{ header: { header_name: ':path' } }], { prefix_rewrite: '/same/' }), client: answers(...numbers.map(i => req(`/${i}`))) },
  { name: 'hash_policy: a cookie that is there', ...four(), routes: to([cookie({ ttl: '0s' })]), client: answers(...numbers.map(i => req('/', `Cookie: a=b; stick=v${i}; c=d\r\n`)), req('/', 'Cookie: stick="v1"\r\n')) },
  { name: 'hash_policy: a cookie is given', ...four({ endpoints: [host('a')] }), routes: to([cookie({ ttl: '60s', path: '/p' })]), send: [req('/'), { res: 1 }], ...told },
  { name: 'hash_policy: a cookie of the session', ...four({ endpoints: [host('a')] }), routes: to([cookie({ ttl: '0s' })]), send: [req('/'), { res: 1 }], ...told },
  { name: 'hash_policy: a cookie of less than a second', ...four({ endpoints: [host('a')] }), routes: to([cookie({ ttl: '0.9s' })]), send: [req('/'), { res: 1 }], ...told },
  { name: 'hash_policy: attributes of a cookie', ...four({ endpoints: [host('a')] }), routes: to([cookie({ ttl: '60s', attributes: [{ name: 'SameSite', value: 'Strict' }, { name: 'Secure' }] })]), send: [req('/'), { res: 1 }], ...told },
  { name: 'hash_policy: no cookie without a ttl', ...four({ endpoints: [host('a')] }), routes: to([cookie()]), send: [req('/'), { res: 1 }] },
  { name: 'hash_policy: no cookie for who has one', ...four({ endpoints: [host('a')] }), routes: to([cookie({ ttl: '60s' })]), send: [req('/', 'Cookie: stick=x\r\n'), { res: 1 }] },
  { name: 'hash_policy: an empty cookie', ...four({ endpoints: [host('a')] }), routes: to([cookie({ ttl: '60s' })]), send: [req('/', 'Cookie: stick=\r\n'), { res: 1 }], ...told },
  { name: 'hash_policy: no cookie where hosts are not chosen by hash', ...four({ lb_policy: 'ROUND_ROBIN', endpoints: [host('a')] }), routes: to([cookie({ ttl: '60s' })]), send: [req('/'), { res: 1 }] },
  { name: 'hash_policy: no cookie behind a terminal rule', ...four({ endpoints: [host('a')] }), routes: to([{ ...header, terminal: true }, cookie({ ttl: '60s' })]), send: [req('/', 'X-Key: 1\r\n'), { res: 1 }] },
  { name: 'hash_policy: a cookie beside the upstream’s, and edits of the route', ...four({ endpoints: [host('a')] }), upstreams: { ...upstreams, a: replies(ok('a', 'set-cookie: own=1\r\nx-last: 1\r\n')) }, routes: [{ ...to([cookie({ ttl: '60s' })])[0], response_headers_to_add: [{ header: { key: 'x-added', value: '1' } }, { header: { key: 'set-cookie', value: 'route=1' } }] }], send: [req('/'), { res: 1 }], ...told },
  { name: 'hash_policy: a cookie and a retry', ...four({ endpoints: [host('a')] }), upstreams: { ...upstreams, a: replies(bad, ok('a')) }, routes: to([cookie({ ttl: '60s' })], { retry_policy: { retry_on: '5xx' } }), send: [req('/'), { res: 1 }], ...told },
  { name: 'hash_policy: a cookie and no answer', ...four({ endpoints: [host('a')] }), upstreams: { ...upstreams, a: 'refuse' }, routes: to([cookie({ ttl: '60s' })]), send: [req('/'), { res: 1 }], ...told },
  { name: 'hash_policy: the cookie leads to the same host', ...four(), routes: to([cookie({ ttl: '60s' })]), client: sticky },
  { name: 'hash_policy: hostile bytes', ...four(), routes: to([header, cookie({ ttl: '0s' }), { query_parameter: { name: 'q' } }]), client: answers(req('/?q=%00%0d%0a', 'X-Key: \xff\xfe\x80\r\nCookie: stick=\xff"; stick=2\r\n'), req('/?&&==&q', `X-Key: ${'x'.repeat(5000)}\r\nCookie: ;;;stick;=;\r\nCookie: stick=z\r\n`)) },
  { name: 'use_hash_policy: decides among weighted clusters', upstreams: { u: replies(ok('u')), v: replies(ok('v')) }, routes: weighted({ use_hash_policy: true }), client: byHeader, viewUpstream: () => [] },
  { name: 'use_hash_policy: no cookie is given', upstreams: { u: replies(ok('u')), v: replies(ok('u')) }, routes: [{ match: all, route: { ...weighted({ use_hash_policy: true })[0].route, hash_policy: [cookie({ ttl: '60s' })] } }], client: async ctx => { const c = await ctx.connect('main', { hidden: true }); c.write(req('/')); return /set-cookie/.test(await c.response()); }, viewUpstream: () => [] },
]), suite('hash-policy-refused', [
  { name: 'hash_policy: empty', routes: [{ match: all, route: { cluster: '$u', hash_policy: [{}] } }], refused: 'hash_policy[0]', send: [] },
  { name: 'hash_policy: a header without a name', routes: [{ match: all, route: { cluster: '$u', hash_policy: [{ header: {} }] } }], refused: 'header_name', send: [] },
  { name: 'RING_HASH: a minimum above the maximum', clusters: { u: { lb_policy: 'RING_HASH', ring_hash_lb_config: { minimum_ring_size: 9, maximum_ring_size: 8 } } }, refused: 'ring_hash_lb_config', send: [] },
  { name: 'MAGLEV: a size that is not prime', clusters: { u: { lb_policy: 'MAGLEV', maglev_lb_config: { table_size: 12 } } }, refused: 'table_size', send: [] },
  { name: 'RING_HASH: use_hostname_for_hashing with fixed addresses', clusters: { u: { lb_policy: 'RING_HASH', common_lb_config: { consistent_hashing_lb_config: { use_hostname_for_hashing: true } } } }, refused: 'use_hostname_for_hashing', send: [] },
])];
