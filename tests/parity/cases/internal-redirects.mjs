// internal_redirect_policy: a redirect of an upstream that the proxy follows itself.
import { suite, req, TYPE } from '../lib/suite.mjs';
import { replies, ok } from '../lib/raw.mjs';

const all = { prefix: '/' };
const to = (location, status = '302 Found', headers = '') => ok('moved', `location: ${location}\r\n${headers}`, status);
const follow = (policy = {}, extra = {}) => [{ match: { path: '/new' }, route: { cluster: '$v' } }, { match: all, route: { cluster: '$u', internal_redirect_policy: policy, ...extra } }];
const two = (...answers) => ({ u: replies(...answers), v: replies(ok('new')) });
const log = { log: { log_format: { text_format_source: { inline_string: '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_CLUSTER% %REQ(:path)% %UPSTREAM_REQUEST_ATTEMPT_COUNT%\n' } } } };
const stats = { ...log, stats: [/^(cluster|http)\.ID.*(redirect|upstream_rq_\d|downstream_rq_(\dxx|total|completed)|upstream_cx_destroy|rq_total).*: [1-9]/, /rq_active: /], statsText: async ctx => (await ctx.admin('/stats')).split('\n').filter(l => !/_time:|_ms:|_bytes/.test(l)).join('\n') };
const get = [req('/'), { res: 1 }];
const post = [req('/', '', 'the body'), { res: 1 }];
const predicate = (type, config = {}) => [{ name: 'p', typed_config: { '@type': `${TYPE}.extensions.internal_redirect.${type}`, ...config } }];

