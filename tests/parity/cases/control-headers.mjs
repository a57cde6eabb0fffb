// The x-envoy-* request headers that control the router: obeyed from internal requests, stripped from external ones; and what the router writes beside them.
import { suite, req, h2upstream, h2, TYPE } from '../lib/suite.mjs';
import { replies, ok } from '../lib/raw.mjs';

const all = { prefix: '/' };
const LOG = { log: { log_format: { text_format_source: { inline_string: '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT%\n' } } } };
const ten = { internal_address_config: { cidr_ranges: [{ address_prefix: '10.0.0.0', prefix_len: 8 }] } };
const loopback = { use_remote_address: true, internal_address_config: { cidr_ranges: [{ address_prefix: '127.0.0.0', prefix_len: 8 }] } };
const FROM = 'x-forwarded-for: 10.0.0.1\r\n';
const lines = headers => Object.entries(headers).map(([n, v]) => `${n}: ${v}\r\n`).join('');
/** An internal request with these control headers. */
const internal = (headers, more = '') => req('/', FROM + lines(headers) + more);
const router = options => ({ http_filters: [{ name: 'envoy.filters.http.router', typed_config: { '@type': `${TYPE}.extensions.filters.http.router.v3.Router`, ...options } }] });
const fail = (status = 503, headers = '') => ok('bad', headers, `${status} X`);
const to = (route = {}) => [{ match: all, route: { cluster: '$u', ...route } }];
const fast = { retry_back_off: { base_interval: '0.005s' } };
/** One answer, then a good one: was there a second attempt? */
const after = (first, headers, more = {}) => ({ hcm: ten, upstreams: { u: replies(first, ok('good')) }, send: [internal(headers), { res: 1 }], ...LOG, ...more });
const RETRY = { 'x-envoy-retry-on': '5xx', 'x-envoy-max-retries': '2' };
const retryStats = [/^cluster\.ID_u\.(upstream_rq_retry|retry\.)/];

