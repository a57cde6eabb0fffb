// Retry policies: what is tried again, where, how often, after which pause; budgets and their statistics.
import { suite, req, h2upstream, h2, TYPE } from '../lib/suite.mjs';
import { replies, repliesAtHead, ok } from '../lib/raw.mjs';

const all = { prefix: '/' };
const LOG = { log: { log_format: { text_format_source: { inline_string: '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT%\n' } } } };
const retry = (policy, route = {}) => [{ match: all, route: { cluster: '$u', retry_policy: { retry_back_off: { base_interval: '0.005s' }, ...policy }, ...route } }];
const fail = (status = 503, headers = '') => ok('bad', headers, `${status} X`);
const grpc = code => ok('', `content-type: application/grpc\r\ngrpc-status: ${code}\r\n`);
const call = 'POST /s/m HTTP/1.1\r\nHost: a.test\r\nContent-Type: application/grpc\r\nContent-Length: 1\r\n\r\nx';
/** One answer, then a good one, under a policy: was there a second attempt? */
const after = (first, policy, more = {}) => ({ upstreams: { u: replies(first, ok('good')) }, routes: retry(policy), send: [req('/'), { res: 1 }], ...LOG, ...more });
const retryStats = [/^cluster\.ID_u\.(upstream_rq_retry|retry\.|retry_or_shadow|upstream_rq_(completed|total|5xx|2xx|503|200)$)/];
const predicate = (name, type, config = {}) => ({ name, typed_config: { '@type': `${TYPE}.extensions.retry.host.${type}`, ...config } });
const previous = predicate('envoy.retry_host_predicates.previous_hosts', 'previous_hosts.v3.PreviousHostsPredicate');
const canaries = predicate('envoy.retry_host_predicates.omit_canary_hosts', 'omit_canary_hosts.v3.OmitCanaryHostsPredicate');
const omit = metadata => predicate('envoy.retry_host_predicates.omit_host_metadata', 'omit_host_metadata.v3.OmitHostMetadataConfig', { metadata_match: { filter_metadata: { 'envoy.lb': metadata } } });
const host = (name, metadata) => ({ endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: `\${port:${name}}` } } }, ...(metadata && { metadata: { filter_metadata: { 'envoy.lb': metadata } } }) });
const hidden = { viewUpstream: () => [] };
/** `n` requests to cluster `all`, one after the other; the last characters of their answers. */
const sequence = n => async ctx => { const c = await ctx.connect('main', { hidden: true }); let out = ''; for (let i = 0; i < n; i++) { c.write(req('/')); out += (await c.response()).slice(-1); } return out; };
/** Who answered the retries among `n` requests to cluster `all`. */
const retried = n => async ctx => { const c = await ctx.connect('main', { hidden: true }); const out = new Set(); for (let i = 0; i < n; i++) { c.write(req('/')); const text = await c.response(); if (/attempt-count: [2-9]/.test(text)) out.add(text.slice(-1)); } return [...out].sort().join(''); };
const counted = routes => [{ name: 'v', domains: ['*'], include_attempt_count_in_response: true, routes }];
const toAll = policy => [{ match: all, route: { cluster: '$all', retry_policy: { retry_back_off: { base_interval: '0.001s' }, ...policy } } }];
const hosts = (...list) => ({ u: null, ...Object.fromEntries(list.map(h => [h.endpoint.address.socket_address.port_value.slice(7, -1), null])), all: { endpoints: list } });

