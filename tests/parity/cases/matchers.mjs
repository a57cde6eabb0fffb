// What a route asks of a request: paths of every kind, headers, query, cookies, TLS, metadata; and what hostile requests make of it.
import fs from 'node:fs';
import { suite, req, router, TYPE } from '../lib/suite.mjs';

const CERTS = new URL('../certs', import.meta.url).pathname;
const all = { prefix: '/' };
const none = {};
const say = (match, body) => ({ match, direct_response: { status: 200, body: { inline_string: body } } });
const hits = (...matches) => ({ routes: [...matches.map((m, i) => say({ ...all, ...m }, `hit${i}`)), say(all, 'none')], upstreams: none });
const only = (match, ...list) => ({ routes: [say(match, 'hit'), say(all, 'none')], upstreams: none, send: paths(...list) });
const paths = (...list) => list.flatMap(p => [req(p), { res: 1 }]);
const heads = (...list) => list.flatMap(h => [req('/', h ? `${h}\r\n` : ''), { res: 1 }]);
const template = path_template => ({ prefix: undefined, path_match_policy: { name: 'envoy.path.match.uri_template.uri_template_matcher', typed_config: { '@type': `${TYPE}.extensions.path.match.uri_template.v3.UriTemplateMatchConfig`, path_template } } });
const badTemplate = (name, text) => ({ name: `refused: path template, ${name}`, refused: 'path_template', send: [], ...hits(template(text)) });
const cookie = (matcher, ...list) => ({ ...hits({ cookies: [{ name: 'c', ...matcher }] }), send: heads(...list) });
// What a request's headers say becomes metadata and filter state; then the route is chosen anew.
const states = { http_filters: [
  { name: 'md', typed_config: { '@type': `${TYPE}.extensions.filters.http.set_metadata.v3.Config`, metadata: [{ metadata_namespace: 'n', value: { text: 'ab', number: 1.5, yes: true, nothing: null, list: [1, 'x'], deep: { er: 'in' } } }] } },
  { name: 'fs', typed_config: { '@type': `${TYPE}.extensions.filters.http.set_filter_state.v3.Config`, clear_route_cache: true, on_request_headers: [{ object_key: 'k', factory_key: 'envoy.string', format_string: { text_format_source: { inline_string: '%REQ(x-k)%' } } }] } }, router] };
const written = (path, value, more) => ({ ...hits({ dynamic_metadata: [{ filter: 'n', path: path.map(key => ({ key })), value, ...more }] }), hcm: states, send: paths('/') });
const COOKIES = ['', 'Cookie: c=ab', 'Cookie: c=', 'Cookie: c', 'Cookie: b=1; c=ab', 'Cookie: c=x; c=ab', 'Cookie: c="ab"', 'Cookie: b=1\r\nCookie: c=ab', 'Cookie: c=ab\r\nCookie: c=x', 'Cookie: C=ab', 'Cookie:   c = ab  ', 'Cookie: c=ab=c', 'Cookie: ;;c=ab;', 'Cookie: cc=ab', 'Cookie: a=1,c=ab'];
const header = (m, ...list) => ({ ...hits({ headers: [{ name: 'x-h', ...m }] }), send: heads(...list) });
const VALUES = ['', 'X-H: ab', 'X-H: AB', 'X-H: abc', 'X-H:', 'X-H: ab\r\nX-H: cd', 'X-H: cd\r\nX-H: ab', 'X-H: ab,cd', 'X-O: ab'];

