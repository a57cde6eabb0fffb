// What routes do to paths, hosts and headers, and whom they match, at the edges.
import { suite, req } from '../lib/suite.mjs';
import { replies, ok } from '../lib/raw.mjs';

const all = { prefix: '/' };
const none = {};
const say = (match, body) => ({ match, direct_response: { status: 200, body: { inline_string: body } } });
const paths = (...list) => list.flatMap(p => [req(p), { res: 1 }]);
const to = (route, match = all, more = {}) => [{ match, route: { cluster: '$u', ...route }, ...more }];
const rewrite = (regex, substitution) => ({ pattern: { regex }, substitution });
const regex = (name, re, substitution, ...list) => ({ name: `regex_rewrite: ${name}`, routes: to({ regex_rewrite: rewrite(re, substitution) }), send: paths(...list) });
const redirect = (r, match = all) => [{ match, redirect: r }];
const value = (key, value, append_action = 'OVERWRITE_IF_EXISTS_OR_ADD') => ({ header: { key, value }, append_action });
const hosts = (...list) => list.flatMap(h => [`GET /p?q=1 HTTP/1.1\r\nHost: ${h}\r\n\r\n`, { res: 1 }]);
const query = (matcher, ...list) => ({ routes: [say({ ...all, query_parameters: [{ name: 'q', ...matcher }] }, 'hit'), say(all, 'none')], upstreams: none, send: paths(...list) });
const QUERIES = ['/', '/?q', '/?q=', '/?q=ab', '/?x=1&q=ab', '/?q=x&q=ab', '/?Q=ab', '/?q=%61b', '/?aq=ab', '/?q=ab=c', '/?&&q=ab&', '/?q=a+b', '/#?q=ab', '/?q=ab#f'];
const log = { log: { log_format: { text_format_source: { inline_string: '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT%\n' } } } };
const fail = (headers = '') => ok('bad', headers, '503 X');

