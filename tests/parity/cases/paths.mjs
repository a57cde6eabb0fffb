// What is done to a request's path, host and header names before anything reads them.
import { suite, req } from '../lib/suite.mjs';
import { h2request } from '../lib/h2.mjs';

const W = { log: { log_format: { text_format_source: { inline_string: '%REQ(:METHOD)% %REQ(:PATH)% %REQ(:AUTHORITY)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n' } } } };
const S = { stats: [/downstream_rq_(redirected_with_normalized_path|failed_path_normalization)/] };
const U = { stats: [/^http[12]\..*underscores/] };
/** One connection a path, so that a refusal ends nothing but its own. */
const paths = (...list) => async ctx => { for (const p of list) { const c = await ctx.connect(); c.write(req(p)); await c.response({ ms: 2000 }); } };
const h2paths = (...list) => async ctx => { const out = []; for (const p of list) { const s = await ctx.h2(); out.push(await h2request(s, typeof p === 'string' ? { ':path': p } : p)); } return out; };
const hosts = (...list) => async ctx => { for (const h of list) { const c = await ctx.connect(); c.write(`GET / HTTP/1.1\r\nHost: ${h.replace('PORT', ctx.port('main'))}\r\n\r\n`); await c.response({ ms: 2000 }); } };
const vhosts = [{ name: 'v', domains: ['a.test', 'a.test:81'], routes: [{ match: { prefix: '/' }, route: { cluster: '$u' }, response_headers_to_add: [{ header: { key: 'x-vhost', value: 'named' } }] }] }, { name: 'rest', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: '$u' } }] }];
const n = { normalize_path: true };
const slashes = path_with_escaped_slashes_action => ({ path_with_escaped_slashes_action });
const under = headers_with_underscores_action => ({ common_http_protocol_options: { headers_with_underscores_action } });
const FORMS = ['/a/../b', '/a/./b/', '/../../a', '/a//b', '/a%2f..%2fb', '/a%2F%2e%2e%2Fb', '/%2e%2e/a', '/a/%2E./b', '/a\\b', '/a/..\\b', '/%61%7E%2D', '/a;p=1/../b', '/a?x=/../y', '/a/..?q', '/a/...', '/.', '/..', '/a%', '/a%zz', '/%c3%a4', '/a%20b', '/a%252f..%252fb', '/a%00b', '/a/%2e', '/a//../b', '/a/b/..', '/a/b/../'];

