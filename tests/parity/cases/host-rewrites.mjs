// What routes write over the host, each kind by itself; and which header edits win.
import { suite, req, h2, h2upstream } from '../lib/suite.mjs';
import { replies, ok } from '../lib/raw.mjs';
import { h2request } from '../lib/h2.mjs';

const all = { prefix: '/' };
const to = (route, more = {}, match = all) => [{ match, route: { cluster: '$u', ...route }, ...more }];
const asks = (...list) => list.flatMap(r => [typeof r === 'string' ? req(r) : req(...r), { res: 1 }]);
const host = (name, ...lines) => [`GET /p HTTP/1.1\r\nHost: ${name}\r\n${lines.map(l => `${l}\r\n`).join('')}\r\n`, { res: 1 }];
const named = (...names) => ({ u: { endpoints: names.map(hostname => ({ endpoint: { hostname, address: { socket_address: { address: '127.0.0.1', port_value: '${port:u}' } } } })) } });
const set = (key, value) => ({ header: { key, value }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' });
const internal = { use_remote_address: false };
const overH2 = (...headers) => ({ upstreams: { u: h2() }, clusters: { u: h2upstream() }, client: async ctx => { const s = await ctx.h2(); const out = []; for (const h of headers) out.push(await h2request(s, h)); return out; } });
const levels = wins => ({ routeConfig: { name: 'r', ...(wins !== undefined && { most_specific_header_mutations_wins: wins }), request_headers_to_add: [set('x-a', 'table')], response_headers_to_add: [set('x-a', 'table')], virtual_hosts: [{ name: 'v', domains: ['*'], request_headers_to_add: [set('x-a', 'host')], response_headers_to_add: [set('x-a', 'host')],
  routes: [{ match: { path: '/both' }, route: { cluster: '$u' }, request_headers_to_add: [set('x-a', 'route')], response_headers_to_add: [set('x-a', 'route')] }, { match: { path: '/appended' }, route: { cluster: '$u' }, request_headers_to_add: [{ header: { key: 'x-a', value: 'route' } }], response_headers_to_remove: ['x-a'] }, { match: all, route: { cluster: '$u' } }] }] }, send: asks('/both', '/appended', ['/none', 'X-A: client\r\n']) });

export default suite('host-rewrites', [
  { name: 'host_rewrite_literal: with a port and in upper case', routes: to({ host_rewrite_literal: 'New.Test:8080' }), send: host('a.test', 'X-Forwarded-Host: before.test') },
  { name: 'host_rewrite_literal: over HTTP/2', routes: to({ host_rewrite_literal: 'new.test', append_x_forwarded_host: true }), ...overH2({}, { ':authority': 'b.test:81' }) },
  { name: 'host_rewrite_literal: hostile, hosts that must not stay', routes: to({ host_rewrite_literal: 'new.test' }), send: [...host('a.test', 'X-Host: a.test', 'Forwarded: host=a.test'), ...host('[::1]:80'), 'GET http://b.test/p HTTP/1.1\r\nHost: a.test\r\n\r\n', { res: 1 }] },

  { name: 'host_rewrite_header: the first value, or nothing to change', routes: to({ host_rewrite_header: 'X-To' }), send: [...host('a.test', 'X-To: new.test:81'), ...host('a.test', 'X-To: one.test', 'X-To: two.test'), ...host('a.test', 'X-To:'), ...host('a.test')] },
  { name: 'host_rewrite_header: over HTTP/2', routes: to({ host_rewrite_header: 'x-to', append_x_forwarded_host: true }), ...overH2({ 'x-to': 'new.test' }, {}) },
  { name: 'host_rewrite_header: with a header that the route adds', routes: to({ host_rewrite_header: 'x-to' }, { request_headers_to_add: [set('x-to', 'added.test')] }), send: [...host('a.test', 'X-To: sent.test'), ...host('a.test')] },
  { name: 'host_rewrite_header: hostile values', routes: to({ host_rewrite_header: 'x-to' }), send: [...host('a.test', 'X-To: a b'), ...host('a.test', 'X-To: user@evil.test'), ...host('a.test', `X-To: ${'h'.repeat(5000)}`), ...host('a.test', 'X-To: \xff')] },

  { name: 'host_rewrite_path_regex: of the path without its query', routes: to({ host_rewrite_path_regex: { pattern: { regex: '^/([^/]+)/.*$' }, substitution: '\\1.test' } }), send: asks('/b/x?q=/c/d', '/c/y', '/nothing') },
  { name: 'host_rewrite_path_regex: beside a rewritten path', routes: to({ prefix_rewrite: '/new/', host_rewrite_path_regex: { pattern: { regex: '^/([^/]+)/.*$' }, substitution: '\\1.test' }, append_x_forwarded_host: true }, {}, { prefix: '/b/' }), send: asks('/b/x?q') },
  { name: 'host_rewrite_path_regex: hostile, what comes out is empty or odd', routes: to({ host_rewrite_path_regex: { pattern: { regex: '^/(.*)$' }, substitution: '\\1' } }), send: asks('/', '/a/b', '/%0d%0ax', '/a@b', `/${'x'.repeat(3000)}`) },

  { name: 'auto_host_rewrite: the name of the chosen host', clusters: named('one.test'), routes: to({ auto_host_rewrite: true }), send: asks('/') },
  { name: 'auto_host_rewrite: a host without a name', routes: to({ auto_host_rewrite: true }), send: asks('/') },
  { name: 'auto_host_rewrite: with x-forwarded-host, and off', clusters: named('one.test'), routes: [...to({ auto_host_rewrite: true, append_x_forwarded_host: true }, {}, { path: '/on' }), ...to({ auto_host_rewrite: false }, {}, { path: '/off' })], send: asks('/on', ['/on', 'X-Forwarded-Host: before.test\r\n'], '/off') },
  { name: 'auto_host_rewrite: again with each retry', clusters: named('one.test'), upstreams: { u: replies(ok('bad', '', '503 X'), ok()) }, routes: to({ auto_host_rewrite: true, retry_policy: { retry_on: '5xx' } }), send: asks('/') },
  { name: 'auto_host_rewrite: hostile, a STRICT_DNS name is the host', clusters: { u: { type: 'STRICT_DNS', dns_lookup_family: 'V4_ONLY', load_assignment: { cluster_name: '$u', endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 'localhost', port_value: '${port:u}' } } } }] }] } } }, routes: to({ auto_host_rewrite: true }), client: async ctx => { await ctx.sleep(1500); const c = await ctx.connect(); c.write(req('/', 'X-Forwarded-Host: evil.test\r\n')); await c.response(); } },

  { name: 'most_specific_header_mutations_wins: true', ...levels(true) },
  { name: 'most_specific_header_mutations_wins: false', ...levels(false) },
  { name: 'most_specific_header_mutations_wins: hostile, not said and a client\'s own', ...levels(undefined) },

  { name: 'non_forwarding_action: to every method', routes: [{ match: all, non_forwarding_action: {} }], upstreams: {}, send: [req('/'), { res: 1 }, req('/', '', 'body'), { res: 1 }, 'HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n', { head: 1 }] },
  { name: 'non_forwarding_action: over HTTP/2 and to gRPC', routes: [{ match: all, non_forwarding_action: {} }], upstreams: {}, client: async ctx => { const s = await ctx.h2(); return [await h2request(s, {}), await h2request(s, { ':method': 'POST', 'content-type': 'application/grpc', te: 'trailers' }, { body: 'x' })]; } },
  { name: 'non_forwarding_action: hostile, a body that never ends', routes: [{ match: all, non_forwarding_action: {} }], upstreams: {}, send: ['POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nabc', { res: 1 }] },

  { name: 'direct_response: hostile, bodies where there must be none', routes: [204, 304].map(status => ({ match: { path: `/${status}` }, direct_response: { status, body: { inline_string: 'x' } } })), upstreams: {}, send: [req('/204'), 300, req('/304')], differs: { id: 'no-body-with-304', envoy: t => /\n  x(\n|HTTP)/.test(t), plenipo: t => t.includes('204 No Content') && t.includes('304 Not Modified') && !/\n  x(\n|HTTP)/.test(t) } },
  { name: 'te: named by connection', client: async ctx => { for (const v of ['trailers', 'gzip, trailers;q=1', 'TRAILERS', 'trailers ;q', 'gzip']) { const c = await ctx.connect(); c.write(req('/', `Connection: te\r\nTE: ${v}\r\n`)); await c.response(); } } },
  { name: 'te: trailers and what looks like it', client: async ctx => { for (const v of ['trailers', 'gzip, trailers', 'trailers;q=1', 'TRAILERS', ' trailers ', 'trailers,', 'x-trailers']) { const c = await ctx.connect(); c.write(req('/', `TE: ${v}\r\n`)); await c.response(); } } },

  { name: 'original-path: of a regex rewrite and of none', hcm: internal, routes: [{ match: { prefix: '/r' }, route: { cluster: '$u', regex_rewrite: { pattern: { regex: '^/r' }, substitution: '/new' } } }, ...to({})], send: asks('/r/x?q', '/other') },
  { name: 'original-path: hostile, a client\'s own at the edge', hcm: { use_remote_address: true }, routes: to({ prefix_rewrite: '/new' }), send: asks(['/x', 'X-Envoy-Original-Path: /forged\r\n']) },
]);