export default suite('rewrites', [
  // paths
  regex('nothing is left, which changes nothing', '^/y(/.*)?$', '\\1', '/y', '/y?q', '/y/z?q=/y'),
  regex('the whole match', 'b+', '<\\0>', '/abbbc/b?b', '/none'),
  regex('groups, some of which take no part', '^/(a)?(b)?/(.*)$', '/\\3-\\1-\\2', '/a/x', '/b/x', '/ab/x?y', '/c/x'),
  regex('a pattern that matches nothing at all', 'x*', '-', '/axb', '/'),
  regex('anchors and alternatives', '^/a|/b$', '/z', '/a/b', '/b/a', '/a/a/b?c'),
  regex('a backslash', 'a', '\\\\', '/a'),
  regex('bytes that are no ASCII', '%C3%A4', 'ae', '/%C3%A4/%c3%a4'),
  { name: 'prefix_rewrite: ends of prefixes', routes: [...to({ prefix_rewrite: '/' }, { prefix: '/a/' }), ...to({ prefix_rewrite: '/n' }, { prefix: '/b' }), ...to({ prefix_rewrite: '/' }, { prefix: '/c' })], send: paths('/a/x', '/a/', '/b', '/bx/y?z', '/c/d', '/c', '/c?q') },
  { name: 'prefix_rewrite: with path, path_separated_prefix, safe_regex', routes: [...to({ prefix_rewrite: '/n' }, { path: '/a' }), ...to({ prefix_rewrite: '/n' }, { path_separated_prefix: '/b' }), ...to({ prefix_rewrite: '/n' }, { safe_regex: { regex: '/c.*' } })], send: paths('/a?q', '/b', '/b/x?q', '/cde/f?q') },
  { name: 'prefix_rewrite: case is ignored', routes: to({ prefix_rewrite: '/n' }, { prefix: '/Abc', case_sensitive: false }), send: paths('/aBC/d', '/ABCd?q') },
  { name: 'prefix_rewrite: with ignore_path_parameters_in_path_matching', routeConfig: { name: 'r', ignore_path_parameters_in_path_matching: true, virtual_hosts: [{ name: 'v', domains: ['*'], routes: [...to({ prefix_rewrite: '/n' }, { path: '/a' }), ...to({}, { path_separated_prefix: '/b' }), say(all, 'none')] }] }, send: paths('/a;v=1', '/a;v=1?q', '/b;v/c', '/c;/a') },
  { name: 'path_separated_prefix: case is ignored', routes: [say({ path_separated_prefix: '/Ab', case_sensitive: false }, 'hit'), say(all, 'none')], upstreams: none, send: paths('/aB', '/AB/c', '/abc', '/ab?x') },

  // hosts
  { name: 'host_rewrite_header: there, absent, empty, twice', routes: to({ host_rewrite_header: 'x-h' }), send: ['X-H: new', 'X-O: 1', 'X-H:', 'X-H: one\r\nX-H: two'].flatMap(h => [req('/', `${h}\r\n`), { res: 1 }]) },
  { name: 'host_rewrite_path_regex', routes: to({ host_rewrite_path_regex: rewrite('^/(.+)/.+$', '\\1') }), send: paths('/new/a?b=/c/d', '/same', '/a/b/c') },
  { name: 'append_x_forwarded_host: beside one that is there', routes: to({ host_rewrite_literal: 'new', append_x_forwarded_host: true }), send: ['X-O: 1', 'X-Forwarded-Host: a.test', 'X-Forwarded-Host: first', 'X-Forwarded-Host: x,a.test'].flatMap(h => [req('/', `${h}\r\n`), { res: 1 }]) },
  { name: 'append_x_forwarded_host: no rewrite', routes: to({ append_x_forwarded_host: true }), send: [req('/')] },
  { name: 'host and path rewritten together', routes: to({ host_rewrite_literal: 'new', prefix_rewrite: '/n' }, { prefix: '/a' }), send: paths('/a/b') },
  { name: 'host rewrite of a weighted cluster', routes: [{ match: all, route: { weighted_clusters: { clusters: [{ name: '$u', weight: 1, host_rewrite_literal: 'weighted' }] }, append_x_forwarded_host: true } }], send: [req('/')] },

  // redirects
  { name: 'redirect: hosts and ports', routes: redirect({ https_redirect: true }), upstreams: none, send: hosts('a.test', 'a.test:80', 'a.test:443', 'a.test:8080', '[::1]', '[::1]:80', '[::1]:8080') },
  { name: 'redirect: port_redirect', routes: redirect({ port_redirect: 8443 }), upstreams: none, send: hosts('a.test', 'a.test:80', '[::1]', '[::1]:80') },
  { name: 'redirect: scheme_redirect', routes: redirect({ scheme_redirect: 'ftp' }), upstreams: none, send: hosts('a.test:80', 'a.test') },
  { name: 'redirect: host_redirect with a port', routes: redirect({ host_redirect: 'b.test:1', port_redirect: 2 }), upstreams: none, send: hosts('a.test:80') },
  { name: 'redirect: prefix_rewrite of every kind of match', routes: [...redirect({ prefix_rewrite: '/n' }, { prefix: '/a' }), ...redirect({ prefix_rewrite: '/n' }, { path: '/b' }), ...redirect({ prefix_rewrite: '/n' }, { safe_regex: { regex: '/c.*' } }), ...redirect({ prefix_rewrite: '/n' }, { prefix: '/D', case_sensitive: false })], upstreams: none, send: paths('/a/x?q', '/b?q', '/cx?q', '/dx') },
  { name: 'redirect: path_redirect with and without a query', routes: [...redirect({ path_redirect: '/n?own' }, { path: '/a' }), ...redirect({ path_redirect: '/n?own', strip_query: true }, { path: '/b' }), ...redirect({ path_redirect: '/n', strip_query: true }, { path: '/c' }), ...redirect({ path_redirect: '/n' })], upstreams: none, send: paths('/a?q', '/b?q', '/c?q', '/d?q#f', '/e') },
  { name: 'redirect: regex_rewrite and strip_query', routes: redirect({ regex_rewrite: rewrite('^/a/(.*)$', '/\\1/b'), strip_query: true }), upstreams: none, send: paths('/a/x?q', '/c?q') },
  { name: 'direct_response: 201 and 3xx have a location', routes: [['/a', 201], ['/b', 304], ['/c', 302], ['/d', 200]].map(([path, status]) => ({ match: { path }, direct_response: { status } })), upstreams: none, send: paths('/a?q', '/b', '/c', '/d') },
  { name: 'require_tls: EXTERNAL_ONLY, inside and outside', hcm: { use_remote_address: true, xff_num_trusted_hops: 1 }, vhosts: [{ name: 'v', domains: ['*'], require_tls: 'EXTERNAL_ONLY', routes: [say(all, 'hit')] }], upstreams: none, send: ['X-O: 1', 'X-Forwarded-For: 8.8.8.8', 'X-Forwarded-For: 8.8.8.8\r\nX-Forwarded-Proto: https'].flatMap(h => [req('/p?q', `${h}\r\n`), { res: 1 }]) },

  // matches
  { name: 'query_parameters: present', ...query({ present_match: true }, ...QUERIES) },
  { name: 'query_parameters: absent', ...query({ present_match: false }, ...QUERIES) },
  { name: 'query_parameters: a name alone', ...query({}, ...QUERIES) },
  { name: 'query_parameters: exact', ...query({ string_match: { exact: 'ab' } }, ...QUERIES) },
  { name: 'query_parameters: empty prefix', ...query({ string_match: { safe_regex: { regex: '.*' } } }, ...QUERIES) },
  { name: 'query_parameters: ignore_case suffix', ...query({ string_match: { suffix: 'B', ignore_case: true } }, ...QUERIES) },
  { name: 'runtime_fraction: nobody and everybody', routes: [say({ ...all, runtime_fraction: { default_value: { numerator: 0, denominator: 'MILLION' }, runtime_key: 'k' } }, 'nobody'), say({ ...all, runtime_fraction: { default_value: { numerator: 100 } } }, 'everybody'), say(all, 'none')], upstreams: none, send: paths('/', '/a') },
  { name: 'headers: range at its ends and beyond', routes: [say({ ...all, headers: [{ name: 'x-n', range_match: { start: -10, end: 10 } }] }, 'hit'), say(all, 'none')], upstreams: none, send: ['-10', '10', '9', '-11', '+5', '5.0', ' 5 ', '0x5', '', '99999999999999999999', '5 6', '05'].flatMap(v => [req('/', `X-N: ${v}\r\n`), { res: 1 }]) },
  { name: 'headers: presence with treat_missing_header_as_empty', routes: [say({ path: '/a', headers: [{ name: 'x-n', present_match: true, treat_missing_header_as_empty: true }] }, 'a'), say({ path: '/b', headers: [{ name: 'x-n', present_match: false, treat_missing_header_as_empty: true }] }, 'b'), say({ path: '/c', headers: [{ name: 'x-n', present_match: false, invert_match: true }] }, 'c'), say(all, 'none')], upstreams: none, send: ['/a', '/b', '/c'].flatMap(p => [req(p), { res: 1 }, req(p, 'X-N: 1\r\n'), { res: 1 }]) },
  { name: 'header add: the host by either name', routes: to({}, all, { request_headers_to_add: [value('x-a', '%REQ(host)%'), value('x-b', '%REQ(:authority)%'), value('x-c', '%REQ(x-none?Host)%')] }), send: [req('/')] },
  { name: 'cluster_header: host', routes: to({ cluster: undefined, cluster_header: 'host' }), ...log, send: [req('/')] },
  { name: 'headers: pseudo-headers', routes: [say({ ...all, headers: [{ name: ':method', string_match: { exact: 'PUT' } }] }, 'put'), say({ ...all, headers: [{ name: ':authority', string_match: { prefix: 'b.' } }] }, 'b'), say({ ...all, headers: [{ name: 'host', string_match: { prefix: 'c.' } }] }, 'c'), say({ ...all, headers: [{ name: ':path', string_match: { suffix: '?q' } }] }, 'q'), say({ ...all, headers: [{ name: ':scheme', string_match: { exact: 'http' } }] }, 'http'), say(all, 'none')], upstreams: none, send: ['PUT /\nHost: a', 'GET /\nHost: b.test', 'GET /\nHost: c.test', 'GET /?q\nHost: a', 'GET /\nHost: a'].flatMap(r => [`${r.replace('\n', ' HTTP/1.1\r\n')}\r\n\r\n`, { res: 1 }]) },
  { name: 'safe_regex: the whole path, dots and line ends', routes: [say({ safe_regex: { regex: '/a.c' } }, 'dot'), say({ safe_regex: { regex: '(?i)/up' } }, 'case'), say({ safe_regex: { regex: '/[[:alpha:]]+\\d*' } }, 'class'), say({ safe_regex: { regex: '/(x|xy)' } }, 'alternatives'), say(all, 'none')], upstreams: none, send: paths('/abc', '/a%0Ac', '/UP', '/up/', '/abc12', '/xy', '/12', '/abc?x=/a.c') },

  // headers
  { name: 'most_specific_header_mutations_wins', routeConfig: { name: 'r', most_specific_header_mutations_wins: true, request_headers_to_add: [value('x-l', 'table')], response_headers_to_add: [value('x-l', 'table')], virtual_hosts: [{ name: 'v', domains: ['*'], request_headers_to_add: [value('x-l', 'host')], response_headers_to_add: [value('x-l', 'host')], routes: [...to({}, { path: '/a' }, { request_headers_to_add: [value('x-l', 'route')], response_headers_to_add: [value('x-l', 'route')] }), ...to({})] }] }, send: paths('/a', '/b') },
  { name: 'internal_only_headers: outside and inside', routeConfig: { name: 'r', internal_only_headers: ['x-secret'], virtual_hosts: [{ name: 'v', domains: ['*'], routes: to({}) }] }, hcm: { use_remote_address: true, xff_num_trusted_hops: 1 }, send: ['X-O: 1', 'X-Forwarded-For: 8.8.8.8'].flatMap(h => [req('/', `X-Secret: 1\r\n${h}\r\n`), { res: 1 }]) },

  // clusters
  { name: 'cluster_header: unknown, empty, absent', ...log, routes: to({ cluster: undefined, cluster_header: 'x-c', cluster_not_found_response_code: 'NOT_FOUND' }), send: ['X-C: nowhere', 'X-C:', 'X-O: 1'].flatMap(h => [req('/', `${h}\r\n`), { res: 1 }]) },
  { name: 'weighted_clusters: header_name decides', routes: [{ match: all, route: { weighted_clusters: { header_name: 'x-pick', clusters: [{ name: '$a', weight: 30 }, { name: '$b', weight: 0 }, { name: '$c', weight: 70 }] } } }], upstreams: Object.fromEntries(['a', 'b', 'c'].map(n => [n, replies(ok(n))])), clusters: { u: null }, send: ['0', '29', '30', '99', '100', '129', '18446744073709551615'].flatMap(n => [req('/', `X-Pick: ${n}\r\n`), { res: 1 }]) },
  { name: 'retries: retriable_headers', ...log, routes: to({ retry_policy: { retry_on: 'retriable-headers', num_retries: 2, retriable_headers: [{ name: 'x-again', string_match: { exact: '1' } }], retry_back_off: { base_interval: '0.001s' } } }), upstreams: { u: replies(fail('X-Again: 1\r\n'), fail('X-Again: 2\r\n')) }, send: [req('/')] },
  { name: 'retries: retriable_request_headers', ...log, routes: to({ retry_policy: { retry_on: '5xx', retriable_request_headers: [{ name: 'x-may', present_match: true }], retry_back_off: { base_interval: '0.001s' } } }), upstreams: { u: replies(fail(), ok('good')) }, send: [req('/', 'X-May: 1\r\n')] },
  { name: 'retries: retriable_request_headers that are not there', ...log, routes: to({ retry_policy: { retry_on: '5xx', retriable_request_headers: [{ name: 'x-may', present_match: true }], retry_back_off: { base_interval: '0.001s' } } }), upstreams: { u: replies(fail(), ok('good')) }, send: [req('/')] },
  { name: 'retries: previous_hosts goes elsewhere', routes: [{ match: all, route: { cluster: '$all', retry_policy: { retry_on: '5xx', num_retries: 1, host_selection_retry_max_attempts: 5, retry_back_off: { base_interval: '0.001s' }, retry_host_predicate: [{ name: 'p', typed_config: { '@type': 'type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate' } }] } } }], upstreams: { a: replies(fail()), b: replies(ok('good')) }, clusters: { u: null, all: { endpoints: ['a', 'b'] } }, client: async ctx => { const c = await ctx.connect('main', { hidden: true }); let out = ''; for (let i = 0; i < 6; i++) { c.write(req('/')); out += (await c.response()).slice(-4); } return out; }, viewUpstream: () => [] },
]);
