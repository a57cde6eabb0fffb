// Circuit breakers: what remains, limits by host, budgets of retries over a time.
import { suite, req, h2upstream, h2 } from '../lib/suite.mjs';
import { replies, ok } from '../lib/raw.mjs';

const all = { prefix: '/' };
const LOG = { log: { log_format: { text_format_source: { inline_string: '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT%\n' } } } };
const fail = (status = 503) => ok('bad', '', `${status} X`);
const breakers = (threshold, more = {}) => ({ clusters: { u: { circuit_breakers: { thresholds: [threshold], ...more } } } });
const perHost = (...list) => ({ clusters: { u: { circuit_breakers: { per_host_thresholds: list } } } });
const stats = { stats: [/^cluster\.ID_u\.(circuit_breakers|upstream_(rq_retry|rq_pending_overflow|cx_overflow|cx_total|rq_total))/] };
const slow = ms => replies([ms, ok('late')]);
const retry = (extra = {}) => [{ match: all, route: { cluster: '$u', retry_policy: { retry_on: '5xx', num_retries: 1, retry_back_off: { base_interval: '0.005s' }, ...extra } } }];
/** `n` requests at once, each on a connection of its own, 100 ms apart; what is counted once all are under way, and how they were answered. */
const together = (n, under = ctx => ctx.admin('/stats'), pattern = /circuit_breakers|upstream_cx_overflow/) => async ctx => {
  const wires = [];
  for (let i = 0; i < n; i++) {
    const wire = await ctx.connect('main', { hidden: true });
    wire.write(req('/'));
    wires.push(wire);
    await ctx.sleep(100);
  }
  const text = await under(ctx);
  const statuses = [];
  for (const wire of wires) statuses.push((await wire.response()).slice(9, 12));
  const during = text.split('\n').filter(l => l.startsWith(`cluster.${ctx.id}_u.`) && pattern.test(l)).map(l => l.replace(`cluster.${ctx.id}_u.`, ''));
  return { statuses: statuses.sort().join(' '), during };
};
const hidden = { viewUpstream: () => [] };

