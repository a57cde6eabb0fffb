// Policies of clusters (HttpProtocolOptions): retries, hashes, shadows; retry_priority; how much of a body routes keep.
import { suite, req, TYPE } from '../lib/suite.mjs';
import { replies, ok } from '../lib/raw.mjs';

const all = { prefix: '/' };
const LOG = { log: { log_format: { text_format_source: { inline_string: '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT%\n' } } } };
const options = extra => ({ typed_extension_protocol_options: { 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': { '@type': `${TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions`, explicit_http_config: { http_protocol_options: {} }, ...extra } } });
const fail = (status = 503) => ok('bad', '', `${status} X`);
const backOff = { retry_back_off: { base_interval: '0.005s' } };
const policy = (extra = {}) => ({ retry_on: '5xx', ...backOff, ...extra });
const route = (extra = {}) => [{ match: all, route: { cluster: '$u', ...extra } }];
const hidden = { viewUpstream: () => [] };
const one = [req('/'), { res: 1 }];
const names = ['a', 'b', 'c'];
const hosts = { clusters: more => ({ ...Object.fromEntries(names.map(n => [n, null])), all: { lb_policy: 'RING_HASH', endpoints: names.map(name => ({ endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: `\${port:${name}}` } } }, metadata: { filter_metadata: { 'envoy.lb': { hash_key: `host-${name}` } } } })), ...more } }), upstreams: Object.fromEntries(names.map(n => [n, replies(ok(n))])) };
const header = name => ({ header: { header_name: name } });
const byHeaders = async ctx => { const c = await ctx.connect('main', { hidden: true }); let out = ''; for (let i = 0; i < 12; i++) { c.write(req('/', `X-A: ${i}\r\nX-B: ${i % 4}\r\n`)); out += (await c.response()).slice(-1); } return out; };
const previous = { name: 'envoy.retry_priorities.previous_priorities', typed_config: { '@type': `${TYPE}.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig`, update_frequency: 2 } };
const post = size => [`POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: ${size}\r\n\r\n${'x'.repeat(size)}`, { res: 1 }];
const two = { u: replies(fail(), ok('good')) };