export default [suite('matchers', [
  // uri templates
  { name: 'path_match_policy: literals and one segment', ...only(template('/a/*/c'), '/a/b/c', '/a/b/c?q', '/a//c', '/a/b/x/c', '/a/b/c/', '/A/b/c', '/a/%2F/c', '/a/b;c/c', '/a/b=c/c', '/a/*/c') },
  { name: 'path_match_policy: any number of segments', ...only(template('/a/**'), '/a/', '/a', '/a/b', '/a/b/c', '/a//b', '/a/b?q=/x', '/a/b^c', '/b/a/') },
  { name: 'path_match_policy: a text glob with a suffix', ...only(template('/v/**.m3u8'), '/v/a.m3u8', '/v/a/b.m3u8', '/v/.m3u8', '/v/a.m3u8x', '/v/aXm3u8') },
  { name: 'path_match_policy: variables', ...only(template('/{country}/{lang=**}/end'), '/us/en/end', '/us/en/x/end', '/us/end', '/us//end', '/us/en/end/') },
  { name: 'path_match_policy: variables with literals', ...only(template('/{v=x/*/y}/z'), '/x/1/y/z', '/x/1/2/y/z', '/x/y/z') },
  { name: 'path_match_policy: the root and trailing slashes', routes: [say(template('/'), 'root'), say(template('/a/'), 'slash'), say(template('/*'), 'one'), say(all, 'none')], upstreams: none, send: paths('/', '/a/', '/a', '/a//', '/?q') },
  { name: 'path_match_policy: literals that regular expressions know', ...only(template('/a.b+c$(d)/*'), '/a.b+c$(d)/x', '/aXb+c$(d)/x', '/a.bbc$(d)/x') },
  { name: 'path_match_policy: text around variables and behind operators', routes: [say(template('/2/{a}b/c'), 'two'), say(template('/4/x{a}z/*a'), 'four'), say(template('/6/a==b'), 'six'), say(all, 'none')], upstreams: none, send: paths('/2/xb/c', '/2/b/c', '/4/xyz/ba', '/4/xz/ba', '/4/xyz/a', '/6/a==b') },
  { name: 'path_match_policy: an asterisk in text', ...only(template('/1/a*b'), '/1/aXb', '/1/b'), unsupported: 'path_template' },
  { name: 'path_match_policy: case_sensitive has no effect', ...only({ ...template('/a/*'), case_sensitive: false }, '/a/b', '/A/b') },
  { name: 'path_match_policy: with ignore_path_parameters_in_path_matching', routeConfig: { name: 'r', ignore_path_parameters_in_path_matching: true, virtual_hosts: [{ name: 'v', domains: ['*'], routes: [say(template('/a/*'), 'hit'), say(template('/c;p/*'), 'semicolon'), say(all, 'none')] }] }, upstreams: none, send: paths('/a/b;v=1', '/a/b;v', '/a;v/b', '/c;p/x') },
  { name: 'path_match_policy: first match among many', routes: [...Array.from({ length: 30 }, (_, i) => say(template(`/t${i % 10}/{v}/${i % 3}`), `t${i}`)), say({ prefix: '/t1' }, 'prefix'), say(all, 'none')], upstreams: none, send: paths('/t0/x/0', '/t1/x/1', '/t1/x/2', '/t1/x/0', '/t9/x/0', '/t9/x/y') },
  { name: 'path_match_policy: hostile paths', ...only(template('/a/{x=**}'), `/a/${'b/'.repeat(2000)}`, `/a/${'%2e%2e/'.repeat(300)}`, '/a/../b', '/a/%00', '/a/\\b', '/a/{x}', '/a/"') },

  // cookies
  { name: 'cookies: exact', ...cookie({ string_match: { exact: 'ab' } }, ...COOKIES) },
  { name: 'cookies: inverted', ...cookie({ string_match: { exact: 'ab' }, invert_match: true }, ...COOKIES) },
  { name: 'cookies: prefix, ignore_case', ...cookie({ string_match: { prefix: 'A', ignore_case: true } }, ...COOKIES) },
  { name: 'cookies: the empty value', ...cookie({ string_match: { safe_regex: { regex: '.*' } } }, ...COOKIES) },
  { name: 'cookies: two must match', ...hits({ cookies: [{ name: 'a', string_match: { exact: '1' } }, { name: 'b', string_match: { exact: '2' } }] }), send: heads('Cookie: a=1; b=2', 'Cookie: b=2; a=1', 'Cookie: a=1', 'Cookie: a=1; b=3') },
  { name: 'cookies: hostile', ...cookie({ string_match: { exact: 'ab' } }, `Cookie: ${'x=y; '.repeat(3000)}c=ab`, `Cookie: ${';'.repeat(5000)}c=ab`, 'Cookie: c=ab\x80', 'Cookie: =c=ab', 'Cookie: c="ab', 'Cookie: c=%61b') },

  // headers
  ...[['exact_match', 'ab'], ['prefix_match', 'ab'], ['suffix_match', 'b'], ['contains_match', 'b'], ['safe_regex_match', { regex: 'a.' }], ['present_match', true], ['present_match', false]].flatMap(([kind, v]) => [
    { name: `headers: ${kind} ${v === false ? 'false' : ''}`.trim(), ...header({ [kind]: v }, ...VALUES) },
    { name: `headers: ${kind} ${v === false ? 'false ' : ''}inverted`, ...header({ [kind]: v, invert_match: true }, ...VALUES) },
    { name: `headers: ${kind} ${v === false ? 'false ' : ''}inverted, missing is empty`, ...header({ [kind]: v, invert_match: true, treat_missing_header_as_empty: true }, ...VALUES) },
  ]),
  { name: 'headers: string_match of every kind, case ignored', ...hits(...[{ exact: 'Ab' }, { prefix: 'P' }, { suffix: 'S' }, { contains: 'C' }].map(m => ({ headers: [{ name: 'x-h', string_match: { ...m, ignore_case: true } }] }))), send: heads('X-H: aB', 'X-H: pq', 'X-H: qs', 'X-H: qcq', 'X-H: AB', 'X-H: q', 'X-H: \xc3\x84') },
  { name: 'headers: missing is empty, for what empty matches', ...hits({ path: '/a', prefix: undefined, headers: [{ name: 'x-h', exact_match: '', treat_missing_header_as_empty: true }] }, { headers: [{ name: 'x-h', string_match: { safe_regex: { regex: '.*' } }, treat_missing_header_as_empty: true }] }), send: [...paths('/a'), ...heads('', 'X-H: 1')] },
  { name: 'headers: known ones on several lines', ...hits(...[['accept', 'a,b'], ['accept', 'b'], ['cookie', 'a=1; b=2'], ['user-agent', 'a,b'], ['content-type', 'a']].map(([name, exact]) => ({ headers: [{ name, string_match: { exact } }] }))), send: heads('Accept: a\r\nAccept: b', 'Cookie: a=1\r\nCookie: b=2', 'User-Agent: a\r\nUser-Agent: b', 'Content-Type: a\r\nContent-Type: b', 'Accept: a') },
  { name: 'headers: hostile values', ...header({ safe_regex_match: { regex: '(a+)+$' } }, `X-H: ${'a'.repeat(20000)}b`, `X-H: ${'a'.repeat(20000)}`) },
  { name: 'headers: a pattern of many states', ...hits({ headers: [{ name: 'x-h', safe_regex_match: { regex: '(.*a){12}' } }] }), send: heads(`X-H: ${'ab'.repeat(6000)}`, `X-H: ${'ba'.repeat(6000)}`) },

  // query
  { name: 'query_parameters: several, all must match', ...hits({ query_parameters: [{ name: 'a', string_match: { exact: '1' } }, { name: 'b', present_match: true }] }), send: paths('/?a=1&b', '/?b=2&a=1', '/?a=1', '/?b&a=2') },
  { name: 'query_parameters: percent-encoded names and values', ...hits({ query_parameters: [{ name: 'a b', string_match: { exact: 'c d' } }] }, { query_parameters: [{ name: 'a', string_match: { exact: '%31' } }] }, { query_parameters: [{ name: 'a', string_match: { exact: '1' } }] }, { query_parameters: [{ name: 'é', present_match: true }] }), send: paths('/?a%20b=c%20d', '/?a=%31', '/?%61=1', '/?%C3%A9=', '/?a+b=c+d', '/?a=%', '/?a=%zz') },
  { name: 'query_parameters: hostile', ...hits({ query_parameters: [{ name: 'last', string_match: { exact: '1' } }] }), send: paths(`/?${'a=1&'.repeat(3000)}last=1`, `/?${'&'.repeat(9000)}last=1`, '/?last=1?last=2', '/?last=1;x', '/?=last=1', '/?last==1') },

  // grpc
  { name: 'grpc: by content type', ...hits({ grpc: {} }), send: ['', 'application/grpc', 'application/grpc+proto', 'application/grpc-web', 'application/grpc;charset=utf-8', 'application/GRPC', 'application/grpcx', 'application/grpc+'].flatMap(t => [req('/', t && `Content-Type: ${t}\r\n`), { res: 1 }]) },

  // TLS
  { name: 'tls_context: in clear text', ...hits({ tls_context: { presented: true } }, { tls_context: { validated: true } }, { tls_context: { presented: false, validated: false } }), send: paths('/') },
  { name: 'tls_context: with a certificate', ...hits({ tls_context: { presented: true, validated: true } }, { tls_context: { presented: false } }), chains: f => [{ filters: [f], transport_socket: { name: 'envoy.transport_sockets.tls', typed_config: { '@type': `${TYPE}.extensions.transport_sockets.tls.v3.DownstreamTlsContext`, require_client_certificate: true, common_tls_context: { tls_certificates: [{ certificate_chain: { filename: '${certs}/server.crt' }, private_key: { filename: '${certs}/server.key' } }], validation_context: { trusted_ca: { filename: '${certs}/ca.crt' } } } } } }], client: async ctx => { const out = []; for (const options of [{ key: fs.readFileSync(`${CERTS}/client.key`), cert: fs.readFileSync(`${CERTS}/client.crt`) }]) { const c = await ctx.connect('main', { hidden: true, tls: options }); c.write(req('/')); out.push((await c.response()).split('\r\n\r\n')[1]); } return out; } },
  { name: 'tls_context: presented false, in clear text', ...hits({ tls_context: { presented: false } }), send: paths('/') },
  { name: 'tls_context: nothing said', ...hits({ tls_context: {} }), send: paths('/') },

  // metadata and state that nobody wrote
  ...[['present', { value: { present_match: true } }], ['absent', { value: { present_match: false } }], ['inverted', { value: { string_match: { exact: 'a' } }, invert: true }], ['null', { value: { null_match: {} } }], ['or', { value: { or_match: { value_matchers: [{ bool_match: true }, { present_match: true }] } } }]].map(([name, m]) =>
    ({ name: `dynamic_metadata: ${name}, where there is none`, ...hits({ dynamic_metadata: [{ filter: 'f', path: [{ key: 'a' }, { key: 'b' }], ...m }] }), send: paths('/') })),
  { name: 'filter_state: none', ...hits({ filter_state: [{ key: 'k', string_match: { exact: 'a' } }] }), send: paths('/') },
  { name: 'filter_state: an address, none', ...hits({ filter_state: [{ key: 'k', address_match: { ranges: [{ address_prefix: '127.0.0.0', prefix_len: 8 }] } }] }), send: paths('/'), unsupported: 'address_match' },

  { name: 'filter_state: text of every kind of match', ...hits(...[{ exact: 'ab' }, { prefix: 'p' }, { suffix: 'S', ignore_case: true }, { safe_regex: { regex: '[0-9]+' } }, { exact: '-' }].map(string_match => ({ filter_state: [{ key: 'k', string_match }] }))), hcm: states, send: heads('X-K: ab', 'X-K: pq', 'X-K: qs', 'X-K: 42', 'X-K: 42x', '', 'X-K: AB') },
  { name: 'filter_state: another key', ...hits({ filter_state: [{ key: 'other', string_match: { exact: 'ab' } }] }), hcm: states, send: heads('X-K: ab') },
  { name: 'dynamic_metadata: text', ...written(['text'], { string_match: { prefix: 'a' } }) },
  { name: 'dynamic_metadata: text inverted', ...written(['text'], { string_match: { prefix: 'a' } }, { invert: true }) },
  { name: 'dynamic_metadata: an exact number', ...written(['number'], { double_match: { exact: 1.5 } }) },
  { name: 'dynamic_metadata: a range ends before its end', ...written(['number'], { double_match: { range: { start: 1, end: 1.5 } } }) },
  { name: 'dynamic_metadata: true', ...written(['yes'], { bool_match: true }) },
  { name: 'dynamic_metadata: null', ...written(['nothing'], { null_match: {} }) },
  { name: 'dynamic_metadata: one of a list', ...written(['list'], { list_match: { one_of: { string_match: { exact: 'x' } } } }) },
  { name: 'dynamic_metadata: within an object', ...written(['deep', 'er'], { string_match: { exact: 'in' } }) },
  { name: 'dynamic_metadata: an object is there', ...written(['deep'], { present_match: true }) },
  { name: 'dynamic_metadata: beyond a leaf', ...written(['text', 'more'], { present_match: true }) },
  { name: 'dynamic_metadata: one of two', ...written(['text'], { or_match: { value_matchers: [{ bool_match: true }, { string_match: { contains: 'b' } }] } }) },

  // CONNECT
  { name: 'connect_matcher: other methods never match', ...hits({ prefix: undefined, connect_matcher: {} }), send: [...paths('/'), 'CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n', { res: 1 }] },

  // paths
  { name: 'paths: hostile, where prefixes and whole paths meet', routes: [say({ path: '/admin' }, 'exact'), say({ prefix: '/admin/' }, 'prefix'), say({ path_separated_prefix: '/api' }, 'separated'), say({ safe_regex: { regex: '/x/.*' } }, 'regex'), say(all, 'none')], upstreams: none, send: paths('/admin', '/admin/', '/admin/..', '//admin', '/./admin', '/admin%2f', '/%61dmin', '/admin;x', '/admin?', '/api', '/api/', '/api%2f', '/apix', '/x/', '/x/%0a', '/X/') },
  { name: 'paths: a regular expression that would never end elsewhere', ...only({ safe_regex: { regex: '/(a|a)*b' } }, `/${'a'.repeat(20000)}`, `/${'a'.repeat(20000)}b`) },
  { name: 'paths: thirty routes, all kinds, first match', routes: [...Array.from({ length: 30 }, (_, i) => say([{ prefix: `/p${i % 7}` }, { path: `/p${i % 7}/x` }, { path_separated_prefix: `/p${i % 7}/y` }, { safe_regex: { regex: `/p${i % 7}/[a-z]` } }, { prefix: `/P${i % 5}/`, case_sensitive: false }][(i * 3) % 5], `r${i}`)), say(all, 'none')], upstreams: none, send: paths(...[0, 1, 2, 3, 4, 5, 6, 7].flatMap(i => [`/p${i}`, `/p${i}/x`, `/p${i}/y`, `/p${i}/y/z`, `/p${i}/yy`, `/P${i}/q`])) },
  { name: 'domains: the longest wildcard of many', vhosts: ['a.test', '*.test', '*.a.test', '*b.a.test', 'x.*', 'x.y.*', '*'].map(d => ({ name: d, domains: [d], routes: [say(all, d)] })), upstreams: none, send: ['a.test', 'b.test', 'b.a.test', 'cb.a.test', '.a.test', 'x.a.test', 'x.z', 'x.y.z', 'x.', 'X.Y.Z', 'q', 'a.test.', 'a.test:80'].flatMap(h => [`GET / HTTP/1.1\r\nHost: ${h}\r\n\r\n`, { res: 1 }]) },
]), suite('bad-matchers', [
  badTemplate('no slash at the beginning', 'a/b'),
  badTemplate('glob after text glob', '/**/*'),
  badTemplate('text behind an operator', '/*a/b'),
  badTemplate('two variables in a segment', '/{a}{b}'),
  badTemplate('variable twice', '/{a}/{a}'),
  badTemplate('six variables', '/{a}/{b}/{c}/{d}/{e}/{f}'),
  badTemplate('long name of a variable', '/{abcdefghijklmnopq}'),
  badTemplate('unbalanced bracket', '/{a'),
  badTemplate('empty segment', '/a//b'),
  badTemplate('literal with a bracket', '/a[b]'),
  badTemplate('a variable in a variable', '/{a={b}}'),
  badTemplate('empty', ''),
  { name: 'refused: cookie without a match', refused: 'cookies', send: [], ...hits({ cookies: [{ name: 'c' }] }) },
  { name: 'refused: a match without a path', refused: 'match: a required choice', send: [], routes: [say({}, 'x')], upstreams: none },
], { alone: true })];
