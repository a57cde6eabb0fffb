// Limits of one attempt (per_try_timeout, per_try_idle_timeout) and hedging: another attempt beside a slow one.
import { suite, req, h2upstream, h2 } from '../lib/suite.mjs';
import { replies, ok } from '../lib/raw.mjs';

const all = { prefix: '/' };
const fail = (status = 503, body = 'bad') => ok(body, '', `${status} X`);
const route = (policy, extra = {}) => [{ match: all, route: { cluster: '$u', timeout: '3s', retry_policy: policy, ...extra } }];
const hedged = (policy = {}, extra = {}) => route({ retry_on: '5xx,reset', per_try_timeout: '0.3s', ...policy }, { hedge_policy: { hedge_on_per_try_timeout: true }, ...extra });
const log = { log: { log_format: { text_format_source: { inline_string: '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT%\n' } } } };
/** What an attempt's end counts; not how long things took, nor what a client that is still connected does. */
const counted = { ...log, stats: [/(upstream_rq|retry|_rq_(total|reset|timeout|[2-5]xx|error)|upstream_cx_destroy).*: [1-9]/, /rq_active: /], statsText: async ctx => {
  const lines = t => t.split('\n').filter(l => !/_time:|_ms:|_bytes/.test(l));
  const hosts = (await ctx.admin('/clusters')).split('\n').filter(l => l.startsWith(`${ctx.id}_`) && /::(rq_error|rq_success|rq_timeout|rq_total|rq_active)::/.test(l)).map(l => l.replace(/::127\.0\.0\.1:\d+::(\w+)::/, '.host.upstream_rq_$1: '));
  return [...lines(await ctx.admin('/stats')), ...hosts].join('\n');
} };
const get = [req('/'), { res: 1 }];
const post = [req('/', '', 'the body'), { res: 1 }];