export default [suite('internal-redirects', [
  { name: 'internal_redirect_policy: followed', upstreams: two(to('http://b.test/new')), routes: follow(), send: get, ...stats },
  { name: 'internal_redirect_policy: query and fragment', upstreams: { u: replies(to('http://b.test:81/other?x=1#frag'), ok('second')), v: replies() }, routes: follow(), send: get, ...stats },
  { name: 'internal_redirect_policy: a relative location', upstreams: two(to('/new')), routes: follow(), send: get, ...stats },
  { name: 'internal_redirect_policy: an empty location', upstreams: two(to('')), routes: follow(), send: get, ...stats },
  { name: 'internal_redirect_policy: no location', upstreams: two(ok('moved', '', '302 Found')), routes: follow(), send: get, ...stats },
  { name: 'internal_redirect_policy: another scheme', upstreams: two(to('ftp://b.test/new')), routes: follow(), send: get, ...stats },
  { name: 'internal_redirect_policy: https is not followed', upstreams: two(to('https://b.test/new')), routes: follow(), send: get, ...stats },
  { name: 'internal_redirect_policy: allow_cross_scheme_redirect', upstreams: two(to('https://b.test/new')), routes: follow({ allow_cross_scheme_redirect: true }), send: get, ...stats },
  { name: 'internal_redirect_policy: a body is sent again', upstreams: two(to('http://b.test/new')), routes: follow(), send: post, ...stats },
  { name: 'internal_redirect_policy: chunked with trailers', upstreams: two(to('http://b.test/new')), routes: follow(), send: ['POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n', { res: 1 }], ...stats },
  { name: 'internal_redirect_policy: a body too large to keep', listener: { per_connection_buffer_limit_bytes: 1024 }, upstreams: two(to('http://b.test/new')), routes: follow(), send: [req('/', '', 'x'.repeat(5000)), { res: 1 }], viewUpstream: saw => saw.map(w => ({ ...w, bytes: w.bytes.split('\r\n')[0] })), ...stats },
  { name: 'internal_redirect_policy: 303 turns POST into GET', upstreams: two(to('http://b.test/new', '303 See')), routes: follow({ redirect_response_codes: [303] }), send: post, ...stats },
  { name: 'internal_redirect_policy: 303 keeps HEAD', upstreams: { u: replies('HTTP/1.1 303 X\r\nlocation: http://b.test/new\r\n\r\n'), v: replies('HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n') }, routes: follow({ redirect_response_codes: [303] }), send: ['HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n', { head: 1 }], ...stats },
  { name: 'internal_redirect_policy: 301 is not followed without being asked for', upstreams: two(to('http://b.test/new', '301 X')), routes: follow(), send: get, ...stats },
  { name: 'internal_redirect_policy: redirect_response_codes', upstreams: two(to('http://b.test/new', '307 X')), routes: follow({ redirect_response_codes: [307, 308, 200] }), send: post, ...stats },
  { name: 'internal_redirect_policy: one redirect is the default', upstreams: { u: replies(to('http://b.test/again'), to('http://c.test/more')), v: replies() }, routes: follow(), send: get, ...stats },
  { name: 'internal_redirect_policy: max_internal_redirects', upstreams: two(to('http://b.test/again'), to('http://c.test/more'), to('http://d.test/new')), routes: follow({ max_internal_redirects: 3 }), send: get, ...stats },
  { name: 'internal_redirect_policy: max_internal_redirects zero', upstreams: two(to('http://b.test/new')), routes: follow({ max_internal_redirects: 0 }), send: get, ...stats },
  { name: 'internal_redirect_policy: a loop ends', upstreams: { u: replies(to('http://a.test/')), v: replies() }, routes: follow({ max_internal_redirects: 5 }), send: get, ...stats },
  { name: 'internal_redirect_policy: no route there', upstreams: two(to('http://b.test/new')), vhosts: [{ name: 'v', domains: ['a.test'], routes: follow() }], send: get, ...stats, viewLog: t => t.replace(/via_upstream \S+/, 'via_upstream') },
  { name: 'internal_redirect_policy: a direct response there', upstreams: two(to('http://b.test/direct')), routes: [{ match: { path: '/direct' }, direct_response: { status: 418, body: { inline_string: 'tea' } } }, ...follow()], send: get, ...stats },
  { name: 'internal_redirect_policy: an unknown cluster there', upstreams: two(to('http://b.test/none')), routeConfig: { name: 'r', validate_clusters: false, virtual_hosts: [{ name: 'v', domains: ['*'], routes: [{ match: { path: '/none' }, route: { cluster: 'nowhere' } }, ...follow()] }] }, send: get, ...stats },
  { name: 'internal_redirect_policy: response_headers_to_copy', upstreams: two(to('http://b.test/new', '302 X', 'x-copy: 1\r\nx-copy: 2\r\nx-other: 3\r\n')), routes: follow({ response_headers_to_copy: ['x-copy', 'x-absent'] }), send: [req('/', 'X-Copy: old\r\nX-Absent: old\r\n'), { res: 1 }], ...stats },
  { name: 'internal_redirect_policy: header edits of both routes', upstreams: two(to('http://b.test/new')), routes: [{ match: { path: '/new' }, route: { cluster: '$v', prefix_rewrite: '/rewritten' }, request_headers_to_add: [{ header: { key: 'x-second', value: '1' } }] }, { match: all, route: { cluster: '$u', prefix_rewrite: '/first/', internal_redirect_policy: {} }, request_headers_to_add: [{ header: { key: 'x-first', value: '1' } }], response_headers_to_add: [{ header: { key: 'x-answer', value: 'first' } }] }], send: get, ...stats },
  { name: 'internal_redirect_policy: safe_cross_scheme', upstreams: two(to('https://b.test/new')), routes: follow({ allow_cross_scheme_redirect: true, predicates: predicate('safe_cross_scheme.v3.SafeCrossSchemeConfig') }), send: get, ...stats, viewLog: t => t.replace(/via_upstream \S+/, 'via_upstream') },
  { name: 'internal_redirect_policy: safe_cross_scheme allows the same scheme', upstreams: two(to('http://b.test/new')), routes: follow({ predicates: predicate('safe_cross_scheme.v3.SafeCrossSchemeConfig') }), send: get, ...stats },
  { name: 'internal_redirect_policy: allow_listed_routes', upstreams: two(to('http://b.test/new')), routes: [{ name: 'good', ...follow()[0] }, follow({ predicates: predicate('allow_listed_routes.v3.AllowListedRoutesConfig', { allowed_route_names: ['good'] }) })[1]], send: get, ...stats },
  { name: 'internal_redirect_policy: allow_listed_routes without this one', upstreams: two(to('http://b.test/new')), routes: [{ name: 'bad', ...follow()[0] }, follow({ predicates: predicate('allow_listed_routes.v3.AllowListedRoutesConfig', { allowed_route_names: ['good'] }) })[1]], send: get, ...stats, viewLog: t => t.replace(/via_upstream \S+/, 'via_upstream') },
  { name: 'internal_redirect_policy: previous_routes', upstreams: two(to('http://b.test/again'), to('http://c.test/again'), to('http://d.test/new')), routes: follow({ max_internal_redirects: 5, predicates: predicate('previous_routes.v3.PreviousRoutesConfig') }), send: get, ...stats },
  { name: 'internal_redirect_policy: retries come first', upstreams: two(to('http://b.test/new'), to('http://b.test/new')), routes: follow({}, { retry_policy: { retry_on: 'retriable-status-codes', retriable_status_codes: [302], num_retries: 1 } }), send: get, ...stats },
  { name: 'internal_redirect_policy: the request is not over', upstreams: { u: async wire => { await wire.head(8000); wire.write(to('http://b.test/new')); await wire.until(() => false, 3000); wire.end(); }, v: replies() }, routes: follow(), send: ['POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 6\r\n\r\nabc', { res: 1 }], ...stats },
  { name: 'internal_redirect_policy: the second upstream is dead', upstreams: { u: replies(to('http://b.test/new')), v: 'refuse' }, routes: follow(), send: get, ...stats },
  { name: 'internal_redirect_policy: the second upstream is slow', upstreams: { u: replies(to('http://b.test/new')), v: replies([1500, ok()]) }, routes: [{ match: { path: '/new' }, route: { cluster: '$v', timeout: '0.3s' } }, follow()[1]], send: get, ...stats },
  { name: 'internal_redirect_policy: the client leaves at the second', upstreams: { u: replies(to('http://b.test/new')), v: replies([1500, ok()]) }, routes: follow(), send: [req('/'), 300, { rst: 1 }, 300], settle: 300, ...stats },
  { name: 'internal_redirect_policy: the connection of the redirect is used again', upstreams: { u: replies(to('http://b.test/again'), ok('again')), v: replies() }, routes: follow(), send: [req('/'), { res: 1 }, req('/other'), { res: 1 }], ...stats },
  { name: 'internal_redirect_policy: use_remote_address', hcm: { use_remote_address: true }, upstreams: two(to('http://b.test/new')), routes: follow(), send: get },
  { name: 'internal_redirect_action: followed', upstreams: two(to('http://b.test/new')), routes: follow(undefined, { internal_redirect_policy: undefined, internal_redirect_action: 'HANDLE_INTERNAL_REDIRECT', max_internal_redirects: 2 }), send: get, ...stats },
])];