export default [suite('circuit breakers', [
  { name: 'track_remaining: while requests are under way', ...breakers({ max_connections: 7, max_requests: 8, max_pending_requests: 9, max_retries: 2, track_remaining: true }), upstreams: { u: slow(1200) }, client: together(2), ...hidden, ...stats },
  { name: 'track_remaining: full', ...breakers({ max_connections: 1, max_requests: 1, max_pending_requests: 1, track_remaining: true }), upstreams: { u: slow(1200) }, client: together(3), ...hidden, ...stats },
  { name: 'track_remaining: more than the limit', ...breakers({ max_connections: 0, track_remaining: true }), upstreams: { u: slow(1200) }, client: together(1), ...hidden },
  { name: 'track_remaining: of HIGH alone', ...breakers({ priority: 'HIGH', max_requests: 4, track_remaining: true }), routes: [{ match: all, route: { cluster: '$u', priority: 'HIGH' } }], upstreams: { u: slow(1200) }, client: together(1), ...hidden, ...stats },
  { name: 'track_remaining: with a budget', ...breakers({ track_remaining: true, retry_budget: { budget_percent: { value: 50 }, min_retry_concurrency: 2 } }), upstreams: { u: replies(fail(), [1500, ok()]) }, routes: retry(), client: together(1), ...hidden, ...stats },
  { name: 'track_remaining: a huge limit', ...breakers({ max_connections: 4294967295, max_requests: 4294967295, track_remaining: true }), send: [req('/'), { res: 1 }], ...stats },
  { name: 'track_remaining: false', ...breakers({ max_requests: 4 }), send: [req('/'), { res: 1 }], ...stats },
  { name: 'track_remaining: HTTP/2', clusters: { u: { ...h2upstream(), circuit_breakers: { thresholds: [{ max_requests: 5, track_remaining: true }] } } }, upstreams: { u: h2() }, send: [req('/'), { res: 1 }], ...stats },
  { name: 'retry_budget: the gauge without a retry', ...breakers({ retry_budget: { budget_percent: { value: 0 }, min_retry_concurrency: 0 } }), upstreams: { u: replies(fail()) }, routes: retry(), send: [req('/'), { res: 1 }], ...LOG, ...stats },
  { name: 'retry_budget: the gauge while a retry is under way', ...breakers({ retry_budget: { budget_percent: { value: 0 }, min_retry_concurrency: 1 } }), upstreams: { u: replies(fail(), [1500, ok()]) }, routes: retry(), client: together(1), ...hidden, ...stats },
  { name: 'budget_interval: requests that are over count', ...breakers({ retry_budget: { budget_percent: { value: 50 }, min_retry_concurrency: 0, budget_interval: '20s' } }), upstreams: { u: replies(ok(), ok(), ok(), fail(), fail()) }, routes: retry(), send: [req('/'), { res: 1 }, req('/'), { res: 1 }, req('/'), { res: 1 }, req('/'), { res: 1 }], logLines: 4, ...hidden, ...LOG, ...stats },
  { name: 'budget_interval: none of a past one', ...breakers({ retry_budget: { budget_percent: { value: 50 }, min_retry_concurrency: 0, budget_interval: '0.2s' } }), upstreams: { u: replies(ok(), ok(), ok(), fail(), fail()) }, routes: retry(), send: [req('/'), { res: 1 }, req('/'), { res: 1 }, req('/'), { res: 1 }, 1500, req('/'), { res: 1 }], logLines: 4, ...hidden, ...LOG, ...stats },
  { name: 'budget_interval: retries that are over count', ...breakers({ retry_budget: { budget_percent: { value: 50 }, min_retry_concurrency: 1, budget_interval: '20s' } }), upstreams: { u: replies(fail(), ok(), fail(), ok(), fail(), ok()) }, routes: retry(), send: [req('/'), { res: 1 }, req('/'), { res: 1 }, req('/'), { res: 1 }], logLines: 3, ...hidden, ...LOG, ...stats },
  { name: 'budget_interval: zero', ...breakers({ retry_budget: { budget_percent: { value: 50 }, min_retry_concurrency: 0, budget_interval: '0s' } }), upstreams: { u: replies(ok(), ok(), fail(), ok()) }, routes: retry(), send: [req('/'), { res: 1 }, req('/'), { res: 1 }, req('/'), { res: 1 }], logLines: 3, ...hidden, ...LOG, ...stats },
  ...[['one request', 50, 0], ['one request at 100', 100, 0], ['two requests at 34', 34, 1], ['two requests at 50', 50, 1], ['four requests at 25', 25, 3], ['four requests at 20', 20, 3]].map(([what, value, before]) => ({ name: `budget_interval: ${what}`, ...breakers({ retry_budget: { budget_percent: { value }, min_retry_concurrency: 0, budget_interval: '20s' } }), upstreams: { u: replies(...Array(before).fill(ok()), fail(), fail()) }, routes: retry(), send: [...Array(before).fill([req('/'), { res: 1 }]).flat(), req('/'), { res: 1 }], logLines: before + 1, ...hidden, ...LOG, ...stats })),
  { name: 'budget_interval: a retry uses it up', ...breakers({ retry_budget: { budget_percent: { value: 20 }, min_retry_concurrency: 0, budget_interval: '20s' } }), upstreams: { u: replies(ok(), ok(), ok(), ok(), fail(), ok(), fail(), ok()) }, routes: retry(), send: Array(6).fill([req('/'), { res: 1 }]).flat(), logLines: 6, ...hidden, ...LOG, ...stats },
  ...[[2000, 1000], [2000, 3000], [1000, 500]].map(([interval, pause]) => ({ name: `budget_interval: ${interval} ms, after ${pause}`, ...breakers({ retry_budget: { budget_percent: { value: 25 }, min_retry_concurrency: 0, budget_interval: `${interval / 1000}s` } }), upstreams: { u: replies(ok(), ok(), ok(), ok(), fail(), ok()) }, routes: retry(), send: [...Array(4).fill([req('/'), { res: 1 }]).flat(), pause, req('/'), { res: 1 }], logLines: 5, ...hidden, ...LOG, ...stats })),
  { name: 'per_host_thresholds: max_connections', ...perHost({ max_connections: 1 }), upstreams: { u: slow(900) }, client: together(2), ...hidden, ...stats },
  { name: 'per_host_thresholds: of another priority', ...perHost({ priority: 'HIGH', max_connections: 1 }), upstreams: { u: slow(900) }, client: together(2), ...hidden, ...stats },
  { name: 'per_host_thresholds: the first of a priority', ...perHost({ max_connections: 2 }, { max_connections: 1 }), upstreams: { u: slow(900) }, client: together(3), ...hidden, ...stats },
  { name: 'per_host_thresholds: none at all', ...perHost({ max_connections: 0 }), upstreams: { u: slow(900) }, client: together(1), ...hidden, ...stats },
  { name: 'max_connection_pools: one', unsupported: 'max_connection_pools', ...breakers({ max_connection_pools: 1, track_remaining: true }), send: [req('/'), { res: 1 }], ...LOG, ...stats },
  { name: 'max_connection_pools: none', unsupported: 'max_connection_pools', ...breakers({ max_connection_pools: 0, track_remaining: true }), send: [req('/'), { res: 1 }], ...LOG, ...stats },
]), suite('circuit-breakers-refused', [
  { name: 'per_host_thresholds: another limit', ...perHost({ max_requests: 1 }), refused: 'per_host_thresholds', send: [] },
  { name: 'budget_interval: negative', ...breakers({ retry_budget: { budget_interval: '-1s' } }), refused: 'budget_interval', send: [] },
])];
