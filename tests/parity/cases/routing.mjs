// Routing: which virtual host and route a request gets, and what the route does with it.
import { suite, req } from '../lib/suite.mjs';
import { replies, ok } from '../lib/raw.mjs';

const direct = (body, status = 200) => ({ direct_response: { status, body: { inline_string: body } } });
const say = (match, body) => ({ match, ...direct(body) });
const all = { prefix: '/' };
const U = { route: { cluster: '$u' } };
const host = (name, ...domains) => ({ name, domains, routes: [say(all, name)] });
const gets = (...hosts) => hosts.flatMap(h => [`GET / HTTP/1.1\r\nHost: ${h}\r\n\r\n`, { res: 1 }]);
const paths = (...list) => list.flatMap(p => [req(p), { res: 1 }]);
const none = {};
// One connection a request: a local reply to a request with a body closes its connection.
const each = list => async ctx => { for (const r of list) { const c = await ctx.connect(); c.write(r); await c.response(); } };

const domains = [
  host('any', '*'), host('exact', 'www.a.test'), host('exact-port', 'www.a.test:8080'), host('suffix-short', '*.a.test'), host('suffix-long', '*.b.a.test'),
  host('suffix-dash', '*-bar.a.test'), host('prefix-short', 'www.*'), host('prefix-long', 'www.foo.*'), host('upper', 'UPPER.test'), host('many', 'one.test', 'two.test', '*.three.test'), host('v6', '[::1]'),
];
const redirect = (r, match = all) => [{ match, redirect: r }];

const REQUEST = ['accept', 'accept-encoding', 'accept-language', 'authorization', 'cache-control', 'cookie', 'expires', 'forwarded', 'from', 'if-match', 'if-none-match', 'if-range', 'origin', 'pragma', 'prefer', 'range', 'referer', 'retry-after', 'server', 'te', 'trailer', 'user-agent', 'vary', 'via', 'warning', 'x-client-trace-id', 'x-forwarded-for', 'x-forwarded-host', 'x-forwarded-port', 'x-other'];
const ANSWER = ['accept-ranges', 'age', 'allow', 'cache-control', 'content-encoding', 'content-language', 'content-type', 'etag', 'expires', 'last-modified', 'link', 'location', 'pragma', 'proxy-authenticate', 'retry-after', 'set-cookie', 'vary', 'via', 'www-authenticate', 'x-forwarded-for', 'x-other'];
const alsoThere = names => names.map(key => ({ header: { key, value: '2' } }));

