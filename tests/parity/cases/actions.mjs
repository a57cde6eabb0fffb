// What routes do: paths and hosts made of operators and templates, redirects, direct responses with formats, weighted clusters, virtual hosts by header.
import { suite, req, TYPE } from '../lib/suite.mjs';
import { replies, ok } from '../lib/raw.mjs';

const all = { prefix: '/' };
const none = {};
const to = (match, route, more) => ({ match: typeof match === 'string' ? { prefix: match } : match, route: { cluster: '$u', ...route }, ...more });
const say = (match, body, more) => ({ match: typeof match === 'string' ? { prefix: match } : match, direct_response: { status: 200, body: { inline_string: body }, ...more } });
const redirect = (match, r) => ({ match: typeof match === 'string' ? { prefix: match } : match, redirect: r });
const asks = (...list) => list.flatMap(a => [typeof a === 'string' ? req(a) : req(...a), { res: 1 }]);
const template = path_template => ({ path_match_policy: { name: 't', typed_config: { '@type': `${TYPE}.extensions.path.match.uri_template.v3.UriTemplateMatchConfig`, path_template } } });
const templated = path_template_rewrite => ({ path_rewrite_policy: { name: 't', typed_config: { '@type': `${TYPE}.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig`, path_template_rewrite } } });
const text = (inline_string, more) => ({ body_format: { text_format_source: { inline_string }, ...more } });
const log = { log: { log_format: { text_format_source: { inline_string: '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n' } } } };
const bad = (name, mention, route) => ({ name: `refused: ${name}`, refused: mention, send: [], routes: [route] });
const each = (...names) => ({ upstreams: Object.fromEntries(names.map(n => [n, replies(ok(n))])), clusters: { u: null } });
const add = (key, value) => ({ header: { key, value }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' });

export default [suite('actions', [
  // paths
  { name: 'path_rewrite_policy: variables, the query is kept', routes: [to(template('/{a}/x/{b=y/*}/**'), templated('/n/{b}-{a}/{a}')), to(template('/w/**'), templated('/fixed'))], send: asks('/1/x/y/2/z?q=/1', '/1/x/y/%2F/', '/w/?q', '/w/a/b') },
  { name: 'path_rewrite_policy: beside a host rewrite and mutations', routes: [to(template('/{a}'), { ...templated('/n/{a}'), host_rewrite_literal: 'new' }, { request_headers_to_add: [add('x-p', '%REQ(:path)%')] })], send: asks('/1?q') },
  { name: 'path_rewrite_policy: hostile paths', routes: [to(template('/a/{x=**}'), templated('/b/{x}'))], send: asks('/a/../../x', '/a//x', '/a/%0d%0aX:1', `/a/${'x/'.repeat(1000)}?${'q'.repeat(1000)}`) },
  { name: 'path_rewrite: operators, absent ones, the query is kept', routes: [to('/1', { path_rewrite: '/x/%REQ(a)%' }), to('/2', { path_rewrite: '/x?own=1' }), to('/3', { path_rewrite: '%REQ(none)%' }), to('/4', { path_rewrite: '/all/%REQ(:path)%' }), to(template('/5/{v}'), { path_rewrite: '/five' })], send: asks(['/1/q?s=1', 'A: v\r\n'], '/1/q?s=1', '/2/a?q=2', '/3/a?q', '/4?q', '/5/x?q') },
  { name: 'path_rewrite: after the header mutations', routes: [to('/', { path_rewrite: '/%REQ(a)%' }, { request_headers_to_add: [add('a', 'new')] })], send: asks(['/x', 'A: old\r\n']) },
  { name: 'path_rewrite: what may not stand in a request line', routes: [to('/', { path_rewrite: '/x/%REQ(a)%' })], send: asks(['/', 'A: a HTTP/1.1\r\n']), differs: { id: 'path-rewrite-bytes', envoy: t => t.includes('GET /x/a HTTP/1.1 HTTP/1.1'), plenipo: t => t.includes('GET /x/a%20HTTP/1.1 HTTP/1.1') } },

  // hosts
  { name: 'host_rewrite: operators and absent ones', routes: [to('/1', { host_rewrite: 'h-%REQ(a)%' }), to('/2', { host_rewrite: '%REQ(none)%' }), to('/3', { host_rewrite: 'fixed.test:80', append_x_forwarded_host: true }), to('/4', { host_rewrite: '%REQ(:path)%', prefix_rewrite: '/n' })], send: asks(['/1', 'A: v\r\n'], '/1', '/2', '/3', '/4') },
  { name: 'host_rewrite: after the header mutations', routes: [to('/', { host_rewrite: '%REQ(a)%' }, { request_headers_to_add: [add('a', 'new')] })], send: asks(['/', 'A: old\r\n']) },

  // redirects
  { name: 'redirect: path_rewrite', routes: [redirect('/1', { path_rewrite: '/x/%REQ(a)%', host_redirect: 'h' }), redirect('/2', { path_rewrite: '/x?z', strip_query: true }), redirect('/3', { path_rewrite: '%REQ(none)%' }), redirect(template('/4/{v}'), { path_rewrite: '/x%REQ(:path)%' }), redirect('/5', { path_rewrite: '/x', response_code: 'FOUND', https_redirect: true, port_redirect: 8443 })], upstreams: none, send: asks(['/1/a?q=1', 'A: v\r\n'], '/1?q', '/2?q', '/3?q', '/4/x?y', '/5?q') },
  { name: 'redirect: of a template', routes: [redirect(template('/a/{v}'), { path_redirect: '/n' }), redirect(template('/b/{v}'), { regex_rewrite: { pattern: { regex: '^/b/(.*)$' }, substitution: '/\\1' } })], upstreams: none, send: asks('/a/x?q', '/b/x?q') },

  // direct responses
  { name: 'direct_response: body_format', routes: [say('/1', 'body', text('F %REQ(a)% %LOCAL_REPLY_BODY%')), say('/2', 'body', text('<%LOCAL_REPLY_BODY%>', { content_type: 'text/html; charset=UTF-8' })), say('/3', 'body', { body_format: { json_format: { b: '%LOCAL_REPLY_BODY%', r: '%REQ(a)%', n: 1 } } }), { match: { prefix: '/4' }, direct_response: { status: 404, ...text('%PROTOCOL% %ROUTE_NAME%') }, name: 'r' }], upstreams: none, send: asks(['/1', 'A: v\r\n'], '/1', '/2', ['/3', 'A: "q"\r\n'], '/4') },
  { name: 'direct_response: body_format to HEAD and with 304', routes: [say('/1', 'body', text('<%LOCAL_REPLY_BODY%>')), { match: { prefix: '/2' }, direct_response: { status: 204, ...text('x') } }], upstreams: none, send: ['HEAD /1 HTTP/1.1\r\nHost: a.test\r\n\r\n', 300] },
  { name: 'direct_response: body_format of many kilobytes, hostile header', routes: [say('/', 'body', text('%REQ(a)%%REQ(a)%'))], upstreams: none, send: asks(['/', `A: ${'<\\"'.repeat(5000)}\r\n`]) },
  { name: 'direct_response: of a file', routes: [{ match: all, direct_response: { status: 200, body: { filename: '${certs}/ca.crt' } } }], upstreams: none, send: asks('/') },

  // nowhere
  { name: 'non_forwarding_action: 503', ...log, routes: [{ match: all, non_forwarding_action: {}, response_headers_to_add: [add('x-r', '1')] }], upstreams: none, send: asks('/') },

  // weighted clusters
  { name: 'weighted_clusters: runtime_key_prefix and total_weight say nothing', routes: [{ match: all, route: { weighted_clusters: { header_name: 'x-n', runtime_key_prefix: 'a.b', total_weight: 5, clusters: [{ name: '$a', weight: 1 }, { name: '$b', weight: 2 }] } } }], ...each('a', 'b'), send: asks(...[0, 1, 2, 3, 4].map(n => ['/', `X-N: ${n}\r\n`])) },
  { name: 'weighted_clusters: header_name with no number', routes: [{ match: all, route: { weighted_clusters: { header_name: 'x-n', clusters: [{ name: '$a', weight: 1 }, { name: '$b', weight: 0 }] } } }], ...each('a', 'b'), send: asks(...['x', '-1', '', '1.5', '99999999999999999999999'].map(n => ['/', `X-N: ${n}\r\n`])) },
  { name: 'weighted_clusters: header edits of a cluster come before those of the route', routes: [{ match: all, request_headers_to_add: [add('x-l', 'route')], response_headers_to_add: [add('x-l', 'route')], request_headers_to_remove: ['x-gone'], route: { weighted_clusters: { clusters: [{ name: '$u', weight: 1, request_headers_to_add: [add('x-l', 'cluster'), add('x-gone', 'cluster')], response_headers_to_add: [add('x-l', 'cluster')], response_headers_to_remove: ['x-up'] }] } } }], upstreams: { u: replies(ok('ok', 'X-Up: 1\r\n')) }, send: asks(['/', 'X-Gone: 1\r\n']) },
  { name: 'weighted_clusters: cluster_header among names', ...log, routes: [{ match: all, route: { weighted_clusters: { header_name: 'x-n', clusters: [{ name: '$a', weight: 1 }, { cluster_header: 'x-c', weight: 1 }] } } }], ...each('a', 'b'), send: asks(['/', 'X-N: 0\r\n'], ['/', 'X-N: 1\r\nX-C: $b\r\n'], ['/', 'X-N: 1\r\nX-C: nowhere\r\n'], ['/', 'X-N: 1\r\n']) },

  // virtual hosts
  { name: 'vhost_header: chooses in place of the host', routeConfig: { name: 'r', vhost_header: 'x-v', ignore_port_in_host_matching: true, virtual_hosts: [['a', 'a.test'], ['b', 'b.test', '*.w.test'], ['any', '*']].map(([name, ...domains]) => ({ name, domains, routes: [say('/', name)] })) }, upstreams: none, send: asks('/', ...['b.test', 'B.TEST', 'b.test:80', 'q.w.test', 'none', '', 'a.test\r\nX-V: b.test'].map(v => ['/', `X-V: ${v}\r\n`])) },
  { name: 'vhost_header: only *', routeConfig: { name: 'r', vhost_header: 'x-v', virtual_hosts: [{ name: 'v', domains: ['*'], routes: [say('/', 'any')] }] }, upstreams: none, send: asks('/', ['/', 'X-V: a\r\n']) },
]), suite('bad-actions', [
  bad('path_rewrite with an unknown operator', 'path_rewrite', to('/', { path_rewrite: '/%NOPE%' })),
  bad('host_rewrite with an unknown operator', 'host_rewrite', to('/', { host_rewrite: '%NOPE%' })),
  bad('path_rewrite and prefix_rewrite', 'Specify only one', to('/', { path_rewrite: '/x', prefix_rewrite: '/y' })),
  bad('path_rewrite and regex_rewrite', 'Specify only one', to('/', { path_rewrite: '/x', regex_rewrite: { pattern: { regex: 'a' }, substitution: 'b' } })),
  bad('prefix_rewrite of a template', 'Cannot use prefix_rewrite', to(template('/{a}'), { prefix_rewrite: '/x' })),
  bad('a redirect\'s prefix_rewrite of a template', 'Cannot use redirect.prefix_rewrite', redirect(template('/{a}'), { prefix_rewrite: '/x' })),
  bad('a template rewrite without a template', 'path_template_rewrite', to('/', templated('/x'))),
  bad('a template rewrite of a variable that is not there', 'Nonexisting variable', to(template('/{a}'), templated('/{b}'))),
  bad('a template rewrite with two slashes', 'Invalid rewrite literal', to(template('/{a}'), templated('/x//{a}'))),
], { alone: true })];