export default [suite('cluster policies', [
  { name: 'retry_policy of a cluster: alone', clusters: { u: options({ retry_policy: policy() }) }, upstreams: two, send: one, ...hidden, ...LOG },
  { name: 'retry_policy of a cluster: the route has one', clusters: { u: options({ retry_policy: policy() }) }, upstreams: two, routes: route({ retry_policy: { retry_on: 'gateway-error', num_retries: 0, ...backOff } }), send: one, ...hidden, ...LOG },
  { name: 'retry_policy of a cluster: the virtual host has one', clusters: { u: options({ retry_policy: policy() }) }, upstreams: two, vhosts: [{ name: 'v', domains: ['*'], retry_policy: { retry_on: 'connect-failure' }, routes: route() }], send: one, ...hidden, ...LOG },
  { name: 'retry_policy of a cluster: an empty one of the route', clusters: { u: options({ retry_policy: policy() }) }, upstreams: two, routes: route({ retry_policy: {} }), send: one, ...hidden, ...LOG },
  { name: 'retry_policy of a cluster: per_try_timeout', clusters: { u: options({ retry_policy: policy({ per_try_timeout: '0.4s' }) }) }, upstreams: { u: replies([1500, ok('late')]) }, send: one, ...LOG },
  { name: 'retry_policy of a cluster: a body is replayed', clusters: { u: options({ retry_policy: policy() }) }, upstreams: two, send: post(2000), ...hidden, ...LOG },
  { name: 'hash_policy of a cluster: alone', ...hosts, clusters: hosts.clusters(options({ hash_policy: [header('x-a')] })), routes: [{ match: all, route: { cluster: '$all' } }], client: byHeaders, ...hidden },
  { name: 'hash_policy of a cluster: the route has one', ...hosts, clusters: hosts.clusters(options({ hash_policy: [header('x-a')] })), routes: [{ match: all, route: { cluster: '$all', hash_policy: [header('x-b')] } }], client: byHeaders, ...hidden },
  { name: 'hash_policy of a cluster: the route has one that finds nothing', ...hosts, clusters: hosts.clusters({ ...options({ hash_policy: [header('x-a')] }), endpoints: [hosts.clusters({}).all.endpoints[0]] }), routes: [{ match: all, route: { cluster: '$all', hash_policy: [header('x-none')] } }], client: byHeaders, ...hidden },
  { name: 'request_mirror_policies of a cluster: alone', clusters: { u: options({ request_mirror_policies: [{ cluster: '$s' }] }) }, upstreams: { u: replies(ok()), s: replies(ok()) }, routes: route(), send: [...one, 200] },
  { name: 'request_mirror_policies of a cluster: the route has some', clusters: { u: options({ request_mirror_policies: [{ cluster: '$s' }] }) }, upstreams: { u: replies(ok()), s: replies(ok()), t: replies(ok()) }, routes: route({ request_mirror_policies: [{ cluster: '$t' }] }), send: [...one, 200] },
  { name: 'request_mirror_policies of a cluster: of a cluster that is not there', clusters: { u: options({ request_mirror_policies: [{ cluster: 'nowhere' }] }) }, routes: route(), send: [...one, 200] },
  { name: 'retry_priority: previous_priorities', upstreams: two, routes: route({ retry_policy: policy({ retry_priority: previous }) }), send: one, ...hidden, ...LOG },
  { name: 'retry_priority: many retries', upstreams: { u: replies(fail(), fail(), fail(), ok('good')) }, routes: route({ retry_policy: policy({ num_retries: 3, retry_priority: previous }) }), send: one, ...hidden, ...LOG },
  { name: 'request_body_buffer_limit: of the route, enough', upstreams: two, routes: [{ ...route({ retry_policy: policy() })[0], request_body_buffer_limit: 5000 }], listener: { per_connection_buffer_limit_bytes: 1024 }, send: post(4000), ...hidden, ...LOG },
  { name: 'request_body_buffer_limit: of the route, too little', upstreams: two, routes: [{ ...route({ retry_policy: policy() })[0], request_body_buffer_limit: 1000 }], send: post(4000), ...hidden, ...LOG },
  { name: 'request_body_buffer_limit: of the virtual host', upstreams: two, vhosts: [{ name: 'v', domains: ['*'], request_body_buffer_limit: 1000, routes: route({ retry_policy: policy() }) }], send: post(4000), ...hidden, ...LOG },
  { name: 'request_body_buffer_limit: of the route before the virtual host', upstreams: two, vhosts: [{ name: 'v', domains: ['*'], request_body_buffer_limit: 1000, routes: [{ ...route({ retry_policy: policy() })[0], request_body_buffer_limit: 5000 }] }], send: post(4000), ...hidden, ...LOG },
  { name: 'per_request_buffer_limit_bytes: of the virtual host', upstreams: two, vhosts: [{ name: 'v', domains: ['*'], per_request_buffer_limit_bytes: 1000, routes: route({ retry_policy: policy() }) }], send: post(4000), ...hidden, ...LOG },
]), suite('cluster-policies-refused', [
  { name: 'retry_priority: an unknown one', routes: route({ retry_policy: policy({ retry_priority: { name: 'x', typed_config: { '@type': 'type.googleapis.com/google.protobuf.Struct' } } }) }), refused: 'retry_priority', send: [] },
  { name: 'hash_policy of a cluster: an empty rule', clusters: { u: options({ hash_policy: [{}] }) }, refused: 'hash_policy[0]', send: [] },
  { name: 'retry_policy of a cluster: bad intervals', clusters: { u: options({ retry_policy: { retry_on: '5xx', retry_back_off: { base_interval: '2s', max_interval: '1s' } } }) }, refused: 'max_interval', send: [] },
])];