export default [suite('hedge', [
  { name: 'per_try_timeout: an answer that began goes on', upstreams: { u: replies(['HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab', 500, 'cd']) }, routes: route({ retry_on: 'reset', per_try_timeout: '0.3s' }), send: get, ...counted },
  { name: 'per_try_timeout: the last one is the answer', upstreams: { u: replies(1500) }, routes: route({ retry_on: 'reset', num_retries: 1, per_try_timeout: '0.2s' }), send: get, ...counted },
  { name: 'per_try_timeout: no condition wants a retry', upstreams: { u: replies(1500) }, routes: route({ retry_on: 'connect-failure', per_try_timeout: '0.2s' }), send: get, ...counted },
  { name: 'per_try_timeout: 5xx wants a retry', upstreams: { u: replies(1500, ok('good')) }, routes: route({ retry_on: '5xx', per_try_timeout: '0.2s' }), send: get, ...counted },
  { name: 'per_try_timeout: gateway-error wants a retry', upstreams: { u: replies(1500, ok('good')) }, routes: route({ retry_on: 'gateway-error', per_try_timeout: '0.2s' }), send: get, ...counted },
  { name: 'per_try_timeout: no retry_on at all', upstreams: { u: replies([700, ok('late')]) }, routes: route({ per_try_timeout: '0.2s' }), send: get, ...counted },
  { name: 'per_try_timeout: runs from the end of the request', upstreams: { u: replies([100, ok('good')]) }, routes: route({ retry_on: 'reset', per_try_timeout: '0.4s' }), send: ['POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 6\r\n\r\nabc', 700, 'def', { res: 1 }], ...counted },
  { name: 'per_try_timeout: a websocket that is not accepted in time', hcm: { upgrade_configs: [{ upgrade_type: 'websocket' }] }, upstreams: { u: replies(1500) }, routes: route({ retry_on: 'reset', num_retries: 0, per_try_timeout: '0.3s' }), send: [req('/', 'Connection: Upgrade\r\nUpgrade: websocket\r\n'), { res: 1 }], ...counted },
  { name: 'per_try_timeout: an accepted websocket goes on', hcm: { upgrade_configs: [{ upgrade_type: 'websocket' }] }, upstreams: { u: replies(['HTTP/1.1 101 X\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n', 700, 'late']) }, routes: route({ retry_on: 'reset', per_try_timeout: '0.3s', per_try_idle_timeout: '0.3s' }), send: [req('/', 'Connection: Upgrade\r\nUpgrade: websocket\r\n'), { has: 'late' }], settle: 500, ...log },

  { name: 'per_try_idle_timeout: no head in time, retried', upstreams: { u: replies([1500, ok('late')], ok('good')) }, routes: route({ retry_on: 'reset', per_try_idle_timeout: '0.3s' }), send: get, ...counted },
  { name: 'per_try_idle_timeout: no head in time, not retried', upstreams: { u: replies(1500) }, routes: route({ retry_on: 'connect-failure', per_try_idle_timeout: '0.3s' }), send: get, ...counted },
  { name: 'per_try_idle_timeout: the answer stops', upstreams: { u: replies(['HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab', 1500]) }, routes: route({ retry_on: 'reset', per_try_idle_timeout: '0.3s' }), send: get, ...counted },
  { name: 'per_try_idle_timeout: each piece of the answer gives more time', upstreams: { u: replies([400, 'HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n', 400, 'ab', 400, 'cd']) }, routes: route({ retry_on: 'reset', per_try_idle_timeout: '0.8s' }), send: get, ...counted },
  { name: 'per_try_idle_timeout: the shorter of two comes first', upstreams: { u: replies(1500) }, routes: route({ retry_on: 'connect-failure', per_try_timeout: '0.9s', per_try_idle_timeout: '0.3s' }), send: get, ...counted },
  { name: 'per_try_idle_timeout: zero is none', upstreams: { u: replies([500, ok('late')]) }, routes: route({ retry_on: 'reset', per_try_idle_timeout: '0s' }), send: get, ...log },
  { name: 'per_try_idle_timeout: HTTP/2 upstream stops', clusters: { u: h2upstream() }, upstreams: { u: h2(stream => { stream.respond({ ':status': 200 }, { sendDate: false }); stream.write('ab'); }) }, routes: route({ retry_on: 'reset', per_try_idle_timeout: '0.3s' }), send: get, ...counted },

  { name: 'hedge_policy: the second attempt is faster', upstreams: { u: replies([1000, ok('slow')], ok('fast')) }, routes: hedged(), send: get, ...counted },
  { name: 'hedge_policy: the first attempt answers first after all', upstreams: { u: replies([900, ok('first')], [1500, ok('second')]) }, routes: hedged({ per_try_timeout: '0.6s' }), send: get, ...counted },
  { name: 'hedge_policy: body is sent again', upstreams: { u: replies([1000, ok('slow')], ok('fast')) }, routes: hedged(), send: post, ...counted },
  { name: 'hedge_policy: a bad second answer waits for the first', upstreams: { u: replies([900, ok('first')], fail()) }, routes: hedged({ num_retries: 1 }), send: get, ...counted },
  { name: 'hedge_policy: two bad answers, the last one counts', upstreams: { u: replies([900, fail(500, 'first')], fail(503, 'second')) }, routes: hedged({ num_retries: 1 }), send: get, ...counted },
  { name: 'hedge_policy: a second attempt that is reset waits for the first', upstreams: { u: replies([1500, ok('first')], { reset: true }) }, routes: hedged({ num_retries: 1, per_try_timeout: '0.6s' }), send: get, ...counted },
  { name: 'hedge_policy: both are reset', upstreams: { u: replies([1200, { reset: true }], { reset: true }) }, routes: hedged({ num_retries: 1, per_try_timeout: '0.6s' }), send: get, ...counted },
  { name: 'hedge_policy: the first is reset while the second is under way', upstreams: { u: replies([900, { reset: true }], [600, ok('second')]) }, routes: hedged({ num_retries: 1, per_try_timeout: '0.9s' }), send: get, ...counted },
  { name: 'hedge_policy: three at once', upstreams: { u: replies([1500, ok('one')], [1500, ok('two')], ok('three')) }, routes: hedged({ num_retries: 2 }), send: get, ...counted },
  { name: 'hedge_policy: a bad second answer is retried while the first goes on', upstreams: { u: replies([1500, ok('one')], fail(), ok('three')) }, routes: hedged({ num_retries: 2 }), send: get, ...counted },
  { name: 'hedge_policy: retries are used up', upstreams: { u: replies([900, ok('late')]) }, routes: hedged({ num_retries: 0 }), send: get, ...counted },
  { name: 'hedge_policy: without a condition a slow attempt is hedged too', upstreams: { u: replies([1000, ok('slow')], ok('fast')) }, routes: hedged({ retry_on: 'retriable-4xx' }), send: get, ...counted },
  { name: 'hedge_policy: without a retry policy nothing is hedged', upstreams: { u: replies([600, ok('late')], ok('fast')) }, routes: [{ match: all, route: { cluster: '$u', hedge_policy: { hedge_on_per_try_timeout: true }, retry_policy: { per_try_timeout: '0.2s' } } }], send: get, ...counted },
  { name: 'hedge_policy: the whole timeout ends both', upstreams: { u: replies(2500) }, routes: hedged({ per_try_timeout: '0.8s' }, { timeout: '1.2s' }), send: get, ...counted },
  { name: 'hedge_policy: no leave for another retry', clusters: { u: { circuit_breakers: { thresholds: [{ max_retries: 0 }] } } }, upstreams: { u: replies([900, ok('late')]) }, routes: hedged(), send: get, ...counted },
  { name: 'hedge_policy: no leave for another request', clusters: { u: { circuit_breakers: { thresholds: [{ max_requests: 1 }] } } }, upstreams: { u: replies([900, ok('late')]) }, routes: hedged(), send: get, ...counted },
  { name: 'hedge_policy: a body too large to keep is not sent twice', listener: { per_connection_buffer_limit_bytes: 1024 }, upstreams: { u: replies([900, ok('late')], ok('fast')) }, routes: hedged(), send: [req('/', '', 'x'.repeat(5000)), { res: 1 }], viewUpstream: saw => saw.map(w => ({ ...w, bytes: w.bytes.split('\r\n')[0] })), ...counted },
  { name: 'hedge_policy: the answer began, nothing is hedged', upstreams: { u: replies(['HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab', 600, 'cd'], ok('fast')) }, routes: hedged(), send: get, ...counted },
  { name: 'hedge_policy: per_try_idle_timeout hedges too', upstreams: { u: replies([1000, ok('slow')], ok('fast')) }, routes: hedged({ per_try_timeout: '0s', per_try_idle_timeout: '0.3s' }), send: get, ...counted },
  { name: 'hedge_policy: the client leaves while two are under way', upstreams: { u: replies(2500) }, routes: hedged({ per_try_timeout: '0.6s' }), send: [req('/'), 900, { rst: 1 }, 300], settle: 300, ...counted },
  { name: 'hedge_policy: the winner is reset in the middle', upstreams: { u: replies(1500, ['HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab', 100, { reset: true }]) }, routes: hedged(), send: get, ...counted },
  { name: 'hedge_policy: HTTP/2 upstream', clusters: { u: h2upstream() }, upstreams: { u: h2((stream, r, up) => { if (up.requests.length > 1) { stream.respond({ ':status': 200 }, { sendDate: false }); stream.end('fast'); } }) }, routes: hedged(), send: get, ...counted },
  { name: 'hedge_policy: attempt count and timeout headers', vhosts: [{ name: 'v', domains: ['*'], include_request_attempt_count: true, include_attempt_count_in_response: true, routes: hedged() }], upstreams: { u: replies([1000, ok('slow')], ok('fast')) }, send: get },
  { name: 'hedge_policy: of the virtual host', vhosts: [{ name: 'v', domains: ['*'], hedge_policy: { hedge_on_per_try_timeout: true }, routes: route({ retry_on: 'reset', per_try_timeout: '0.3s' }) }], upstreams: { u: replies([900, ok('slow')], ok('fast')) }, send: get, ...log },
  { name: 'hedge_policy: of the route in place of the virtual host', vhosts: [{ name: 'v', domains: ['*'], hedge_policy: { hedge_on_per_try_timeout: true }, routes: route({ retry_on: 'reset', per_try_timeout: '0.3s' }, { hedge_policy: {} }) }], upstreams: { u: replies([900, ok('slow')], ok('fast')) }, send: get, ...log },
  { name: 'hedge_policy: x-envoy-hedge-on-per-try-timeout of an internal client', hcm: { use_remote_address: true }, upstreams: { u: replies([1000, ok('slow')], ok('fast')) }, routes: route({ retry_on: '5xx', per_try_timeout: '0.3s' }), send: [req('/', 'x-envoy-hedge-on-per-try-timeout: true\r\n'), { res: 1 }], ...log },
  { name: 'hedge_policy: x-envoy-hedge-on-per-try-timeout: false', hcm: { use_remote_address: true }, upstreams: { u: replies([900, ok('slow')], ok('fast')) }, routes: hedged(), send: [req('/', 'x-envoy-hedge-on-per-try-timeout: false\r\n'), { res: 1 }], ...log },
  { name: 'hedge_policy: initial_requests and additional_request_chance have no effect', upstreams: { u: replies(ok('one'), ok('two')) }, routes: [{ match: all, route: { cluster: '$u', hedge_policy: { initial_requests: 3, additional_request_chance: { numerator: 100 } } } }], send: get, ...counted },
  { name: 'interim answers: no retry behind 103', upstreams: { u: replies(['HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n', 50, fail()], ok('good')) }, routes: route({ retry_on: '5xx' }), send: get, ...counted },
  { name: 'interim answers: no retry behind 100', upstreams: { u: replies(['HTTP/1.1 100 Continue\r\n\r\n', 50, fail()], ok('good')) }, routes: route({ retry_on: '5xx' }), send: post, ...counted },
  { name: 'interim answers: a reset behind 103', upstreams: { u: replies(['HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n', 50, { reset: true }], ok('good')) }, routes: route({ retry_on: 'reset' }), send: get, ...counted },
  { name: 'interim answers: a timeout behind 103', upstreams: { u: replies(['HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n', 1500]) }, routes: route({ retry_on: 'reset', per_try_timeout: '0.2s' }, { timeout: '0.8s' }), send: get, ...counted },
  { name: 'interim answers: 103 of the first of two ends the second', upstreams: { u: replies([900, 'HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n', 500, ok('first')], [1200, ok('second')]) }, routes: hedged({ per_try_timeout: '0.6s' }), send: get, ...counted },
]), suite('hedge-refused', [
  { name: 'hedge_policy: initial_requests zero', routes: [{ match: all, route: { cluster: '$u', hedge_policy: { initial_requests: 0 } } }], refused: 'initial_requests', send: [] },
])];