export default suite('control headers', [
  // who is internal
  { name: 'internal: one private address in x-forwarded-for', ...after(fail(), RETRY) },
  { name: 'internal: no x-forwarded-for', ...after(fail(), RETRY), send: [req('/', lines(RETRY)), { res: 1 }] },
  { name: 'internal: two addresses in x-forwarded-for', ...after(fail(), RETRY), send: [req('/', `x-forwarded-for: 10.0.0.2, 10.0.0.1\r\n${lines(RETRY)}`), { res: 1 }] },
  { name: 'internal: a public address', ...after(fail(), RETRY), send: [req('/', `x-forwarded-for: 8.8.8.8\r\n${lines(RETRY)}`), { res: 1 }] },
  { name: 'internal: nothing is without internal_address_config', ...after(fail(), RETRY), hcm: {} },
  { name: 'internal: x-envoy-internal of the client is not believed', ...after(fail(), RETRY), hcm: {}, send: [req('/', `x-envoy-internal: true\r\n${lines(RETRY)}`), { res: 1 }] },
  { name: 'internal: use_remote_address, the peer is internal', ...after(fail(), RETRY), hcm: loopback, send: [req('/', lines(RETRY)), { res: 1 }] },
  { name: 'internal: use_remote_address, the peer is not', ...after(fail(), RETRY), hcm: { ...ten, use_remote_address: true }, send: [req('/', lines(RETRY)), { res: 1 }] },
  { name: 'internal: use_remote_address, an x-forwarded-for makes it external', ...after(fail(), RETRY), hcm: loopback },
  { name: 'internal: use_remote_address, a trusted hop', ...after(fail(), RETRY), hcm: { ...loopback, xff_num_trusted_hops: 1 } },
  { name: 'internal: a longer prefix that does not hold it', ...after(fail(), RETRY), hcm: { internal_address_config: { cidr_ranges: [{ address_prefix: '10.0.1.0', prefix_len: 24 }, { address_prefix: '::1', prefix_len: 128 }] } } },
  { name: 'external: every control header is stripped', hcm: { ...ten, use_remote_address: true }, send: [req('/', lines({ ...RETRY, 'x-envoy-retry-grpc-on': 'internal', 'x-envoy-retriable-status-codes': '500', 'x-envoy-retriable-header-names': 'x', 'x-envoy-upstream-rq-timeout-ms': '1', 'x-envoy-upstream-rq-per-try-timeout-ms': '1', 'x-envoy-upstream-alt-stat-name': 'alt', 'x-envoy-upstream-rq-timeout-alt-response': '1', 'x-envoy-expected-rq-timeout-ms': '5', 'x-envoy-hedge-on-per-try-timeout': 'true', 'x-envoy-upstream-stream-duration-ms': '1' })), { res: 1 }] },
  { name: 'external: x-envoy-upstream-stream-duration-ms', hcm: { ...ten, use_remote_address: true }, upstreams: { u: replies([400, ok('late')]) }, send: [req('/', 'x-envoy-upstream-stream-duration-ms: 100\r\n'), { res: 1 }], ...LOG },
  { name: 'external: x-envoy-upstream-stream-duration-ms, not at the edge', upstreams: { u: replies([400, ok('late')]) }, send: [req('/', 'x-envoy-upstream-stream-duration-ms: 100\r\n'), { res: 1 }], ...LOG },
  { name: 'internal: none of them goes upstream', ...after(ok(), { ...RETRY, 'x-envoy-retry-grpc-on': 'internal', 'x-envoy-retriable-status-codes': '500', 'x-envoy-retriable-header-names': 'x', 'x-envoy-upstream-rq-timeout-ms': '5000', 'x-envoy-upstream-rq-per-try-timeout-ms': '2000', 'x-envoy-upstream-alt-stat-name': 'alt', 'x-envoy-upstream-rq-timeout-alt-response': '1', 'x-envoy-expected-rq-timeout-ms': '5', 'x-envoy-hedge-on-per-try-timeout': 'true', 'x-envoy-upstream-stream-duration-ms': '3000' }) },

  // retries
  { name: 'retry-on: alone, one retry', ...after(fail(), { 'x-envoy-retry-on': '5xx' }), upstreams: { u: replies(fail()) }, stats: retryStats },
  { name: 'retry-on: adds to the route\'s policy', ...after(fail(409), { 'x-envoy-retry-on': 'retriable-4xx' }), routes: to({ retry_policy: { retry_on: '5xx', num_retries: 3, ...fast } }), upstreams: { u: replies(fail(409), fail(500), ok('good')) } },
  { name: 'retry-on: unknown words', ...after(fail(), { 'x-envoy-retry-on': 'often, 5xx' }) },
  { name: 'retry-on: nothing that is known', ...after(fail(), { 'x-envoy-retry-on': 'often' }) },
  { name: 'retry-on: two headers', ...after(fail(409), {}), send: [req('/', `${FROM}x-envoy-retry-on: 5xx\r\nx-envoy-retry-on: retriable-4xx\r\n`), { res: 1 }] },
  { name: 'retry-on: a grpc word is none', ...after(ok('', 'grpc-status: 14\r\n'), { 'x-envoy-retry-on': 'unavailable' }) },
  { name: 'retry-grpc-on: unavailable', ...after(ok('', 'grpc-status: 14\r\n'), { 'x-envoy-retry-grpc-on': 'unavailable' }) },
  { name: 'retry-grpc-on: an http word is none', ...after(fail(), { 'x-envoy-retry-grpc-on': '5xx' }) },
  { name: 'max-retries: more than the route\'s', ...after(fail(), { 'x-envoy-max-retries': '3' }), routes: to({ retry_policy: { retry_on: '5xx', ...fast } }), upstreams: { u: replies(fail()) }, stats: retryStats },
  { name: 'max-retries: 0', ...after(fail(), { 'x-envoy-max-retries': '0' }), routes: to({ retry_policy: { retry_on: '5xx', ...fast } }), stats: retryStats },
  { name: 'max-retries: no number', ...after(fail(), { 'x-envoy-max-retries': 'many' }), routes: to({ retry_policy: { retry_on: '5xx', ...fast } }) },
  { name: 'max-retries: negative', ...after(fail(), { 'x-envoy-max-retries': '-1' }), routes: to({ retry_policy: { retry_on: '5xx', ...fast } }) },
  { name: 'max-retries: spaces around', ...after(fail(), { 'x-envoy-max-retries': ' 2 ' }), upstreams: { u: replies(fail()) }, routes: to({ retry_policy: { retry_on: '5xx', ...fast } }) },
  { name: 'max-retries: without a policy', ...after(fail(), { 'x-envoy-max-retries': '3' }) },
  { name: 'retriable-status-codes: with the condition', ...after(fail(418), { 'x-envoy-retry-on': 'retriable-status-codes', 'x-envoy-retriable-status-codes': '400, 418,x' }) },
  { name: 'retriable-status-codes: without the condition', ...after(fail(418), { 'x-envoy-retry-on': '5xx', 'x-envoy-retriable-status-codes': '418' }) },
  { name: 'retriable-status-codes: with the route\'s', ...after(fail(418), { 'x-envoy-retriable-status-codes': '418' }), routes: to({ retry_policy: { retry_on: 'retriable-status-codes', retriable_status_codes: [417], num_retries: 2, ...fast } }), upstreams: { u: replies(fail(418), fail(417), ok('good')) } },
  { name: 'retriable-header-names: one that is there', ...after(ok('first', 'x-again: 1\r\n'), { 'x-envoy-retry-on': 'retriable-headers', 'x-envoy-retriable-header-names': 'x-other, X-Again' }) },
  { name: 'retriable-header-names: none is there', ...after(ok('first'), { 'x-envoy-retry-on': 'retriable-headers', 'x-envoy-retriable-header-names': 'x-other' }) },
  { name: 'retriable_request_headers: bind the client too', ...after(fail(), RETRY), routes: to({ retry_policy: { retriable_request_headers: [{ name: 'x-safe', present_match: true }] } }) },
  { name: 'route: a header that it adds is obeyed', ...after(fail(), {}), routes: [{ ...to()[0], request_headers_to_add: [{ header: { key: 'x-envoy-retry-on', value: '5xx' } }] }] },
  { name: 'route: a timeout header that it adds is not', ...after([300, ok('late')], {}), routes: [{ ...to()[0], request_headers_to_add: [{ header: { key: 'x-envoy-upstream-rq-timeout-ms', value: '100' } }] }] },

  // timeouts
  { name: 'rq-timeout-ms: shorter', ...after([600, ok('late')], { 'x-envoy-upstream-rq-timeout-ms': '150' }) },
  { name: 'rq-timeout-ms: longer than the route\'s', ...after([300, ok('late')], { 'x-envoy-upstream-rq-timeout-ms': '2000' }), routes: to({ timeout: '0.1s' }) },
  { name: 'rq-timeout-ms: 0', ...after([300, ok('late')], { 'x-envoy-upstream-rq-timeout-ms': '0' }), routes: to({ timeout: '0.1s' }) },
  { name: 'rq-timeout-ms: no number', ...after([300, ok('late')], { 'x-envoy-upstream-rq-timeout-ms': '1s' }), routes: to({ timeout: '0.1s' }) },
  { name: 'rq-timeout-ms: huge', ...after(ok(), { 'x-envoy-upstream-rq-timeout-ms': '99999999999999999999' }) },
  { name: 'rq-timeout-alt-response: 204 instead of 504', ...after([600, ok('late')], { 'x-envoy-upstream-rq-timeout-ms': '150', 'x-envoy-upstream-rq-timeout-alt-response': '1' }), stats: [/^cluster\.ID_u\.upstream_rq_(2xx|5xx|204|504|timeout)$/] },
  { name: 'rq-timeout-alt-response: any value, even empty', ...after([600, ok('late')], { 'x-envoy-upstream-rq-timeout-ms': '150', 'x-envoy-upstream-rq-timeout-alt-response': '' }) },
  { name: 'per-try-timeout-ms: each try', ...after([600, ok('late')], { 'x-envoy-upstream-rq-per-try-timeout-ms': '150', 'x-envoy-retry-on': 'reset' }) },
  { name: 'per-try-timeout-ms: without retries', ...after([600, ok('late')], { 'x-envoy-upstream-rq-per-try-timeout-ms': '150' }), stats: [/^cluster\.ID_u\.upstream_rq_(per_try_timeout|timeout|5xx)$/] },
  { name: 'per-try-timeout-ms: alt response', ...after([600, ok('late')], { 'x-envoy-upstream-rq-per-try-timeout-ms': '150', 'x-envoy-upstream-rq-timeout-alt-response': 'x' }) },
  { name: 'per-try-timeout-ms: as long as the whole is ignored', ...after(ok(), { 'x-envoy-upstream-rq-per-try-timeout-ms': '5000', 'x-envoy-upstream-rq-timeout-ms': '5000' }) },
  { name: 'per-try-timeout-ms: with no timeout at all', ...after(ok(), { 'x-envoy-upstream-rq-per-try-timeout-ms': '5000', 'x-envoy-upstream-rq-timeout-ms': '0' }) },
  { name: 'hedge-on-per-try-timeout: expected is the whole timeout', ...after(ok(), { 'x-envoy-upstream-rq-per-try-timeout-ms': '1000', 'x-envoy-hedge-on-per-try-timeout': 'true' }) },
  { name: 'hedge-on-per-try-timeout: another word', ...after(ok(), { 'x-envoy-upstream-rq-per-try-timeout-ms': '1000', 'x-envoy-hedge-on-per-try-timeout': 'yes' }) },
  { name: 'stream-duration-ms: ends the request', ...after([600, ok('late')], { 'x-envoy-upstream-stream-duration-ms': '150' }), stats: [/^cluster\.ID_u\.upstream_rq_(max_duration_reached|timeout|5xx|408|504|503):/] },
  { name: 'expected-rq-timeout-ms: overwritten', ...after(ok(), { 'x-envoy-expected-rq-timeout-ms': '77' }) },
  { name: 'expected-rq-timeout-ms: kept where there is no timeout', ...after(ok(), { 'x-envoy-expected-rq-timeout-ms': '77' }), routes: to({ timeout: '0s' }) },
  { name: 'respect_expected_rq_timeout: it is the timeout', ...after([600, ok('late')], { 'x-envoy-expected-rq-timeout-ms': '150' }), hcm: { ...ten, ...router({ respect_expected_rq_timeout: true }) } },
  { name: 'respect_expected_rq_timeout: before rq-timeout-ms', ...after([200, ok('late')], { 'x-envoy-expected-rq-timeout-ms': '1500', 'x-envoy-upstream-rq-timeout-ms': '100' }), hcm: { ...ten, ...router({ respect_expected_rq_timeout: true }) } },
  { name: 'respect_expected_rq_timeout: rq-timeout-ms where it is not there', ...after([600, ok('late')], { 'x-envoy-upstream-rq-timeout-ms': '150' }), hcm: { ...ten, ...router({ respect_expected_rq_timeout: true }) } },
  { name: 'respect_expected_rq_timeout: no number', ...after(ok(), { 'x-envoy-expected-rq-timeout-ms': 'x' }), hcm: { ...ten, ...router({ respect_expected_rq_timeout: true }) } },

  // the router's own
  { name: 'suppress_envoy_headers: control headers are still obeyed', ...after(fail(), RETRY), hcm: { ...ten, ...router({ suppress_envoy_headers: true }) } },
  { name: 'suppress_envoy_headers: an overflow', hcm: router({ suppress_envoy_headers: true }), clusters: { u: { circuit_breakers: { thresholds: [{ max_requests: 0 }] } } }, send: [req('/')], ...LOG },
  { name: 'suppress_envoy_headers: a rewritten path', hcm: router({ suppress_envoy_headers: true }), routes: to({ prefix_rewrite: '/new', host_rewrite_literal: 'new.test' }), send: [req('/x')] },
  { name: 'strict_check_headers: a bad number', ...after(ok(), { 'x-envoy-max-retries': 'many' }), hcm: { ...ten, ...router({ strict_check_headers: ['x-envoy-max-retries'] }) } },
  { name: 'strict_check_headers: bad retry conditions', ...after(ok(), { 'x-envoy-retry-on': '5xx,often' }), hcm: { ...ten, ...router({ strict_check_headers: ['x-envoy-retry-on', 'x-envoy-retry-grpc-on'] }) } },
  { name: 'strict_check_headers: a bad timeout that is not listed', ...after(ok(), { 'x-envoy-upstream-rq-timeout-ms': 'x' }), hcm: { ...ten, ...router({ strict_check_headers: ['x-envoy-upstream-rq-per-try-timeout-ms'] }) } },
  { name: 'strict_check_headers: good ones', ...after(ok(), { 'x-envoy-retry-on': '5xx, reset', 'x-envoy-max-retries': '1', 'x-envoy-upstream-rq-timeout-ms': '5000', 'x-envoy-upstream-rq-per-try-timeout-ms': '700', 'x-envoy-retry-grpc-on': 'cancelled' }), hcm: { ...ten, ...router({ strict_check_headers: ['x-envoy-upstream-rq-timeout-ms', 'x-envoy-upstream-rq-per-try-timeout-ms', 'x-envoy-max-retries', 'x-envoy-retry-grpc-on', 'x-envoy-retry-on'] }) } },
  { name: 'strict_check_headers: an empty value', ...after(ok(), { 'x-envoy-retry-on': '' }), hcm: { ...ten, ...router({ strict_check_headers: ['x-envoy-retry-on'] }) } },
  { name: 'strict_check_headers: two values', ...after(ok(), {}), send: [req('/', `${FROM}x-envoy-max-retries: 1\r\nx-envoy-max-retries: 2\r\n`), { res: 1 }], hcm: { ...ten, ...router({ strict_check_headers: ['x-envoy-max-retries'] }) } },
  { name: 'strict_check_headers: external requests lose them first', send: [req('/', 'x-envoy-max-retries: many\r\n'), { res: 1 }], ...LOG, hcm: router({ strict_check_headers: ['x-envoy-max-retries'] }) },

  // what goes along
  { name: 'attempt-count: the client\'s where it is not asked for', ...after(fail(), RETRY), send: [internal({ ...RETRY, 'x-envoy-attempt-count': '7' }), { res: 1 }] },
  { name: 'attempt-count: on a local reply', hcm: ten, vhosts: [{ name: 'v', domains: ['*'], include_attempt_count_in_response: true, routes: to({ retry_policy: { retry_on: 'connect-failure', num_retries: 2, ...fast } }) }], upstreams: { u: 'refuse' }, send: [req('/'), { res: 1 }] },
  { name: 'attempt-count: on a timeout', vhosts: [{ name: 'v', domains: ['*'], include_attempt_count_in_response: true, routes: to({ timeout: '0.1s' }) }], upstreams: { u: replies([500, ok()]) }, send: [req('/'), { res: 1 }] },
  { name: 'attempt-count: where there is no host', vhosts: [{ name: 'v', domains: ['*'], include_attempt_count_in_response: true, include_request_attempt_count: true, routes: to() }], clusters: { u: { endpoints: [] } }, send: [req('/'), { res: 1 }] },
  { name: 'is-timeout-retry: after a failure and after a timeout', vhosts: [{ name: 'v', domains: ['*'], include_is_timeout_retry_header: true, routes: to({ retry_policy: { retry_on: '5xx', num_retries: 3, per_try_timeout: '0.5s', ...fast } }) }], upstreams: { u: replies(fail(), [1200, ok('late')], ok('good')) }, send: [req('/'), { res: 1 }] },
  { name: 'is-timeout-retry: the client\'s own', vhosts: [{ name: 'v', domains: ['*'], include_is_timeout_retry_header: true, routes: to() }], send: [req('/', 'x-envoy-is-timeout-retry: true\r\n'), { res: 1 }] },
  { name: 'original-path: with a rewrite, the client\'s replaced', hcm: ten, routes: to({ prefix_rewrite: '/new' }), send: [internal({ 'x-envoy-original-path': '/mine' }), { res: 1 }] },
  { name: 'decorator: the operation goes upstream', routes: [{ ...to()[0], decorator: { operation: 'op' } }], send: [req('/'), { res: 1 }] },
  { name: 'decorator: not with propagate false', routes: [{ ...to()[0], decorator: { operation: 'op', propagate: false } }], send: [req('/', 'x-envoy-decorator-operation: mine\r\n'), { res: 1 }] },
  { name: 'decorator: the client\'s is replaced', routes: [{ ...to()[0], decorator: { operation: 'op' } }], send: [req('/', 'x-envoy-decorator-operation: mine\r\n'), { res: 1 }] },
  { name: 'decorator: of the answer', routes: [{ ...to()[0], decorator: { operation: 'op' } }], upstreams: { u: replies(ok('ok', 'x-envoy-decorator-operation: theirs\r\n')) }, send: [req('/'), { res: 1 }] },
  { name: 'alt-stat-name: counted under it too', ...after(ok(), { 'x-envoy-upstream-alt-stat-name': 'alt.name' }), stats: [/^cluster\.ID_u\.(alt\.name\.|internal\.)?upstream_rq_(200|2xx|completed):/] },
]);
