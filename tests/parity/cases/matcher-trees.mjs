// Virtual hosts whose routes are chosen by a matcher tree: lists of predicates, maps, domains, nested ones, and what they are refused for.
import { suite, req, router, TYPE } from '../lib/suite.mjs';

const XDS = 'type.googleapis.com/xds.type.matcher.v3';
const say = (match, body) => ({ match, direct_response: { status: 200, body: { inline_string: body } } });
const ext = (type, fields) => ({ name: 'x', typed_config: { '@type': type, ...fields } });
const act = (body, match = { prefix: '/' }) => ({ action: ext(`${TYPE}.config.route.v3.Route`, say(match, body)) });
const acts = (...routes) => ({ action: ext(`${TYPE}.config.route.v3.RouteList`, { routes }) });
const header = header_name => ext(`${TYPE}.type.matcher.v3.HttpRequestHeaderMatchInput`, { header_name });
const state = key => ext(`${TYPE}.extensions.matching.common_inputs.network.v3.FilterStateInput`, { key });
const single = (input, value_match) => ({ single_predicate: { input, value_match } });
const and = (...predicate) => ({ and_matcher: { predicate } });
const or = (...predicate) => ({ or_matcher: { predicate } });
const not = p => ({ not_matcher: p });
const list = (pairs, more) => ({ matcher_list: { matchers: pairs.map(([predicate, on_match]) => ({ predicate, on_match })) }, ...more });
const exact = (input, map, more) => ({ matcher_tree: { input, exact_match_map: { map } }, ...more });
const prefix = (input, map, more) => ({ matcher_tree: { input, prefix_match_map: { map } }, ...more });
const domains = (input, pairs, more) => ({ matcher_tree: { input, custom_match: ext(`${XDS}.ServerNameMatcher`, { domain_matchers: pairs.map(([domains, on_match]) => ({ domains, on_match })) }) }, ...more });
const nested = (value, body, more) => ({ matcher: exact(header('x-in'), { [value]: act(body) }, more) });
const none = { on_no_match: act('none') };
const tree = (name, matcher, ...requests) => ({ name, vhosts: [{ name: 'v', domains: ['*'], matcher }], upstreams: {}, send: requests.flatMap(r => [typeof r === 'string' ? req('/', r && `${r}\r\n`) : req(...r), { res: 1 }]) });
const bad = (name, mention, matcher, more) => ({ name: `refused: ${name}`, refused: mention, send: [], vhosts: [{ name: 'v', domains: ['*'], matcher, ...more }], upstreams: {} });