export default [suite('paths', [
  { name: 'normalize_path: forms', ...W, ...S, hcm: n, client: paths(...FORMS) },
  { name: 'normalize_path: off', ...W, client: paths('/a/../b', '//a', '/%2e%2e/a', '/a\\b', '/a%00b') },
  { name: 'normalize_path: over HTTP/2', ...W, ...S, hcm: n, client: h2paths('/a/../b', '/%2e%2E/a', '/a/./%2e', '/a%2F..%2Fb', '/a%00b', '/a?x/../y') },
  { name: 'normalize_path: OPTIONS *', ...W, hcm: n, client: async ctx => { const c = await ctx.connect(); c.write(req('*', '', '', 'OPTIONS')); await c.response({ ms: 2000 }); } },
  { name: 'normalize_path: absolute form', ...W, hcm: n, client: paths('http://a.test/a/../b', 'http://a.test', 'http://a.test/../x?y') },
  { name: 'normalize_path: hostile, dots with parameters', ...W, hcm: n, client: paths('/a/..;/b', '/a/..;x=1/b', '/a/.;x/b', '/a/..;', '/a/.;', '/..;/x', '/a/...;/b', '/a/..%3b/b', '/a/..;?q', '/a/..;/..;/b', '/a/;../b', '/a/b;/../c', '/a/b;..', '/a/..;..;/b', '/a/..\\;/b', '/a/..;a%2fb/c'), logLines: 16 },
  { name: 'normalize_path: hostile, encoded dots with parameters', ...W, hcm: n, client: paths('/a/%2e%2e;/b', '/a/.%2e;/b'), logLines: 2, differs: { id: 'encoded-dots', envoy: t => t.split('GET /a/..;/b HTTP/1.1').length === 3, plenipo: t => t.split('GET /b HTTP/1.1').length === 3 } },
  { name: 'merge_slashes: forms', ...W, hcm: { merge_slashes: true }, client: paths('//a', '/a//b///c', '/a//b?x=//y', '/a/%2f/b', '/a/../b//c', '///', '/a//', '//..//a') },
  { name: 'merge_slashes: with normalize_path', ...W, hcm: { ...n, merge_slashes: true }, client: paths('//a/..//b', '/a//../b', '/a/\\b', '///..///a', '/a%2f%2fb') },
  { name: 'merge_slashes: over HTTP/2', ...W, hcm: { ...n, merge_slashes: true }, client: h2paths('//a', '/a//../b', '/a?//') },
  { name: 'escaped slashes: KEEP_UNCHANGED', ...W, ...S, hcm: slashes('KEEP_UNCHANGED'), client: paths('/a%2fb', '/a%5Cb', '/a%252fb') },
  { name: 'escaped slashes: the default', ...W, hcm: slashes('IMPLEMENTATION_SPECIFIC_DEFAULT'), client: paths('/a%2fb', '/a%5Cb') },
  { name: 'escaped slashes: REJECT_REQUEST', ...W, ...S, hcm: slashes('REJECT_REQUEST'), client: paths('/a%2fb', '/a%2Fb', '/a%5cb', '/a%5Cb', '/a%252fb', '/a?x=%2f', '/a%2', '/ab') },
  { name: 'escaped slashes: UNESCAPE_AND_REDIRECT', ...W, ...S, hcm: slashes('UNESCAPE_AND_REDIRECT'), client: paths('/a%2fb', '/a%5Cb?x=%2f', '/a%252fb', '/ab') },
  { name: 'escaped slashes: UNESCAPE_AND_REDIRECT to another host', hcm: slashes('UNESCAPE_AND_REDIRECT'), client: paths('/%2f%2fevil.test/x', '/%5cevil.test'), differs: { id: 'redirect-to-a-host', envoy: t => t.includes('location: ///evil.test/x') && t.includes('location: /\\\\evil.test'), plenipo: t => t.split('HTTP/1.1 400 Bad Request').length === 3 && !t.includes('location') } },
  { name: 'escaped slashes: UNESCAPE_AND_REDIRECT with all', ...W, ...S, hcm: { ...n, merge_slashes: true, ...slashes('UNESCAPE_AND_REDIRECT') }, client: paths('/a%2f..%2fb', '/a%2f%2fb?q=1', '/a/../b', '/a//b', '/%2f%2fevil.test/x', '/%5c%5cevil.test', '/a%2F%2E%2E/%2F..') },
  { name: 'escaped slashes: UNESCAPE_AND_FORWARD', ...W, ...S, hcm: slashes('UNESCAPE_AND_FORWARD'), client: paths('/a%2fb', '/a%5Cb?x=%2f', '/a%252fb', '/%2f%2fb') },
  { name: 'escaped slashes: UNESCAPE_AND_FORWARD with all', ...W, hcm: { ...n, merge_slashes: true, ...slashes('UNESCAPE_AND_FORWARD') }, client: paths('/a%2f..%2fb', '/a%5c%5cb', '/a%252f..%252fb', '/secret%2f..%2f..%2fa', '/a%2f%2e%2e%2fb') },
  { name: 'escaped slashes: gRPC is not redirected', ...W, ...S, hcm: slashes('UNESCAPE_AND_REDIRECT'), client: h2paths({ ':method': 'POST', ':path': '/a%2fb', 'content-type': 'application/grpc' }, { ':method': 'POST', ':path': '/a%2fb' }, '/a%2fb') },
  { name: 'escaped slashes: rejected over HTTP/2', ...W, ...S, hcm: slashes('REJECT_REQUEST'), client: h2paths('/a%2fb', '/ab', { ':method': 'POST', ':path': '/a%5cb', 'content-type': 'application/grpc' }) },
  { name: 'escaped slashes: a route sees what is forwarded', ...W, hcm: { ...n, ...slashes('UNESCAPE_AND_FORWARD') }, routes: [{ match: { prefix: '/admin' }, direct_response: { status: 403 } }, { match: { prefix: '/' }, route: { cluster: '$u' } }], client: paths('/x/..%2fadmin', '/%61dmin', '/x%2f..%2fadmin/y', '/x/%2e%2e/admin', '/x\\..\\admin', '/admin%2f..') },
  { name: 'escaped slashes: two requests of one connection', ...W, hcm: slashes('UNESCAPE_AND_REDIRECT'), send: [req('/a%2fb'), { res: 1 }, req('/c')] },
  { name: 'fragment: in a path', ...W, ...S, client: paths('/a#b', '/a?b#c', '/#', '/a%23b') },

  { name: 'ports: kept', ...W, vhosts, client: hosts('a.test', 'a.test:81', 'a.test:82', 'A.TEST') },
  { name: 'ports: strip_any_host_port', ...W, hcm: { strip_any_host_port: true }, vhosts, client: hosts('a.test:80', 'a.test:', 'a.test:99999', 'a.test:0', '[::1]:80', '[::1]', 'a.test:080', 'a.test:65535', 'a.test.:80') },
  { name: 'ports: strip_matching_host_port', ...W, hcm: { strip_matching_host_port: true }, vhosts, client: hosts('a.test:PORT', 'a.test:81', 'a.test:0PORT'), view: portless, viewUpstream: saw => saw.map(w => ({ ...w, bytes: portless(w.bytes) })), viewLog: portless },
  { name: 'ports: strip_any_host_port over HTTP/2', ...W, hcm: { strip_any_host_port: true }, vhosts, client: h2paths({ ':authority': 'a.test:80' }, { ':authority': 'a.test:' }, { ':authority': '[::1]:443' }) },
  { name: 'ports: CONNECT keeps its port', ...W, hcm: { strip_any_host_port: true }, client: async ctx => { const c = await ctx.connect(); c.write('CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n'); await c.response({ ms: 2000 }); } },
  { name: 'dot: strip_trailing_host_dot', ...W, hcm: { strip_trailing_host_dot: true }, vhosts, client: hosts('a.test.', 'a.test..', 'a.test.:81', 'a.test:81.', '.', '1.2.3.4.') },
  { name: 'dot: with the port stripped', ...W, hcm: { strip_trailing_host_dot: true, strip_any_host_port: true }, vhosts, client: hosts('a.test.:81', 'a.test.', '.:80') },
  { name: 'dot: kept', ...W, vhosts, client: hosts('a.test.') },
  { name: 'dot: over HTTP/2', ...W, hcm: { strip_trailing_host_dot: true }, vhosts, client: h2paths({ ':authority': 'a.test.' }, { ':authority': 'a.test.:81' }) },
  { name: 'refused: both ways to strip ports', refused: 'strip_', hcm: { strip_any_host_port: true, strip_matching_host_port: true } },
]), suite('underscores', [
  { name: 'underscores: ALLOW', ...W, ...U, hcm: under('ALLOW'), client: async ctx => { const c = await ctx.connect(); c.write(req('/', 'a_b: 1\r\na-b: 2\r\n')); await c.response({ ms: 2000 }); } },
  { name: 'underscores: DROP_HEADER', ...W, ...U, hcm: under('DROP_HEADER'), client: async ctx => { const c = await ctx.connect(); c.write(req('/', 'a_b: 1\r\n_: 2\r\na-b: 2\r\nx_forwarded_for: 1.1.1.1\r\n')); await c.response({ ms: 2000 }); } },
  { name: 'underscores: DROP_HEADER and framing', ...W, ...U, hcm: under('DROP_HEADER'), client: async ctx => { const c = await ctx.connect(); c.write(req('/', 'content_length: 5\r\ntransfer_encoding: chunked\r\n')); await c.response({ ms: 2000 }); } },
  { name: 'underscores: REJECT_REQUEST', ...W, ...U, hcm: under('REJECT_REQUEST'), client: async ctx => { for (const h of ['a_b: 1', 'a-b: 1_2', 'X_: 1']) { const c = await ctx.connect(); c.write(req('/', `${h}\r\n`)); await c.response({ ms: 2000 }); } } },
  { name: 'underscores: DROP_HEADER over HTTP/2', ...W, ...U, hcm: under('DROP_HEADER'), client: h2paths({ 'a_b': '1', 'a-b': '2', 'c_': '3' }) },
  { name: 'underscores: REJECT_REQUEST over HTTP/2', ...W, ...U, hcm: under('REJECT_REQUEST'), client: h2paths({ 'a_b': '1' }, { 'a-b': '1_2' }) },
], { alone: true })];

function portless(text) { return text.replace(/:0?\d{5}/g, ':<port>'); }