export default suite('routing', [
  // domains
  { name: 'domains: exact before suffix before prefix before any', vhosts: domains, upstreams: none, send: gets('www.a.test', 'x.a.test', 'x.b.a.test', 'foo-bar.a.test', 'www.zzz', 'www.foo.com', 'zzz', 'a.test') },
  { name: 'domains: case is ignored', vhosts: domains, upstreams: none, send: gets('WWW.A.TEST', 'upper.TEST', 'X.A.Test', 'WWW.q') },
  { name: 'domains: a port in the host must be in the domain', vhosts: domains, upstreams: none, send: gets('www.a.test:8080', 'www.a.test:80', 'x.a.test:80', '[::1]', '[::1]:80') },
  { name: 'domains: several of one virtual host', vhosts: domains, upstreams: none, send: gets('one.test', 'two.test', 'x.three.test', 'three.test') },
  { name: 'domains: a suffix wildcard needs at least one character', vhosts: [host('w', '*.a.test')], upstreams: none, send: gets('.a.test', 'a.test', 'x.a.test') },
  { name: 'domains: no virtual host matches', vhosts: [host('w', 'only.test')], upstreams: none, send: gets('other.test') },
  { name: 'domains: trailing dot', vhosts: domains, upstreams: none, send: gets('www.a.test.', 'x.a.test.') },
  { name: 'domains: hostile hosts', vhosts: domains, upstreams: none, send: gets('*', '*.a.test', 'www.a.test,evil', 'www.a.test%00', 'a'.repeat(300) + '.a.test') },
  { name: 'domains: ignore_port_in_host_matching', routeConfig: { name: 'r', ignore_port_in_host_matching: true, virtual_hosts: domains.filter(d => d.name !== 'exact-port') }, upstreams: none, send: gets('www.a.test:8080', 'x.a.test:1', 'www.q:99', '[::1]:80') },
  { name: 'domains: the virtual host is chosen before the route, no fallback to *', vhosts: [{ name: 'a', domains: ['a.test'], routes: [say({ path: '/x' }, 'x')] }, host('any', '*')], upstreams: none, send: paths('/x', '/y') },
  { name: 'domains: a virtual host without routes', vhosts: [{ name: 'a', domains: ['*'] }], upstreams: none, send: [req('/')] },
  { name: 'domains: strip_any_host_port', hcm: { strip_any_host_port: true }, vhosts: [{ name: 'a', domains: ['www.a.test'], routes: [{ match: all, ...U }] }], send: gets('www.a.test:8080') },

  // prefix
  { name: 'prefix: first match wins', routes: [say({ prefix: '/a/b' }, 'ab'), say({ prefix: '/a' }, 'a'), say(all, 'root')], upstreams: none, send: paths('/a/b/c', '/a/bc', '/ab', '/b', '/a?x=/a/b') },
  { name: 'prefix: order is kept, a later longer one never matches', routes: [say({ prefix: '/a' }, 'a'), say({ prefix: '/a/b' }, 'ab')], upstreams: none, send: paths('/a/b', '/x') },
  { name: 'prefix: case matters unless told', routes: [say({ prefix: '/Low', case_sensitive: false }, 'ci'), say({ prefix: '/Up' }, 'cs')], upstreams: none, send: paths('/lOW/x', '/up', '/Up') },
  { name: 'prefix: encoded and dotted paths are matched as they are', routes: [say({ prefix: '/admin' }, 'admin'), say(all, 'other')], upstreams: none, send: paths('/%61dmin', '/x/../admin', '//admin', '/admin%2f', '/./admin') },
  { name: 'prefix: normalize_path and merge_slashes', hcm: { normalize_path: true, merge_slashes: true }, routes: [say({ prefix: '/admin' }, 'admin'), { match: all, ...U }], send: paths('/%61dmin', '/x/../admin', '//admin', '/./admin', '/a/%2e%2e/admin', '/b//c/./d/../e?x=//../y', '/..', '/a\\b') },
  { name: 'prefix: normalize_path makes no new escapes', hcm: { normalize_path: true }, routes: [say({ prefix: '/%2F' }, 'slash'), { match: all, ...U }], send: paths('/%2%46', '/%%32F', '/%%32%46', '/%4%41', '/%4%7e', '/%%%34', '/%\\%41') },
  { name: 'prefix: the empty query and the query alone', routes: [{ match: { prefix: '/q' }, ...U }], send: paths('/q?', '/q?a=b?c', '/?q') },

  // path
  { name: 'path: exact, query ignored', routes: [say({ path: '/exact' }, 'exact'), say(all, 'other')], upstreams: none, send: paths('/exact', '/exact?q=1', '/exact/', '/exac', '/Exact') },
  { name: 'path: case_sensitive false', routes: [say({ path: '/Exact', case_sensitive: false }, 'exact'), say(all, 'other')], upstreams: none, send: paths('/exACT', '/exactt') },
  { name: 'path: hostile variants do not match', routes: [say({ path: '/exact' }, 'exact'), say(all, 'other')], upstreams: none, send: paths('/exact%00', '/exact;x', '/%65xact', '//exact', '/exact%3fq') },
  { name: 'path: path_separated_prefix', routes: [say({ path_separated_prefix: '/api' }, 'api'), say(all, 'other')], upstreams: none, send: paths('/api', '/api/', '/api/x', '/apix', '/api?x', '/API') },

  // safe_regex
  { name: 'safe_regex: the whole path must match', routes: [say({ safe_regex: { regex: '/b[io]t' } }, 'bit'), say(all, 'other')], upstreams: none, send: paths('/bit', '/bot', '/bite', '/x/bit', '/bit?x=1', '/bit/') },
  { name: 'safe_regex: classes and alternation', routes: [say({ safe_regex: { regex: '/(v\\d+|latest)/[^/]+' } }, 'hit'), say(all, 'other')], upstreams: none, send: paths('/v12/x', '/latest/y', '/v/x', '/v1/x/y', '/V1/x') },
  { name: 'safe_regex: no catastrophic backtracking', routes: [say({ safe_regex: { regex: '/(a+)+b' } }, 'hit'), say(all, 'other')], upstreams: none, send: paths(`/${'a'.repeat(3000)}`, '/aab') },
  { name: 'safe_regex: case_sensitive does not matter, (?i) does', routes: [say({ safe_regex: { regex: '(?i)/abc' } }, 'hit'), say(all, 'other')], upstreams: none, send: paths('/ABC', '/abcd') },
  { name: 'safe_regex: dot and line ends, high bytes escaped', routes: [say({ safe_regex: { regex: '/a.c' } }, 'hit'), say(all, 'other')], upstreams: none, send: paths('/a/c', '/a%0ac', '/a%c') },

  // headers
  { name: 'headers: exact, prefix, suffix, contains, regex', routes: [
    say({ ...all, headers: [{ name: 'x-exact', string_match: { exact: 'v' } }] }, 'exact'), say({ ...all, headers: [{ name: 'x-pre', string_match: { prefix: 'v' } }] }, 'prefix'),
    say({ ...all, headers: [{ name: 'x-suf', string_match: { suffix: 'v' } }] }, 'suffix'), say({ ...all, headers: [{ name: 'x-con', string_match: { contains: 'v' } }] }, 'contains'),
    say({ ...all, headers: [{ name: 'x-re', string_match: { safe_regex: { regex: 'v+' } } }] }, 'regex'), say(all, 'none')], upstreams: none,
    send: [['X-Exact: v', 'X-Exact: vv', 'X-Exact: V', 'X-Pre: vx', 'X-Pre: xv', 'X-Suf: xv', 'X-Suf: vx', 'X-Con: xvx', 'X-Con: x', 'X-Re: vvv', 'X-Re: xvv', 'X-Re:', 'X-None: 1'].flatMap(h => [req('/', `${h}\r\n`), { res: 1 }])].flat() },
  { name: 'headers: present, range, inverted, ignore_case', routes: [
    say({ ...all, headers: [{ name: 'x-p', present_match: true }] }, 'present'), say({ ...all, headers: [{ name: 'x-r', range_match: { start: '-5', end: '10' } }] }, 'range'),
    say({ ...all, headers: [{ name: 'x-i', string_match: { exact: 'AbC', ignore_case: true } }] }, 'ci'), say({ ...all, headers: [{ name: 'x-a', present_match: false }, { name: 'x-b', present_match: true }] }, 'absent'),
    say({ ...all, headers: [{ name: 'x-n', string_match: { exact: 'no' }, invert_match: true }] }, 'inverted'), say(all, 'none')], upstreams: none,
    send: ['X-P: ', 'X-R: 9', 'X-R: 10', 'X-R: -5', 'X-R: 5x', 'X-I: aBc', 'X-B: 1', 'X-N: yes', 'X-N: no', 'X-A: 1\r\nX-B: 2\r\nX-N: no'].flatMap(h => [req('/', `${h}\r\n`), { res: 1 }]) },
  { name: 'headers: all must match', routes: [say({ ...all, headers: [{ name: 'x-a', string_match: { exact: '1' } }, { name: 'x-b', string_match: { exact: '2' } }] }, 'both'), say(all, 'none')], upstreams: none, send: ['X-A: 1', 'X-B: 2\r\nX-A: 1', 'X-A: 1\r\nX-B: 3'].flatMap(h => [req('/', `${h}\r\n`), { res: 1 }]) },
  { name: 'headers: several lines are joined with a comma', routes: [say({ ...all, headers: [{ name: 'x-a', string_match: { exact: '1,2' } }] }, 'joined'), say({ ...all, headers: [{ name: 'x-a', string_match: { exact: '1' } }] }, 'first'), say(all, 'none')], upstreams: none, send: ['X-A: 1\r\nX-A: 2', 'X-A: 1\r\nX-B: 0\r\nx-a: 3', 'X-A: 1,2', 'X-A: 1'].flatMap(h => [req('/', `${h}\r\n`), { res: 1 }]) },
  { name: 'headers: pseudo-headers :method, :authority, :path, :scheme', routes: [say({ ...all, headers: [{ name: ':method', string_match: { exact: 'POST' } }] }, 'post'), say({ ...all, headers: [{ name: ':authority', string_match: { exact: 'b.test' } }] }, 'b'), say({ ...all, headers: [{ name: ':path', string_match: { suffix: '?z' } }] }, 'z'), say({ ...all, headers: [{ name: ':scheme', string_match: { exact: 'http' } }] }, 'http'), say(all, 'none')], upstreams: none,
    client: each([req('/', '', 'x'), 'GET / HTTP/1.1\r\nHost: b.test\r\n\r\n', req('/a?z'), req('/')]) },
  ...[['exact 1', { string_match: { exact: '1' } }], ['exact 2', { string_match: { exact: '2' } }], ['not exact 1', { string_match: { exact: '1' }, invert_match: true }], ['not exact 2', { string_match: { exact: '2' }, invert_match: true }],
    ['not exact 3', { string_match: { exact: '3' }, invert_match: true }], ['regex joined', { string_match: { safe_regex: { regex: '1,2' } } }], ['prefix 2', { string_match: { prefix: '2' } }], ['suffix 2', { string_match: { suffix: '2' } }], ['contains a comma', { string_match: { contains: ',' } }],
    ['old exact 1', { exact_match: '1' }], ['old exact joined', { exact_match: '1,2' }], ['old contains a comma', { contains_match: ',' }], ['old suffix 2', { suffix_match: '2' }], ['old regex', { safe_regex_match: { regex: '1,2' } }], ['range of the first', { range_match: { start: 1, end: 2 } }], ['range of the second', { range_match: { start: 2, end: 3 } }],
    ['not range of the second', { range_match: { start: 2, end: 3 }, invert_match: true }], ['not present', { present_match: true, invert_match: true }],
  ].map(([name, test]) => ({ name: `headers: several lines, ${name}`, routes: [say({ ...all, headers: [{ name: 'x-a', ...test }] }, 'hit'), say(all, 'none')], upstreams: none, send: ['X-A: 1\r\nX-A: 2', 'X-A: 2\r\nX-A: 1', 'X-A: 1,2', 'X-B: 1'].flatMap(h => [req('/', `${h}\r\n`), { res: 1 }]) })),
  { name: 'headers: several lines of a header that Envoy joins', routes: [say({ ...all, headers: [{ name: 'accept', string_match: { exact: '1,2' } }] }, 'joined'), say({ ...all, headers: [{ name: 'accept', string_match: { exact: '1' } }] }, 'first'), say(all, 'none')], upstreams: none, send: [req('/', 'Accept: 1\r\nAccept: 2\r\n')] },
  { name: 'headers: treat_missing_header_as_empty', routes: [say({ ...all, headers: [{ name: 'x-a', string_match: { exact: '1' }, invert_match: true, treat_missing_header_as_empty: true }] }, 'hit'), say(all, 'none')], upstreams: none, send: ['X-B: 1', 'X-A: 1', 'X-A: 2'].flatMap(h => [req('/', `${h}\r\n`), { res: 1 }]) },
  { name: 'headers: query_parameters beside them', routes: [say({ ...all, query_parameters: [{ name: 'v', string_match: { exact: '1' } }] }, 'v1'), say({ ...all, query_parameters: [{ name: 'p', present_match: true }] }, 'p'), say(all, 'none')], upstreams: none, send: paths('/?v=1', '/?v=2', '/?p', '/?a&p=3', '/?v=1&v=2', '/?V=1', '/?v=%31', '/#?v=1') },
  { name: 'headers: grpc', routes: [say({ ...all, grpc: {} }, 'grpc'), say(all, 'none')], upstreams: none, send: ['Content-Type: application/grpc', 'Content-Type: application/grpc+proto', 'Content-Type: application/grpc-web', 'Content-Type: text/plain'].flatMap(h => [req('/', `${h}\r\n`), { res: 1 }]) },

  // cluster
  { name: 'cluster: the named one', routes: [{ match: { prefix: '/2' }, route: { cluster: '$v' } }, { match: all, ...U }], upstreams: { u: replies(ok('u')), v: replies(ok('v')) }, send: paths('/1', '/2') },
  { name: 'cluster: unknown cluster with validate_clusters off is 503', routeConfig: { name: 'r', validate_clusters: false, virtual_hosts: [{ name: 'v', domains: ['*'], routes: [{ match: all, route: { cluster: 'nowhere' } }] }] }, send: [req('/')] },
  { name: 'cluster: cluster_not_found_response_code NOT_FOUND', routeConfig: { name: 'r', validate_clusters: false, virtual_hosts: [{ name: 'v', domains: ['*'], routes: [{ match: all, route: { cluster: 'nowhere', cluster_not_found_response_code: 'NOT_FOUND' } }] }] }, send: [req('/')] },
  { name: 'cluster: cluster_header', routes: [{ match: all, route: { cluster_header: 'x-to' } }], client: async ctx => { const c = await ctx.connect(); for (const to of [`${ctx.id}_u`, 'nope', '']) { c.write(req('/', to ? `X-To: ${to}\r\n` : '')); await c.response(); } } },

  // weighted_clusters
  { name: 'weighted_clusters: a weight of all goes to one', routes: [{ match: all, route: { weighted_clusters: { clusters: [{ name: '$u', weight: 0 }, { name: '$v', weight: 100 }] } } }], upstreams: { u: replies(ok('u')), v: replies(ok('v')) }, send: paths('/', '/', '/') },
  { name: 'header add: request headers that are there already', routes: [{ match: all, ...U, request_headers_to_add: alsoThere(REQUEST) }], send: [req('/', REQUEST.map(n => `${n}: 1\r\n`).join(''))] },
  { name: 'header add: answer headers that are there already', routes: [{ match: all, ...U, response_headers_to_add: alsoThere(ANSWER) }], upstreams: { u: replies(ok('x', ANSWER.map(n => `${n}: 1\r\n`).join(''))) }, send: [req('/')] },
  { name: 'header add: request headers that are not there', routes: [{ match: all, ...U, request_headers_to_add: alsoThere([...REQUEST, ...REQUEST]) }], send: [req('/')] },
  { name: 'header add: answer headers that are not there', routes: [{ match: all, ...U, response_headers_to_add: alsoThere([...ANSWER, ...ANSWER]) }], send: [req('/')] },
  { name: 'header add: overwrite, add if absent, overwrite if there', routes: [{ match: all, ...U, request_headers_to_add: ['OVERWRITE_IF_EXISTS_OR_ADD', 'ADD_IF_ABSENT', 'OVERWRITE_IF_EXISTS'].flatMap(append_action => ['x-there', 'x-gone', 'accept', 'cookie'].map(n => ({ header: { key: `${n}${n.startsWith('x') ? append_action.length : ''}`, value: append_action }, append_action }))) }], send: [req('/', ['X-There26', 'X-There13', 'X-There19', 'X-There26', 'Accept', 'Accept', 'Cookie', 'Cookie'].map(n => `${n}: 1\r\n`).join(''))] },
  { name: 'header add: empty values', routes: [{ match: all, ...U, request_headers_to_add: [{ header: { key: 'x-e', value: '' } }, { header: { key: 'x-k', value: '' }, keep_empty_value: true }, { header: { key: 'x-o', value: '%REQ(x-none)%' } }, { header: { key: 'x-p', value: '%REQ(x-none)%' }, keep_empty_value: true }] }], send: [req('/')] },
  { name: 'weighted_clusters: headers per cluster', routes: [{ match: all, route: { weighted_clusters: { clusters: [{ name: '$u', weight: 1, request_headers_to_add: [{ header: { key: 'x-w', value: 'u' } }], response_headers_to_add: [{ header: { key: 'x-r', value: 'u' } }], request_headers_to_remove: ['x-gone'], response_headers_to_remove: ['x-bye'] }] } }, request_headers_to_add: [{ header: { key: 'x-route', value: '1' } }] }], upstreams: { u: replies(ok('u', 'x-bye: 1\r\n')) }, send: [req('/', 'X-Gone: 1\r\n')] },
  { name: 'weighted_clusters: about the right share', routes: [{ match: all, route: { weighted_clusters: { clusters: [{ name: '$u', weight: 25 }, { name: '$v', weight: 75 }] } } }], upstreams: { u: replies(ok('u')), v: replies(ok('v')) },
    client: async ctx => { const c = await ctx.connect('main', { hidden: true }); let u = 0; for (let i = 0; i < 400; i++) { c.write(req('/')); if ((await c.response()).endsWith('u')) u++; } return { share: u > 60 && u < 140 ? 'about a quarter' : u }; }, viewUpstream: () => [], settle: 0 },
  { name: 'weighted_clusters: request header chooses', routes: [{ match: all, route: { weighted_clusters: { header_name: 'x-pick', clusters: [{ name: '$u', weight: 50 }, { name: '$v', weight: 50 }] } } }], upstreams: { u: replies(ok('u')), v: replies(ok('v')) }, send: ['10', '49', '50', '99', '149', '18446744073709551615'].flatMap(p => [req('/', `X-Pick: ${p}\r\n`), { res: 1 }]) },
  { name: 'weighted_clusters: an unknown cluster among them', routeConfig: { name: 'r', validate_clusters: false, virtual_hosts: [{ name: 'v', domains: ['*'], routes: [{ match: all, route: { weighted_clusters: { clusters: [{ name: 'nowhere', weight: 1 }] } } }] }] }, send: [req('/')] },

  // redirect
  { name: 'redirect: https_redirect', routes: redirect({ https_redirect: true }), upstreams: none, send: [...paths('/a?b=c'), ...gets('a.test:80', 'a.test:8080')] },
  { name: 'redirect: host, path and port', routes: [...redirect({ host_redirect: 'new.test' }, { path: '/h' }), ...redirect({ path_redirect: '/new' }, { path: '/p' }), ...redirect({ port_redirect: 8443 }, { path: '/o' }), ...redirect({ host_redirect: 'n.test', port_redirect: 81, path_redirect: '/x?y=1', scheme_redirect: 'https' }, { path: '/all' })], upstreams: none, send: paths('/h?q=1', '/p?q=1', '/o', '/all?z=2') },
  { name: 'redirect: prefix_rewrite and regex_rewrite', routes: [...redirect({ prefix_rewrite: '/new' }, { prefix: '/old' }), ...redirect({ regex_rewrite: { pattern: { regex: '^/r/(.*)$' }, substitution: '/\\1/r' } }, { prefix: '/r/' })], upstreams: none, send: paths('/old/x?y', '/old', '/r/abc?q') },
  { name: 'redirect: response codes', routes: ['MOVED_PERMANENTLY', 'FOUND', 'SEE_OTHER', 'TEMPORARY_REDIRECT', 'PERMANENT_REDIRECT'].flatMap((c, i) => redirect({ path_redirect: '/n', response_code: c }, { path: `/${i}` })), upstreams: none, send: paths('/0', '/1', '/2', '/3', '/4') },
  { name: 'redirect: strip_query', routes: redirect({ path_redirect: '/n', strip_query: true }), upstreams: none, send: paths('/a?b=c') },
  { name: 'redirect: x-forwarded-proto decides the scheme', routes: redirect({ host_redirect: 'new.test' }), upstreams: none, send: [req('/', 'X-Forwarded-Proto: https\r\n')] },
  { name: 'redirect: hostile path with CRLF escapes and high ports', routes: redirect({ https_redirect: true }), upstreams: none, send: [...paths('/a%0d%0aSet-Cookie:x'), ...gets('a.test:443', '[::1]:80', 'a.test:99999')] },
  { name: 'redirect: of a POST with a body', routes: redirect({ path_redirect: '/n' }), upstreams: none, send: [req('/', '', 'body'), { res: 1 }, req('/2')] },
  { name: 'redirect: require_tls on the virtual host', vhosts: [{ name: 'v', domains: ['*'], require_tls: 'ALL', routes: [{ match: all, ...U }] }], send: [req('/a?b'), { res: 1 }, req('/', 'X-Forwarded-Proto: https\r\n')] },
  { name: 'redirect: response headers are added', routes: [{ match: all, redirect: { path_redirect: '/n' }, response_headers_to_add: [{ header: { key: 'x-r', value: '1' } }] }], upstreams: none, send: paths('/') },

  // direct_response
  { name: 'direct_response: status and body', routes: [{ match: all, ...direct('hello\n', 418) }], upstreams: none, send: paths('/') },
  { name: 'direct_response: no body', routes: [{ match: all, direct_response: { status: 503 } }], upstreams: none, send: paths('/') },
  { name: 'direct_response: 204 and 304', routes: [{ match: { path: '/204' }, direct_response: { status: 204 } }, { match: { path: '/304' }, direct_response: { status: 304, body: { inline_string: 'x' } } }], upstreams: none, send: paths('/204', '/304'), differs: { id: 'no-body-with-304', envoy: t => t.includes('HTTP/1.1 304 Not Modified') && t.endsWith('\n  x'), plenipo: t => t.includes('HTTP/1.1 304 Not Modified') && t.includes('content-length: 1') && t.endsWith('\n  ') } },
  { name: 'direct_response: to a POST whose body has not come', routes: [{ match: all, ...direct('no', 403) }], upstreams: none, send: ['POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nabc', { res: 1 }] },
  { name: 'direct_response: to a POST with its whole body', routes: [{ match: all, ...direct('no', 403) }], upstreams: none, send: [req('/', '', 'body'), { res: 1 }, req('/2')] },
  { name: 'direct_response: 201 gets a location', routes: [{ match: all, ...direct('made', 201) }], upstreams: none, send: paths('/made?x=1') },
  { name: 'direct_response: content-type can be set', routes: [{ match: all, ...direct('{}', 200), response_headers_to_add: [{ header: { key: 'content-type', value: 'application/json' }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' }] }], upstreams: none, send: paths('/') },

  // prefix_rewrite
  { name: 'prefix_rewrite: of a prefix', routes: [{ match: { prefix: '/api/' }, route: { cluster: '$u', prefix_rewrite: '/' } }, { match: { prefix: '/old' }, route: { cluster: '$u', prefix_rewrite: '/new' } }], send: paths('/api/x?q=1', '/api/', '/old', '/oldish/y') },
  { name: 'prefix_rewrite: of an exact path and of a regex', routes: [{ match: { path: '/p' }, route: { cluster: '$u', prefix_rewrite: '/q' } }, { match: { safe_regex: { regex: '/r.*' } }, route: { cluster: '$u', prefix_rewrite: '/s' } }], send: paths('/p?a=1', '/rrr/x?b=2') },
  { name: 'prefix_rewrite: case-insensitive prefix', routes: [{ match: { prefix: '/ApI', case_sensitive: false }, route: { cluster: '$u', prefix_rewrite: '/new' } }], send: paths('/api/x', '/API') },
  { name: 'prefix_rewrite: to double slashes and dots', routes: [{ match: { prefix: '/a' }, route: { cluster: '$u', prefix_rewrite: '/b/' } }], send: paths('/a/../x', '/a//y', '/a') },
  { name: 'prefix_rewrite: x-envoy-original-path of the client is overwritten', routes: [{ match: { prefix: '/a' }, route: { cluster: '$u', prefix_rewrite: '/b' } }], send: [req('/a/x', 'X-Envoy-Original-Path: /evil\r\n')] },
  { name: 'prefix_rewrite: regex_rewrite and host_rewrite_literal', routes: [{ match: all, route: { cluster: '$u', regex_rewrite: { pattern: { regex: '^/svc/([^/]+)(/.*)$' }, substitution: '\\2/inst/\\1' }, host_rewrite_literal: 'h.test' } }], send: paths('/svc/foo/v1/api?x', '/other') },

  // header add and remove
  { name: 'header add: levels and order: route, virtual host, configuration', routeConfig: { name: 'r', request_headers_to_add: [{ header: { key: 'x-l', value: 'config' } }], response_headers_to_add: [{ header: { key: 'x-l', value: 'config' } }], virtual_hosts: [{ name: 'v', domains: ['*'], request_headers_to_add: [{ header: { key: 'x-l', value: 'vhost' } }], response_headers_to_add: [{ header: { key: 'x-l', value: 'vhost' } }],
    routes: [{ match: all, ...U, request_headers_to_add: [{ header: { key: 'x-l', value: 'route' } }], response_headers_to_add: [{ header: { key: 'x-l', value: 'route' } }] }] }] }, send: [req('/', 'X-L: client\r\n')] },
  { name: 'header add: append_action of every kind', routes: [{ match: all, ...U, request_headers_to_add: [
    ['x-a', 'APPEND_IF_EXISTS_OR_ADD'], ['x-b', 'ADD_IF_ABSENT'], ['x-c', 'OVERWRITE_IF_EXISTS_OR_ADD'], ['x-d', 'OVERWRITE_IF_EXISTS'], ['y-a', 'APPEND_IF_EXISTS_OR_ADD'], ['y-b', 'ADD_IF_ABSENT'], ['y-c', 'OVERWRITE_IF_EXISTS_OR_ADD'], ['y-d', 'OVERWRITE_IF_EXISTS']].map(([key, append_action]) => ({ header: { key, value: 'new' }, append_action })) }], send: [req('/', 'X-A: old\r\nX-B: old\r\nX-C: old\r\nX-C: old2\r\nX-D: old\r\nX-Z: 1\r\n')] },
  { name: 'header add: append_action on the answer', upstreams: { u: replies(ok('ok', 'x-a: old\r\nx-b: old\r\nx-c: old\r\nx-c: old2\r\nx-d: old\r\n')) }, routes: [{ match: all, ...U, response_headers_to_add: [
    ['x-a', 'APPEND_IF_EXISTS_OR_ADD'], ['x-b', 'ADD_IF_ABSENT'], ['x-c', 'OVERWRITE_IF_EXISTS_OR_ADD'], ['x-d', 'OVERWRITE_IF_EXISTS'], ['y-d', 'OVERWRITE_IF_EXISTS'], ['y-a', 'ADD_IF_ABSENT']].map(([key, append_action]) => ({ header: { key, value: 'new' }, append_action })) }], send: [req('/')] },
  { name: 'header add: append true and false of old', routes: [{ match: all, ...U, request_headers_to_add: [{ header: { key: 'x-a', value: 'new' }, append: true }, { header: { key: 'x-b', value: 'new' }, append: false }] }], send: [req('/', 'X-A: old\r\nX-B: old\r\n')] },
  { name: 'header add: empty values with and without keep_empty_value', routes: [{ match: all, ...U, request_headers_to_add: [{ header: { key: 'x-a', value: '' } }, { header: { key: 'x-b', value: '' }, keep_empty_value: true }, { header: { key: 'x-c', value: '%REQ(x-none)%' } }] }], send: [req('/')] },
  { name: 'header add: substitution operators', routes: [{ match: all, ...U, request_headers_to_add: ['%PROTOCOL%', '%REQ(x-in)%', '%REQ(X-NONE?x-in)%', '%REQ(x-in):2%', '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%', '%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%', '100%%', 'a %REQ(:METHOD)% b'].map((value, i) => ({ header: { key: `x-${i}`, value } })),
    response_headers_to_add: ['%RESPONSE_CODE%', '%RESP(x-up)%', '%REQ(x-in)%', '%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%'].map((value, i) => ({ header: { key: `x-${i}`, value } })) }], upstreams: { u: replies(ok('ok', 'x-up: u\r\n')) }, send: [req('/', 'X-In: value\r\n')] },
  { name: 'header add: names are lower-cased, reserved ones replaced', routes: [{ match: all, ...U, request_headers_to_add: [{ header: { key: 'X-UPPER', value: '1' } }, { header: { key: 'user-agent', value: 'me' } }, { header: { key: 'cookie', value: 'c=3' } }] }], send: [req('/', 'User-Agent: you\r\nCookie: a=1\r\n')] },
  { name: 'header add: to local replies too', vhosts: [{ name: 'v', domains: ['*'], response_headers_to_add: [{ header: { key: 'x-v', value: '1' } }], routes: [{ match: { path: '/d' }, ...direct('x'), response_headers_to_add: [{ header: { key: 'x-r', value: '1' } }] }, { match: { path: '/dead' }, route: { cluster: '$dead' }, response_headers_to_add: [{ header: { key: 'x-r', value: '2' } }] }] }], upstreams: { dead: 'refuse' }, send: paths('/d', '/dead', '/none') },
  { name: 'header remove: request and answer', upstreams: { u: replies(ok('ok', 'x-secret: 1\r\nServer: s\r\nx-keep: 1\r\nX-Secret: 2\r\n')) }, routes: [{ match: all, ...U, request_headers_to_remove: ['x-a', 'Cookie'], response_headers_to_remove: ['x-secret', 'server'] }], send: [req('/', 'X-A: 1\r\nX-B: 2\r\nx-a: 3\r\nCookie: c\r\n')] },
  { name: 'header remove: Envoy\'s own', routes: [{ match: all, ...U, request_headers_to_remove: ['x-request-id', 'x-forwarded-proto', 'x-envoy-expected-rq-timeout-ms'], response_headers_to_remove: ['date', 'x-envoy-upstream-service-time'] }], send: [req('/')] },
  { name: 'header remove: then add of the same name', routes: [{ match: all, ...U, request_headers_to_remove: ['x-a'], request_headers_to_add: [{ header: { key: 'x-a', value: 'new' } }] }], send: [req('/', 'X-A: old\r\n')] },
  { name: 'header remove: hostile duplicates and case', routes: [{ match: all, ...U, request_headers_to_remove: ['x-admin'] }], send: [req('/', 'X-Admin: 1\r\nx-ADMIN: 2\r\nX_Admin: 3\r\nX-Admin2: 4\r\n')] },
]);