export default [suite('matcher-trees', [
  tree('exact_match_map: one header, several lines, empty, absent', exact(header('x-h'), { a: act('a'), 'a,b': act('joined'), '': act('empty'), B: act('upper') }, none), 'X-H: a', 'X-H: A', 'X-H: a\r\nX-H: b', 'X-H:', 'X-H: b', 'X-H: B', 'X-O: 1', 'X-H: ab'),
  tree('exact_match_map: no match and nothing for it', exact(header('x-h'), { a: act('a') }), 'X-H: b', ''),
  tree('exact_match_map: method, path and host', exact(header(':method'), { GET: { matcher: exact(header(':path'), { '/?q': act('path'), '/': { matcher: exact(header('host'), { 'a.test': act('host') }) } }) } }, none), '', ['/?q'], ['/x'], ['/', '', 'body']),
  tree('prefix_match_map: the longest first', prefix(header('x-p'), { '/a': act('a'), '/ab': act('ab'), '/abc/': act('abc'), '': act('any') }, none), 'X-P: /a', 'X-P: /ab', 'X-P: /abc', 'X-P: /abc/d', 'X-P: /A', 'X-P:', ''),
  tree('prefix_match_map: a nested one without a match falls back to a shorter one', prefix(header('x-p'), { a: act('a'), ab: nested('1', 'nested'), abc: nested('2', 'deep', { on_no_match: act('inner none') }) }, none), 'X-P: ab', 'X-P: ab\r\nX-In: 1', 'X-P: abc', 'X-P: abc\r\nX-In: 2', 'X-P: b'),
  tree('exact_match_map: a nested one without a match', exact(header('x-p'), { a: nested('1', 'nested') }, none), 'X-P: a', 'X-P: a\r\nX-In: 1', 'X-P: b'),
  tree('matcher_list: the first that holds', list([[single(header('x-h'), { exact: 'a' }), act('exact')], [single(header('x-h'), { prefix: 'p' }), act('prefix')], [single(header('x-h'), { suffix: 's' }), act('suffix')], [single(header('x-h'), { contains: 'c' }), act('contains')], [single(header('x-h'), { safe_regex: { google_re2: {}, regex: '[0-9]+' } }), act('regex')], [single(header('x-h'), { exact: 'MiXed', ignore_case: true }), act('case')]], none), ...['a', 'ps', 'qs', 'qcq', '42', '42x', 'mIxED', 'z'].map(v => `X-H: ${v}`), ''),
  tree('matcher_list: and, or, not, within each other', list([[and(single(header('a'), { exact: '1' }), or(single(header('b'), { exact: '2' }), single(header('c'), { exact: '3' }))), act('and')], [not(or(single(header('d'), { exact: '4' }), single(header('e'), { exact: '5' }))), act('not')], [and(not(single(header('a'), { exact: '1' })), single(header('d'), { prefix: '4' })), act('and not')]], none), 'A: 1\r\nB: 2', 'A: 1\r\nC: 3\r\nD: 4', 'A: 1', 'D: 4', 'A: 1\r\nD: 4', 'E: 5'),
  tree('matcher_list: an absent header matches no pattern, not even an empty one', list([[single(header('x-h'), { safe_regex: { google_re2: {}, regex: '.*' } }), act('there')], [not(single(header('x-o'), { prefix: 'x' })), act('not')]], none), '', 'X-H:', 'X-O: x', 'X-O: y'),
  tree('matcher_list: a nested one without a match leaves it to the next', list([[single(header('x-j'), { exact: '1' }), nested('1', 'nested')], [single(header('x-j'), { prefix: '1' }), act('second')]], { on_no_match: nested('z', 'last') }), 'X-J: 1', 'X-J: 1\r\nX-In: 1', 'X-J: 12', 'X-In: z', ''),
  tree('actions: a route that does not match itself is no route', exact(header('x-h'), { a: act('a', { path: '/only' }) }, none), ['/only', 'X-H: a\r\n'], ['/x', 'X-H: a\r\n'], ['/only']),
  tree('actions: a RouteList is tried in order', exact(header('x-h'), { a: acts(say({ path: '/1' }, 'one'), say({ prefix: '/2' }, 'two'), say({ safe_regex: { regex: '/.*3' } }, 'three')) }, none), ['/1', 'X-H: a\r\n'], ['/23', 'X-H: a\r\n'], ['/x3', 'X-H: a\r\n'], ['/4', 'X-H: a\r\n'], ['/4']),
  tree('actions: eight maps deep', Array.from({ length: 8 }).reduce((inner, _, i) => exact(header('x-h'), { a: { matcher: inner } }, { on_no_match: act(`no${i}`) }), exact(header('x-in'), { 1: act('bottom') })), 'X-H: a\r\nX-In: 1', 'X-H: a', ''),
  tree('domains: exact, the longest wildcard, all', domains(header('x-d'), [[['a.test'], act('exact')], [['*.test', '*.b.test'], act('wild')], [['*.c.b.test', 'B.c'], act('long')], [['*'], act('all')]], none), ...['a.test', 'A.test', 'x.test', 'x.c.b.test', 'c.b.test', 'b.test', 'test', '.test', 'b.c', 'B.c', 'a.test:80', ''].map(d => `X-D: ${d}`), 'X-O: 1'),
  tree('domains: a nested one without a match falls back to a wildcard', domains(header('x-d'), [[['c.test'], nested('1', 'nested')], [['*.test'], nested('2', 'wild')], [['*'], act('all')]], none), 'X-D: c.test', 'X-D: c.test\r\nX-In: 1', 'X-D: c.test\r\nX-In: 2', 'X-D: d.test'),
  tree('domains: of :authority', domains(header(':authority'), [[['a.test'], act('a')]], none), '', ['/x']),
  tree('filter state: that nobody left', exact(state('k'), { a: act('a'), '': act('empty') }, none), ''),
  { ...tree('filter state: that a filter left, the route is chosen anew', exact(state('k'), { a: act('a'), b: { matcher: exact(header('x-in'), { 1: act('nested') }) } }, none), 'X-K: a', 'X-K: b', 'X-K: b\r\nX-In: 1', ''), hcm: { http_filters: [{ name: 'fs', typed_config: { '@type': `${TYPE}.extensions.filters.http.set_filter_state.v3.Config`, clear_route_cache: true, on_request_headers: [{ object_key: 'k', factory_key: 'envoy.string', format_string: { text_format_source: { inline_string: '%REQ(x-k)%' } } }] } }, router] } },
  tree('hostile: long values and many lines', list([[single(header('x-h'), { safe_regex: { google_re2: {}, regex: '(a|a)*b' } }), act('regex')], [single(header('x-h'), { contains: ',,,' }), act('commas')]], none), `X-H: ${'a'.repeat(20000)}`, `X-H: ${'a'.repeat(20000)}b`, Array.from({ length: 50 }, () => 'X-H:').join('\r\n')),
  tree('nothing but on_no_match', none, ''),
  { name: 'clusters of a tree are looked for with the request', vhosts: [{ name: 'v', domains: ['*'], matcher: exact(header('x-h'), { a: { action: ext(`${TYPE}.config.route.v3.Route`, { match: { prefix: '/' }, route: { cluster: 'nowhere' } }) } }) }], upstreams: {}, send: [req('/', 'X-H: a\r\n')] },
  { name: 'require_tls and header mutations of the virtual host hold', vhosts: [{ name: 'v', domains: ['*'], response_headers_to_add: [{ header: { key: 'x-v', value: '1' } }], matcher: exact(header('x-h'), { a: act('a') }) }, { name: 't', domains: ['tls.test'], require_tls: 'ALL', matcher: exact(header('x-h'), { a: act('a') }) }], upstreams: {}, send: [req('/', 'X-H: a\r\n'), { res: 1 }, 'GET / HTTP/1.1\r\nHost: tls.test\r\nX-H: a\r\n\r\n', { res: 1 }] },
]), suite('bad-matcher-trees', [
  bad('matcher and routes', 'cannot set both', exact(header('x'), { a: act('a') }), { routes: [say({ prefix: '/' }, 'x')] }),
  bad('keep_matching', 'keep_matching', exact(header('x'), { a: { ...act('a'), keep_matching: true } })),
  bad('an input that is no header', 'HttpRequestQueryParamMatchInput', exact(ext(`${TYPE}.type.matcher.v3.HttpRequestQueryParamMatchInput`, { query_param: 'q' }), { a: act('a') })),
  bad('an action that is no route', 'RouteMatch', exact(header('x'), { a: { action: ext(`${TYPE}.config.route.v3.RouteMatch`, { prefix: '/' }) } })),
  bad('a domain twice', 'Duplicate domain', domains(header('x'), [[['a'], act('a')], [['a'], act('b')]])),
  bad('a wildcard at the end of a domain', 'Invalid wildcard', domains(header('x'), [[['a.*'], act('a')]])),
  bad('an empty list', 'matchers', { matcher_list: { matchers: [] } }),
  bad('an empty map', 'exact_match_map', exact(header('x'), {})),
  bad('a value matcher that says nothing', 'value_match', list([[single(header('x'), {}), act('a')]])),
], { alone: true })];