export default suite('retry policy', [
  // retry_on
  { name: 'reset-before-request: a refused connection', ...after(ok(), { retry_on: 'reset-before-request', num_retries: 2 }), upstreams: { u: 'refuse' } },
  { name: 'reset-before-request: not once the request was sent', ...after({ end: true }, { retry_on: 'reset-before-request' }) },
  { name: 'reset-before-request: with reset it counts', ...after({ end: true }, { retry_on: 'reset-before-request,reset' }) },
  { name: 'reset: a refused connection', ...after(ok(), { retry_on: 'reset', num_retries: 2 }), upstreams: { u: 'refuse' } },
  { name: 'envoy-ratelimited: retried', ...after(fail(429, 'x-envoy-ratelimited: true\r\n'), { retry_on: 'envoy-ratelimited' }) },
  { name: 'envoy-ratelimited: without it, not even a 5xx', ...after(fail(503, 'x-envoy-ratelimited: true\r\n'), { retry_on: '5xx' }) },
  { name: 'envoy-ratelimited: 429 without the header is none', ...after(fail(429), { retry_on: 'envoy-ratelimited' }) },
  { name: 'x-envoy-overloaded: of the upstream', ...after(fail(503, 'x-envoy-overloaded: true\r\n'), { retry_on: '5xx' }) },
  { name: 'gateway-error: 500 is none', ...after(fail(500), { retry_on: 'gateway-error' }) },
  { name: 'gateway-error: 504 is one', ...after(fail(504), { retry_on: 'gateway-error' }) },
  { name: 'gateway-error: a connection that closes', ...after({ end: true }, { retry_on: 'gateway-error' }) },
  { name: 'retriable-4xx: 408 and 429 are none', ...after(fail(408), { retry_on: 'retriable-4xx' }) },
  { name: 'retriable-status-codes: the condition without codes', ...after(fail(418), { retry_on: 'retriable-status-codes' }) },
  { name: 'retriable-status-codes: codes without the condition', ...after(fail(418), { retry_on: '5xx', retriable_status_codes: [418] }) },
  { name: 'retriable-status-codes: 425', ...after(fail(425), { retry_on: 'retriable-status-codes', retriable_status_codes: [425] }), stats: retryStats },
  { name: 'retriable-status-codes: a 200', ...after(ok('first'), { retry_on: 'retriable-status-codes', retriable_status_codes: [200], num_retries: 1 }) },
  { name: 'retriable-headers: one that matches', ...after(ok('first', 'x-again: yes\r\n'), { retry_on: 'retriable-headers', retriable_headers: [{ name: 'x-again', string_match: { exact: 'yes' } }] }) },
  { name: 'retriable-headers: another value', ...after(ok('first', 'x-again: no\r\n'), { retry_on: 'retriable-headers', retriable_headers: [{ name: 'x-again', string_match: { exact: 'yes' } }] }) },
  { name: 'retriable-headers: any of several, present only', ...after(ok('first', 'x-b: 1\r\n'), { retry_on: 'retriable-headers', retriable_headers: [{ name: 'x-a', present_match: true }, { name: 'x-b', present_match: true }] }) },
  { name: 'retriable-headers: inverted', ...after(ok('first'), { retry_on: 'retriable-headers', retriable_headers: [{ name: 'x-done', present_match: true, invert_match: true }] }) },
  { name: 'retriable-headers: on :status', ...after(fail(418), { retry_on: 'retriable-headers', retriable_headers: [{ name: ':status', string_match: { exact: '418' } }] }) },
  { name: 'retriable_request_headers: the request has it', ...after(fail(), { retry_on: '5xx', retriable_request_headers: [{ name: 'x-safe', present_match: true }] }), send: [req('/', 'x-safe: 1\r\n'), { res: 1 }] },
  { name: 'retriable_request_headers: the request has it not', ...after(fail(), { retry_on: '5xx', retriable_request_headers: [{ name: 'x-safe', present_match: true }] }) },
  { name: 'retriable_request_headers: by method', ...after(fail(), { retry_on: '5xx', retriable_request_headers: [{ name: ':method', string_match: { exact: 'GET' } }] }) },
  { name: 'http3-post-connect-failure: is accepted and means nothing here', ...after({ end: true }, { retry_on: 'http3-post-connect-failure' }) },
  { name: 'retry_on: spaces, unknown words, empty items', ...after(fail(), { retry_on: ' nonsense ,, 5xx , ' }) },
  { name: 'retry_on: upper case means nothing', ...after(fail(), { retry_on: '5XX' }) },
  { name: 'retry_on: empty', ...after(fail(), { retry_on: '' }) },
  ...[['cancelled', 1], ['deadline-exceeded', 4], ['resource-exhausted', 8], ['internal', 13]].map(([on, code]) => ({ name: `grpc: ${on}`, ...after(grpc(code), { retry_on: on }), send: [call, { res: 1 }] })),
  { name: 'grpc: unavailable, with another status', ...after(grpc(13), { retry_on: 'unavailable' }), send: [call, { res: 1 }] },
  { name: 'grpc: the request need not be gRPC', ...after(grpc(14), { retry_on: 'unavailable' }) },
  { name: 'grpc: a status that is no number', ...after(grpc('14x'), { retry_on: 'unavailable' }), send: [call, { res: 1 }] },
  { name: 'refused-stream: another reset is none', clusters: { u: h2upstream() }, upstreams: { u: h2((stream, r, up) => up.requests.length === 1 ? stream.close(2) : (stream.respond({ ':status': 200 }, { sendDate: false }), stream.end('good'))) }, routes: retry({ retry_on: 'refused-stream' }), send: [req('/'), { res: 1 }], ...LOG },
  { name: 'refused-stream: reset covers it', clusters: { u: h2upstream() }, upstreams: { u: h2((stream, r, up) => up.requests.length === 1 ? stream.close(7) : (stream.respond({ ':status': 200 }, { sendDate: false }), stream.end('good'))) }, routes: retry({ retry_on: 'reset' }), send: [req('/'), { res: 1 }], ...LOG },
  { name: 'refused-stream: connect-failure does not', clusters: { u: h2upstream() }, upstreams: { u: h2((stream, r, up) => up.requests.length === 1 ? stream.close(7) : (stream.respond({ ':status': 200 }, { sendDate: false }), stream.end('good'))) }, routes: retry({ retry_on: 'connect-failure' }), send: [req('/'), { res: 1 }], ...LOG },

  // how often
  { name: 'num_retries: 0', ...after(fail(), { retry_on: '5xx', num_retries: 0 }), stats: retryStats },
  { name: 'num_retries: 4 that all fail', upstreams: { u: replies(fail()) }, routes: retry({ retry_on: '5xx', num_retries: 4, retry_back_off: { base_interval: '0.001s', max_interval: '0.001s' } }), send: [req('/'), { res: 1 }], ...LOG, stats: retryStats },
  { name: 'stats: a retry that works', ...after(fail(), { retry_on: '5xx' }), stats: retryStats },
  { name: 'stats: a retry that ends in what is not retried', upstreams: { u: replies(fail(), fail(404)) }, routes: retry({ retry_on: '5xx', num_retries: 3 }), send: [req('/'), { res: 1 }], ...LOG, stats: retryStats },
  { name: 'body: too big to keep is counted', listener: { per_connection_buffer_limit_bytes: 1024 }, upstreams: { u: replies(fail()) }, routes: retry({ retry_on: '5xx' }), client: async ctx => { const c = await ctx.connect(); c.write('POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000\r\n\r\n'); await ctx.sleep(100); for (let i = 0; i < 100; i++) c.write('x'.repeat(1000)); await c.response(); }, viewUpstream: saw => saw.map(w => ({ ...w, bytes: w.bytes.split('\r\n')[0] })), ...LOG, stats: retryStats },
  { name: 'virtual host: the route\'s policy replaces it whole', vhosts: [{ name: 'v', domains: ['*'], retry_policy: { retry_on: '5xx', num_retries: 5 }, routes: [{ match: all, route: { cluster: '$u', retry_policy: { retry_on: 'retriable-4xx' } } }] }], upstreams: { u: replies(fail(), ok('good')) }, send: [req('/'), { res: 1 }], ...LOG },
  { name: 'virtual host: an empty policy of the route turns it off', vhosts: [{ name: 'v', domains: ['*'], retry_policy: { retry_on: '5xx' }, routes: [{ match: all, route: { cluster: '$u', retry_policy: {} } }] }], upstreams: { u: replies(fail(), ok('good')) }, send: [req('/'), { res: 1 }], ...LOG },

  // the pause
  { name: 'rate-limited back-off: SECONDS', ...after(fail(503, 'retry-after: 1\r\n'), { retry_on: '5xx', rate_limited_retry_back_off: { reset_headers: [{ name: 'Retry-After', format: 'SECONDS' }] } }), stats: retryStats },
  { name: 'rate-limited back-off: a header that is no number', ...after(fail(503, 'retry-after: soon\r\n'), { retry_on: '5xx', rate_limited_retry_back_off: { reset_headers: [{ name: 'retry-after', format: 'SECONDS' }] } }), stats: retryStats },
  { name: 'rate-limited back-off: longer than max_interval', ...after(fail(503, 'retry-after: 60\r\n'), { retry_on: '5xx', rate_limited_retry_back_off: { max_interval: '2s', reset_headers: [{ name: 'retry-after', format: 'SECONDS' }] } }), stats: retryStats },
  { name: 'rate-limited back-off: 0 seconds', ...after(fail(503, 'retry-after: 0\r\n'), { retry_on: '5xx', rate_limited_retry_back_off: { reset_headers: [{ name: 'retry-after', format: 'SECONDS' }] } }), stats: retryStats },
  { name: 'rate-limited back-off: UNIX_TIMESTAMP of the past', ...after(fail(503, 'x-reset: 1000\r\n'), { retry_on: '5xx', rate_limited_retry_back_off: { reset_headers: [{ name: 'x-reset', format: 'UNIX_TIMESTAMP' }] } }), stats: retryStats },
  { name: 'rate-limited back-off: the second header is the one that is there', ...after(fail(503, 'x-b: 1\r\n'), { retry_on: '5xx', rate_limited_retry_back_off: { reset_headers: [{ name: 'x-a', format: 'SECONDS' }, { name: 'x-b', format: 'SECONDS' }] } }), stats: retryStats },
  { name: 'rate-limited back-off: not for a reset', ...after({ end: true }, { retry_on: 'reset', rate_limited_retry_back_off: { reset_headers: [{ name: 'retry-after', format: 'SECONDS' }] } }), stats: retryStats },

  // where
  { name: 'previous_hosts: the other host', upstreams: { a: replies(fail()), b: replies(ok('b')) }, clusters: hosts(host('a'), host('b')), routes: toAll({ retry_on: '5xx', retry_host_predicate: [previous], host_selection_retry_max_attempts: 20 }), client: sequence(6), ...hidden },
  { name: 'previous_hosts: one host only', upstreams: { a: replies(fail(), ok('a')) }, clusters: hosts(host('a')), routes: toAll({ retry_on: '5xx', retry_host_predicate: [previous], host_selection_retry_max_attempts: 3 }), client: sequence(1), ...hidden },
  { name: 'omit_canary_hosts: not to a canary', upstreams: { a: replies(fail()), b: replies(ok('b')), c: replies(ok('c')) }, clusters: hosts(host('a'), host('b', { canary: true }), host('c')), vhosts: counted(toAll({ retry_on: '5xx', retry_host_predicate: [canaries, previous], host_selection_retry_max_attempts: 50, num_retries: 3 })), client: retried(9), ...hidden },
  { name: 'omit_host_metadata: not to a host with it', upstreams: { a: replies(fail()), b: replies(ok('b')), c: replies(ok('c')) }, clusters: hosts(host('a'), host('b', { zone: 'x' }), host('c', { zone: 'y' })), vhosts: counted(toAll({ retry_on: '5xx', retry_host_predicate: [omit({ zone: 'x' }), previous], host_selection_retry_max_attempts: 50, num_retries: 1 })), client: retried(9), ...hidden },

  // budgets
  { name: 'max_retries: the gauges', clusters: { u: { circuit_breakers: { thresholds: [{ max_retries: 0, track_remaining: true }] } } }, ...after(fail(), { retry_on: '5xx' }), stats: [/^cluster\.ID_u\.(circuit_breakers\.|upstream_rq_retry)/] },
  { name: 'track_remaining: at rest', clusters: { u: { circuit_breakers: { thresholds: [{ max_connections: 7, max_requests: 8, max_pending_requests: 9, max_retries: 2, track_remaining: true }, { priority: 'HIGH', track_remaining: true }] } } }, send: [req('/'), { res: 1 }], stats: [/^cluster\.ID_u\.circuit_breakers\./] },
  { name: 'retry_budget: nothing allowed', clusters: { u: { circuit_breakers: { thresholds: [{ retry_budget: { budget_percent: { value: 0 }, min_retry_concurrency: 0 } }] } } }, ...after(fail(), { retry_on: '5xx' }), stats: retryStats },
  { name: 'retry_budget: min_retry_concurrency', clusters: { u: { circuit_breakers: { thresholds: [{ max_retries: 0, retry_budget: { budget_percent: { value: 0 } } }] } } }, ...after(fail(), { retry_on: '5xx' }), stats: retryStats },
  { name: 'retry_budget: of the requests under way', clusters: { u: { circuit_breakers: { thresholds: [{ retry_budget: { budget_percent: { value: 100 }, min_retry_concurrency: 0 } }] } } }, ...after(fail(), { retry_on: '5xx' }), stats: retryStats },
]);
