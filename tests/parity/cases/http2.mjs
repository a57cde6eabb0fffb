// HTTP/2 on both sides, gRPC with trailers, and hostile frames.
import { suite, req, h2, h2upstream, toU } from '../lib/suite.mjs';
import { replies, ok, sleep, RawUpstream } from '../lib/raw.mjs';
import { h2request, h2answer, h2ok } from '../lib/h2.mjs';
import * as F from '../lib/h2frames.mjs';
import { h2says } from '../lib/differ.mjs';

const all = { prefix: '/' };
const U2 = { clusters: { u: h2upstream() } };
const h2c = (...requests) => async ctx => { const s = await ctx.h2(); const out = []; for (const [headers, opts] of requests) out.push(await h2request(s, headers, opts)); return out; };
const grpcMessage = text => { const b = Buffer.alloc(5 + text.length); b.writeUInt32BE(text.length, 1); b.write(text, 5, 'latin1'); return b; };
const GRPC = { ':method': 'POST', ':path': '/s.S/M', 'content-type': 'application/grpc', te: 'trailers' };
const H = { log: { log_format: { text_format_source: { inline_string: '%PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n' } } } };
const big = 1 << 20;

/** Sends raw frames after the preface and describes what came back. */
const frames = (...list) => ({ view: t => F.describe(t).join('\r\n'), client: async ctx => {
  const c = await ctx.connect();
  c.write(Buffer.concat([Buffer.from(F.PREFACE), F.settings(), ...list.filter(x => Buffer.isBuffer(x))]));
  for (const x of list) if (typeof x === 'function') await x(c, ctx);
} });
const bad = (name, headers, ours) => ({ name: `bad head: ${name}`, ...frames(F.headers(1, headers)), ...H, ...(ours && h2says(...[ours].flat())) });
const RESET = 'RST_STREAM 1 PROTOCOL_ERROR';
// Refused by our own checks, behind the library's.
const REFUSED = [RESET, 'HEADERS 1 END_STREAM\\n  :status: 400'];
const GONE = 'GOAWAY last=0 PROTOCOL_ERROR';
const rawUp = script => ({ make: () => new RawUpstream(script) });
/** A raw HTTP/2 upstream that sends `bytes` once the first HEADERS frame is there. */
const answerFrames = (...bytes) => rawUp(async wire => {
  wire.write(F.settings([]));
  await wire.until(() => wire.text.length > 24 && F.describe(wire.text).some(l => l.includes('END_STREAM')));
  wire.write(F.frame(F.TYPE.SETTINGS, 1, 0));
  wire.write(Buffer.concat(bytes));
});
const seeFrames = { viewUpstream: saw => saw.map(w => ({ ...w, bytes: F.describe(w.bytes).join('\r\n') })) };

export default [suite('http2', [
  // downstream
  { name: 'h2 downstream: GET with prior knowledge', client: h2c([{}]), log: {}, viewLog: t => t.replace(/\d+ \d+ "-"/, 'N N "-"') },
  { name: 'h2 downstream: POST with content-length', client: h2c([{ ':method': 'POST', 'content-length': '4' }, { body: 'body' }]) },
  { name: 'h2 downstream: POST without content-length is chunked upstream', client: h2c([{ ':method': 'POST' }, { body: 'body' }]) },
  { name: 'h2 downstream: HEAD', upstreams: { u: replies('HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n') }, client: h2c([{ ':method': 'HEAD' }]) },
  { name: 'h2 downstream: 204 and 304', upstreams: { u: replies('HTTP/1.1 204 No Content\r\n\r\n', 'HTTP/1.1 304 Not Modified\r\netag: "x"\r\n\r\n') }, client: h2c([{}], [{}]) },
  { name: 'h2 downstream: several requests one after another', client: h2c([{ ':path': '/1' }], [{ ':path': '/2' }], [{ ':path': '/3' }]) },
  { name: 'h2 downstream: concurrent streams', upstreams: { u: replies([200, ok()]) }, client: async ctx => { const s = await ctx.h2(); return Promise.all([1, 2, 3, 4].map(i => h2request(s, { ':path': `/${i}` }))); }, viewUpstream: saw => ({ sessions: saw.length, requests: [] }) },
  { name: 'h2 downstream: cookies are joined for HTTP/1', client: h2c([{ cookie: ['a=1', 'b=2'], 'x-a': ['1', '2'] }]) },
  { name: 'h2 downstream: answer without a body', upstreams: { u: replies('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n') }, client: h2c([{}]) },
  { name: 'h2 downstream: hop-by-hop headers of the upstream are dropped', upstreams: { u: replies(ok('ok', 'connection: keep-alive, x-a\r\nkeep-alive: 5\r\nx-a: 1\r\nproxy-connection: x\r\nupgrade: y\r\n')) }, client: h2c([{}]) },
  { name: 'h2 downstream: chunked answer', upstreams: { u: replies('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n') }, client: h2c([{}]) },
  { name: 'h2 downstream: 1 MiB both ways', upstreams: { u: replies(ok('z'.repeat(big))) }, client: async ctx => { const s = await ctx.h2(); const r = await h2request(s, { ':method': 'POST' }, { body: 'y'.repeat(big) }); return { status: r.headers?.find(h => h[0] === ':status')?.[1], down: r.body.length, up: ctx.upstreams.u.wires[0].text.split('y').length - 1 }; }, viewUpstream: () => [] },
  { name: 'h2 downstream: local replies', routes: [{ match: { path: '/d' }, direct_response: { status: 418, body: { inline_string: 'tea' } } }, { match: { path: '/r' }, redirect: { path_redirect: '/n' } }, { match: { path: '/dead' }, route: { cluster: '$dead' } }], upstreams: { dead: 'refuse' }, client: h2c([{ ':path': '/d' }], [{ ':path': '/r' }], [{ ':path': '/dead' }], [{ ':path': '/none' }], [{ ':path': '/d', ':method': 'HEAD' }]) },
  { name: 'h2 downstream: early answer resets the request body', upstreams: { u: async wire => { await wire.head(); await sleep(300); wire.write(ok('early')); } }, client: h2c([{ ':method': 'POST' }, { body: 'part', hold: true, ms: 2500 }]) },
  { name: 'h2 downstream: upstream closes in the middle of the body', upstreams: { u: replies(['HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc', 100, { end: true }]) }, client: h2c([{}]) },
  { name: 'h2 downstream: client resets while the upstream thinks', upstreams: { u: replies([1500, ok()]) }, client: async ctx => { const s = await ctx.h2(); const p = h2request(s, {}, { ms: 400 }); return p; }, ...H },
  { name: 'h2 downstream: 100-continue', client: h2c([{ ':method': 'POST', expect: '100-continue' }, { body: 'body' }]) },
  { name: 'h2 downstream: request trailers', client: h2c([{ ':method': 'POST' }, { body: 'body', trailers: { 'x-t': '1' } }]) },
  { name: 'h2 downstream: max_concurrent_streams is announced', hcm: { http2_protocol_options: { max_concurrent_streams: 7 } }, client: async ctx => { const s = await ctx.h2(); await h2request(s, {}); return { max: s.remoteSettings.maxConcurrentStreams, push: s.remoteSettings.enablePush }; } },
  { name: 'h2 downstream: the default settings', client: async ctx => { const s = await ctx.h2(); await h2request(s, {}); return { max: s.remoteSettings.maxConcurrentStreams, window: s.remoteSettings.initialWindowSize, frame: s.remoteSettings.maxFrameSize, connect: s.remoteSettings.enableConnectProtocol, list: s.remoteSettings.maxHeaderListSize > 60000 && s.remoteSettings.maxHeaderListSize }; }, differs: { id: 'h2-max-header-list-size', envoy: t => t.includes('"list": 4294967295'), plenipo: t => t.includes('"list": 61440') && t.includes('"max": 1024') && t.includes('"window": 16777216') && t.includes('"frame": 16384') } },
  { name: 'h2 downstream: codec_type HTTP2', hcm: { codec_type: 'HTTP2' }, client: h2c([{}]) },
  { name: 'h2 downstream: codec_type HTTP1 given h2', hcm: { codec_type: 'HTTP1' }, ...frames(F.headers(1, F.get())), view: t => t },
  { name: 'h2 downstream: request timeout', routes: [{ match: all, route: { cluster: '$u', timeout: '0.3s' } }], upstreams: { u: replies([2000, ok()]) }, client: h2c([{}]), ...H },
  { name: 'h2 downstream: headers at the edge', hcm: { use_remote_address: true, via: 'p' }, client: h2c([{ 'x-forwarded-for': '1.2.3.4', 'x-envoy-max-retries': '3', 'x-forwarded-proto': 'https' }]) },

  // h2c and upgrade
  { name: 'h2c: Upgrade: h2c is not switched', send: [req('/', 'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n')] },
  { name: 'h2c: the preface in pieces', view: t => F.describe(t).join('\r\n'), client: async ctx => { const c = await ctx.connect(); for (const ch of F.PREFACE) { c.write(ch); await ctx.sleep(3); } c.write(Buffer.concat([F.settings(), F.headers(1, F.get())])); }, differs: { id: 'h2-preface', envoy: t => t.includes('HTTP/1.1 400 Bad Request'), plenipo: t => t.includes(':status: 200') } },
  { name: 'h2c: a broken preface', view: t => F.describe(t).join('\r\n'), send: ['PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n'], differs: { id: 'h2-preface', envoy: t => t.startsWith('client 1 (closed):\n  (nothing)'), plenipo: t => t.startsWith('client 1 (closed):\n  HTTP/1.1 400 Bad Request') } },

  // upstream
  { name: 'h2 upstream: GET from HTTP/1', ...U2, upstreams: { u: h2() }, send: [req('/', 'X-A: 1\r\nX-A: 2\r\nCookie: a=1; b=2\r\nConnection: x-b\r\nX-B: 1\r\nTE: trailers\r\n')] },
  { name: 'h2 upstream: POST with content-length', ...U2, upstreams: { u: h2() }, send: [req('/', '', 'body')] },
  { name: 'h2 upstream: chunked POST', ...U2, upstreams: { u: h2() }, send: ['POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n'] },
  { name: 'h2 upstream: answer with content-length', ...U2, upstreams: { u: h2(h2ok({ headers: { 'content-length': '2', 'set-cookie': ['a=1', 'b=2'], 'x-a': '1' } })) }, send: [req('/')] },
  { name: 'h2 upstream: HEAD and 204', ...U2, upstreams: { u: h2(async (stream, r) => { stream.respond(r.headers.some(h => h[1] === 'HEAD') ? { ':status': 200, 'content-length': '5' } : { ':status': 204 }, { endStream: true, sendDate: false }); }) }, send: ['HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n', { head: 1 }, req('/')] },
  { name: 'h2 upstream: two requests share a connection', ...U2, upstreams: { u: h2() }, send: [req('/1'), { res: 1 }, req('/2'), { res: 1 }] },
  { name: 'h2 upstream: h2 on both sides', ...U2, upstreams: { u: h2() }, client: h2c([{ 'x-a': '1', cookie: ['a=1', 'b=2'] }], [{ ':method': 'POST' }, { body: 'body' }]) },
  { name: 'h2 upstream: trailers of the answer to HTTP/1 are dropped', ...U2, upstreams: { u: h2(h2ok({ trailers: { 'x-t': '1' } })) }, send: [req('/')] },
  { name: 'h2 upstream: stream reset before headers', ...U2, upstreams: { u: h2(async stream => stream.close(2)) }, send: [req('/')], ...H },
  { name: 'h2 upstream: stream reset after headers', ...U2, upstreams: { u: answerFrames(F.headers(1, [[':status', '200']], { end: false }), F.data(1, 'abc', false), F.rst(1, 2)) }, send: [req('/')], ...H, ...seeFrames },
  { name: 'h2 upstream: refused stream', ...U2, upstreams: { u: h2(async stream => stream.close(7)) }, send: [req('/')], ...H },
  { name: 'h2 upstream: GOAWAY, then a new connection', ...U2, upstreams: { u: h2(async (stream, r, up) => { await h2ok()(stream, r); if (up.requests.length === 1) stream.session.goaway(0); }) }, send: [req('/1'), { res: 1 }, 300, req('/2'), { res: 1 }] },
  { name: 'h2 upstream: speaks HTTP/1 instead', ...U2, upstreams: { u: replies(ok()) }, send: [req('/')], ...H, viewUpstream: () => [] },
  { name: 'h2 upstream: refused connection', ...U2, upstreams: { u: 'refuse' }, send: [req('/')], ...H },
  { name: 'h2 upstream: early answer', ...U2, upstreams: { u: h2(async stream => { await sleep(300); h2answer(stream, { body: 'early' }); }) }, send: ['POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nabc', { res: 1 }] },
  { name: 'h2 upstream: 100 and 103 from it', ...U2, upstreams: { u: h2(async (stream, r) => { stream.additionalHeaders({ ':status': 103, link: '</x>' }); await h2ok()(stream, r); }) }, send: [req('/')] },
  { name: 'h2 upstream: 1 MiB down', ...U2, upstreams: { u: h2(h2ok({ body: 'z'.repeat(big) })) }, client: async ctx => { const c = await ctx.connect('main', { hidden: true }); c.write(req('/')); const t = await c.response(); return { z: t.split('z').length - 1 }; } },
  { name: 'h2 upstream: the initial frames', ...U2, upstreams: { u: answerFrames(F.headers(1, [[':status', '204']])) }, send: [req('/')], ...seeFrames },
  { name: 'h2 upstream answer: no :status', ...U2, upstreams: { u: answerFrames(F.headers(1, [['x-a', '1']])) }, send: [req('/')], ...H, ...seeFrames, differs: { id: 'h2-says-why', envoy: t => t.includes('502 Bad Gateway') && t.includes('upstream u connection 1 (closed)') && !t.includes('PROTOCOL_ERROR'), plenipo: t => t.includes('502 Bad Gateway') && t.includes('upstream u connection 1 (open)') } },
  { name: 'h2 upstream answer: upper-case name', ...U2, upstreams: { u: answerFrames(F.headers(1, [[':status', '200'], ['X-A', '1']])) }, send: [req('/')], ...H, ...seeFrames, differs: { id: 'h2-says-why', envoy: t => t.includes('502 Bad Gateway') && t.includes('upstream u connection 1 (closed)') && !t.includes('PROTOCOL_ERROR'), plenipo: t => t.includes('502 Bad Gateway') && t.includes('GOAWAY last=0 PROTOCOL_ERROR') } },
  { name: 'h2 upstream answer: CRLF in a value', ...U2, upstreams: { u: answerFrames(F.headers(1, [[':status', '200'], ['x-a', '1\r\nset-cookie: evil=1']])) }, send: [req('/')], ...H, ...seeFrames, differs: { id: 'h2-says-why', envoy: t => t.includes('502 Bad Gateway') && t.includes('upstream u connection 1 (closed)') && !t.includes('PROTOCOL_ERROR'), plenipo: t => t.includes('502 Bad Gateway') && t.includes('GOAWAY last=0 PROTOCOL_ERROR') } },
  { name: 'h2 upstream answer: connection and transfer-encoding headers', ...U2, upstreams: { u: answerFrames(F.headers(1, [[':status', '200'], ['connection', 'close'], ['transfer-encoding', 'chunked']], { end: false }), F.data(1, 'abc')) }, send: [req('/')], ...H, ...seeFrames, differs: { id: 'h2-says-why', envoy: t => t.includes('502 Bad Gateway') && t.includes('upstream u connection 1 (closed)') && !t.includes('PROTOCOL_ERROR'), plenipo: t => t.includes('502 Bad Gateway') && t.includes('RST_STREAM 1 PROTOCOL_ERROR') } },
  { name: 'h2 upstream answer: body longer than content-length', ...U2, upstreams: { u: answerFrames(F.headers(1, [[':status', '200'], ['content-length', '2']], { end: false }), F.data(1, 'abcdef')) }, send: [req('/')], ...H, ...seeFrames },
  { name: 'h2 upstream answer: body shorter than content-length', ...U2, upstreams: { u: answerFrames(F.headers(1, [[':status', '200'], ['content-length', '5']], { end: false }), F.data(1, 'ab')) }, send: [req('/')], ...H, ...seeFrames },
  { name: 'h2 upstream answer: garbage frame', ...U2, upstreams: { u: answerFrames(Buffer.from('not a frame at all, really not')) }, send: [req('/')], ...H, ...seeFrames },

  // hostile requests
  bad('upper-case name', F.get('/', [['X-A', '1']]), GONE),
  bad('connection header', F.get('/', [['connection', 'close']]), RESET),
  bad('connection: keep-alive', F.get('/', [['connection', 'keep-alive']]), RESET),
  bad('transfer-encoding header', F.get('/', [['transfer-encoding', 'chunked']]), RESET),
  bad('upgrade header', F.get('/', [['upgrade', 'websocket']]), RESET),
  bad('keep-alive header', F.get('/', [['keep-alive', '5']]), RESET),
  bad('proxy-connection header', F.get('/', [['proxy-connection', 'x']]), RESET),
  bad('te other than trailers', F.get('/', [['te', 'gzip']]), RESET),
  bad('te trailers', F.get('/', [['te', 'trailers']])),
  bad('CRLF in a value', F.get('/', [['x-a', '1\r\nHost: evil']]), GONE),
  bad('LF in a value', F.get('/', [['x-a', '1\nx: y']]), GONE),
  bad('NUL in a value', F.get('/', [['x-a', '1\x002']]), GONE),
  bad('spaces around a value', F.get('/', [['x-a', ' 1 ']])),
  bad('colon in a name', F.get('/', [['x:a', '1']]), GONE),
  bad('space in a name', F.get('/', [['x a', '1']]), GONE),
  bad('CRLF in a name', F.get('/', [['x\r\nhost', '1']]), GONE),
  bad('empty name', F.get('/', [['', '1']]), GONE),
  bad('high bytes in a value', F.get('/', [['x-a', '\xe9\xff']])),
  bad('CRLF in the path', F.get('/x HTTP/1.1\r\nHost: evil\r\n\r\n'), RESET),
  bad('space in the path', F.get('/a b'), RESET),
  bad('empty path', F.get(''), RESET),
  bad('relative path', F.get('foo'), RESET),
  { ...bad('fragment in the path', F.get('/a#b')), differs: { id: 'h2-fragment', envoy: t => t.includes(':status: 400'), plenipo: t => t.includes(':status: 200') && t.includes('GET /a HTTP/1.1') } },
  { ...bad('high bytes in the path', F.get('/\xe9')), differs: { id: 'h2-path-bytes', envoy: t => t.includes(':status: 200'), plenipo: t => t.startsWith(`client 1 (closed):\n  ${GONE}`) && t.includes('upstream u: no connection') } },
  bad('path *', F.get('*'), 'HEADERS 1 END_STREAM\\n  :status: 404'),
  bad('absolute path', F.get('http://b.test/x'), RESET),
  bad('no :path', [[':method', 'GET'], [':scheme', 'http'], [':authority', 'a.test']], RESET),
  bad('no :method', [[':path', '/'], [':scheme', 'http'], [':authority', 'a.test']], RESET),
  bad('no :scheme', [[':method', 'GET'], [':path', '/'], [':authority', 'a.test']], RESET),
  bad('no :authority and no host', [[':method', 'GET'], [':path', '/'], [':scheme', 'http']], REFUSED),
  bad('host instead of :authority', [[':method', 'GET'], [':path', '/'], [':scheme', 'http'], ['host', 'b.test']]),
  bad('host beside :authority', F.get('/', [['host', 'evil.test']])),
  bad('bad host beside :authority', F.get('/', [['host', '/x?y']]), REFUSED),
  bad('empty scheme', [[':method', 'GET'], [':scheme', ''], [':authority', 'a.test'], [':path', '/']], REFUSED),
  bad('headers that are joined come twice', F.get('/', [['x-forwarded-proto', 'https'], ['x-request-id', 'a'], ['x-a', '1'], ['x-forwarded-proto', 'http'], ['x-request-id', 'b'], ['x-a', '2'], ['user-agent', 'u'], ['user-agent', 'v']])),
  bad('empty cookie', F.get('/', [['cookie', ''], ['x-a', '1']])),
  bad('two :path', F.get('/', [[':path', '/evil']]), RESET),
  bad('pseudo-header after a header', [[':method', 'GET'], [':scheme', 'http'], ['x-a', '1'], [':authority', 'a.test'], [':path', '/']], RESET),
  bad('unknown pseudo-header', [...F.get().slice(0, 4), [':evil', '1']], GONE),
  bad(':status in a request', [[':status', '200'], ...F.get()], RESET),
  bad('method with a space', F.get('/', [], 'GET /evil HTTP/1.1\r\nx: '), GONE),
  bad('unknown method', F.get('/', [], 'FOO')),
  bad('lower-case method', F.get('/', [], 'get')),
  bad('authority with bad characters', [[':method', 'GET'], [':scheme', 'http'], [':authority', 'a b'], [':path', '/']], RESET),
  bad('authority with user info', [[':method', 'GET'], [':scheme', 'http'], [':authority', 'u@a.test'], [':path', '/']], REFUSED),
  bad('scheme https in clear text', [[':method', 'GET'], [':scheme', 'https'], [':authority', 'a.test'], [':path', '/']]),
  bad('scheme with odd characters', [[':method', 'GET'], [':scheme', 'ht tp'], [':authority', 'a.test'], [':path', '/']], RESET),
  bad('content-length twice different', F.get('/', [['content-length', '0'], ['content-length', '1']]), RESET),
  bad('content-length without a body', F.get('/', [['content-length', '5']]), RESET),
  bad('content-length not a number', F.get('/', [['content-length', 'abc']]), RESET),
  { ...bad('101 headers', F.get('/', Array.from({ length: 101 }, (_, i) => [`x-${i}`, '1']))), differs: { id: 'h2-too-large', envoy: t => t.includes('RST_STREAM 1 INTERNAL_ERROR'), plenipo: t => t.includes(':status: 431') && t.includes('upstream u: no connection') } },
  bad('CONNECT', [[':method', 'CONNECT'], [':authority', 'a.test:80']]),
  bad('extended CONNECT', [[':method', 'CONNECT'], [':protocol', 'websocket'], [':scheme', 'http'], [':authority', 'a.test'], [':path', '/']], RESET),
  bad('underscore in a name', F.get('/', [['x_a', '1']])),
  { name: 'bad body: longer than content-length', ...frames(F.headers(1, F.get('/', [['content-length', '2']], 'POST'), { end: false }), F.data(1, 'abcdef')), ...H },
  { name: 'bad body: shorter than content-length', ...frames(F.headers(1, F.get('/', [['content-length', '5']], 'POST'), { end: false }), F.data(1, 'ab')), ...H },
  { name: 'bad body: chunk-like data stays data', ...frames(F.headers(1, F.get('/', [], 'POST'), { end: false }), F.data(1, '0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n')) },
  { name: 'bad frame: DATA before HEADERS', ...frames(F.data(1, 'x')) },
  { name: 'bad frame: DATA on stream 0', ...frames(F.data(0, 'x')) },
  { name: 'bad frame: HEADERS on an even stream', ...frames(F.headers(2, F.get())), ...h2says(GONE) },
  { name: 'bad frame: stream number goes down', ...frames(F.headers(5, F.get('/5')), F.headers(3, F.get('/3'))), differs: { id: 'h2-stream-ids', envoy: t => t.startsWith('client 1 (open)') && t.includes(':status: 200') && !t.includes('/3'), plenipo: t => t.startsWith('client 1 (closed):\n  GOAWAY last=5 PROTOCOL_ERROR') } },
  { name: 'bad frame: oversized frame', ...frames(F.frame(0, 0, 1, Buffer.alloc(20000))) },
  { name: 'bad frame: SETTINGS of a bad length', ...frames(F.frame(4, 0, 0, Buffer.alloc(5))), differs: { id: 'h2-error-codes', envoy: t => t.includes('GOAWAY last=0 FRAME_SIZE_ERROR'), plenipo: t => t.startsWith(`client 1 (closed):\n  ${GONE}`) } },
  { name: 'bad frame: PING on a stream', ...frames(F.frame(6, 0, 1, Buffer.alloc(8))), ...h2says(GONE) },
  { name: 'bad frame: WINDOW_UPDATE of 0', ...frames(F.headers(1, F.get('/', [], 'POST'), { end: false }), F.frame(8, 0, 1, Buffer.alloc(4))), ...h2says('GOAWAY last=1 PROTOCOL_ERROR') },
  { name: 'bad frame: CONTINUATION without HEADERS', ...frames(F.frame(9, 4, 1, F.encode(F.get()))) },
  { name: 'bad frame: PUSH_PROMISE from a client', ...frames(F.frame(5, 4, 1, Buffer.concat([Buffer.from([0, 0, 0, 2]), F.encode(F.get())]))), ...h2says(GONE) },
  { name: 'bad frame: broken HPACK', ...frames(F.frame(1, 5, 1, Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]))), differs: { id: 'h2-error-codes', envoy: t => t.includes('GOAWAY last=1 COMPRESSION_ERROR'), plenipo: t => t.startsWith(`client 1 (closed):\n  ${GONE}`) } },
  { name: 'bad frame: unknown type is ignored', ...frames(F.frame(99, 0, 0, 'whatever'), F.headers(1, F.get())) },
  { name: 'bad frame: header block over 60 KiB', ...frames(F.frame(1, 1, 1, F.encode(F.get('/', [['x-a', 'a'.repeat(16000)]]))), ...Array.from({ length: 5 }, (_, i) => F.frame(9, i === 4 ? 4 : 0, 1, F.encode([[`x-${i}`, 'b'.repeat(16000)]])))), differs: { id: 'h2-too-large', envoy: t => t.includes('RST_STREAM 1 INTERNAL_ERROR'), plenipo: t => t.includes(':status: 431') && t.includes('upstream u: no connection') } },
  { name: 'bad frame: CONTINUATION flood', ...frames(F.frame(1, 1, 1, F.encode(F.get())), ...Array.from({ length: 2000 }, () => F.frame(9, 0, 1, Buffer.alloc(0)))) },
  { name: 'bad frame: PING flood', view: t => F.describe(t).join('\r\n'), client: async ctx => { const c = await ctx.connect(); c.write(Buffer.concat([Buffer.from(F.PREFACE), F.settings()])); c.socket.pause(); for (let i = 0; i < 5; i++) c.write(Buffer.concat(Array.from({ length: 2000 }, () => F.frame(6, 0, 0, Buffer.alloc(8))))); await ctx.sleep(500); c.socket.resume(); } },
  { name: 'bad frame: SETTINGS flood', view: t => F.describe(t).join('\r\n'), client: async ctx => { const c = await ctx.connect(); c.write(Buffer.concat([Buffer.from(F.PREFACE), F.settings()])); for (let i = 0; i < 5; i++) c.write(Buffer.concat(Array.from({ length: 2000 }, () => F.settings([])))); await ctx.sleep(500); } },
  { name: 'bad frame: rapid reset', client: async ctx => { const c = await ctx.connect('main', { hidden: true }); c.write(Buffer.concat([Buffer.from(F.PREFACE), F.settings()])); for (let i = 0; i < 2000 && c.state === 'open'; i++) { c.write(Buffer.concat([F.headers(1 + 2 * i, F.get()), F.rst(1 + 2 * i)])); if (i % 100 === 0) await ctx.sleep(5); } await c.settle(1500); return { closed: c.state !== 'open' }; }, viewUpstream: () => [] },
]), suite('grpc', [
  { name: 'gRPC: unary with trailers, h2 to h2', ...U2, upstreams: { u: h2(h2ok({ headers: { 'content-type': 'application/grpc' }, body: grpcMessage('pong'), trailers: { 'grpc-status': '0', 'grpc-message': 'fine' } })) }, client: h2c([GRPC, { body: grpcMessage('ping') }]), ...H },
  { name: 'gRPC: trailers-only answer', ...U2, upstreams: { u: h2(h2ok({ headers: { 'content-type': 'application/grpc', 'grpc-status': '5', 'grpc-message': 'nope' }, body: null })) }, client: h2c([GRPC, { body: grpcMessage('ping') }]), ...H },
  { name: 'gRPC: request trailers reach the upstream', ...U2, upstreams: { u: h2(h2ok({ trailers: { 'grpc-status': '0' } })) }, client: h2c([GRPC, { body: grpcMessage('ping'), trailers: { 'x-client-trailer': 'yes' } }]) },
  { name: 'gRPC: server streaming in pieces', ...U2, upstreams: { u: h2(async stream => { stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true, sendDate: false }); stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' })); for (let i = 0; i < 3; i++) { stream.write(grpcMessage(`m${i}`)); await new Promise(r => setTimeout(r, 50)); } stream.end(); }) }, client: h2c([GRPC, { body: grpcMessage('ping') }]) },
  { name: 'gRPC: bidirectional, the answer begins before the request ends', ...U2, upstreams: { u: h2(async stream => { stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true, sendDate: false }); stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' })); stream.on('data', d => stream.write(d)); stream.on('end', () => stream.end()); }) },
    client: async ctx => { const s = await ctx.h2(); const st = s.request({ ':authority': 'a.test', ...GRPC }); const out = []; let t; st.on('trailers', h => { t = h['grpc-status']; }); st.on('data', d => out.push(d.toString('latin1'))); st.write(grpcMessage('1')); await Promise.race([new Promise(r => st.once('data', r)), ctx.sleep(8000)]); const first = out.join(''); st.end(grpcMessage('2')); await new Promise(r => st.once('close', r)); return { first, all: out.join(''), status: t }; } },
  { name: 'gRPC: upstream resets in the middle', ...U2, upstreams: { u: answerFrames(F.headers(1, [[':status', '200'], ['content-type', 'application/grpc']], { end: false }), F.data(1, grpcMessage('m'), false), F.rst(1, 2)) }, client: h2c([GRPC, { body: grpcMessage('ping') }]), ...H, ...seeFrames },
  { name: 'gRPC: upstream resets before the answer', ...U2, upstreams: { u: h2(async stream => { await sleep(300); stream.close(2); }) }, client: h2c([GRPC, { body: grpcMessage('ping') }]), ...H },
  { name: 'gRPC: client cancels', ...U2, upstreams: { u: h2(async () => {}) }, client: h2c([GRPC, { body: grpcMessage('ping'), ms: 400 }]), ...H },
  { name: 'gRPC: no route', routes: [], client: h2c([GRPC, { body: grpcMessage('ping') }]), ...H },
  { name: 'gRPC: no healthy upstream', clusters: { u: { ...h2upstream(), endpoints: [] } }, client: h2c([GRPC, { body: grpcMessage('ping') }]), ...H },
  { name: 'gRPC: connect failure', ...U2, upstreams: { u: 'refuse' }, client: h2c([GRPC, { body: grpcMessage('ping') }]), ...H },
  { name: 'gRPC: timeout', ...U2, routes: [{ match: all, route: { cluster: '$u', timeout: '0.3s' } }], upstreams: { u: h2(async () => {}) }, client: h2c([GRPC, { body: grpcMessage('ping') }]), ...H },
  { name: 'gRPC: grpc-timeout with max_stream_duration', ...U2, routes: [{ match: all, route: { cluster: '$u', timeout: '0s', max_stream_duration: { grpc_timeout_header_max: '10s' } } }], upstreams: { u: h2(async () => {}) }, client: h2c([{ ...GRPC, 'grpc-timeout': '300m' }, { body: grpcMessage('ping') }]), ...H },
  { name: 'gRPC: local reply statuses by direct_response', routes: [400, 401, 403, 404, 429, 500, 502, 503, 504, 200, 418].map(status => ({ match: { path: `/${status}` }, direct_response: { status, body: { inline_string: `s ${status} %é\n` } } })), upstreams: {}, client: h2c(...[400, 401, 403, 404, 429, 500, 502, 503, 504, 200, 418].map(s => [{ ...GRPC, ':path': `/${s}` }])) },
  { name: 'gRPC: content-type variants', routes: [{ match: all, direct_response: { status: 503 } }], upstreams: {}, client: h2c(...['application/grpc+proto', 'application/grpc-web', 'application/grpcx', 'APPLICATION/GRPC', 'application/grpc;x=1'].map(t => [{ ...GRPC, 'content-type': t }])) },
  { name: 'gRPC: over HTTP/1 upstream with chunked trailers', clusters: { u: { typed_extension_protocol_options: { 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': { '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions', explicit_http_config: { http_protocol_options: { enable_trailers: true } } } } } }, upstreams: { u: replies('HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\ngrpc-status: 0\r\n\r\n') }, client: h2c([GRPC, { body: grpcMessage('ping') }]) },
  { name: 'gRPC: hostile trailer names', ...U2, upstreams: { u: answerFrames(F.headers(1, [[':status', '200'], ['content-type', 'application/grpc']], { end: false }), F.data(1, 'x', false), F.headers(1, [['grpc-status', '0'], ['X-Upper', '1']])) }, client: h2c([GRPC, { body: grpcMessage('ping') }]), ...seeFrames, differs: { id: 'h2-says-why', envoy: t => t.includes('"rst":2') && !t.includes('GOAWAY'), plenipo: t => t.includes('"rst":2') && t.includes('GOAWAY last=0 PROTOCOL_ERROR') } },
  { name: 'gRPC: pseudo-header in trailers', ...U2, upstreams: { u: answerFrames(F.headers(1, [[':status', '200']], { end: false }), F.data(1, 'x', false), F.headers(1, [[':status', '500']])) }, client: h2c([GRPC, { body: grpcMessage('ping') }]), ...seeFrames,
    differs: { id: 'h2-says-why', envoy: t => t.includes('upstream u connection 1 (closed)') && t.includes('"rst":2'), plenipo: t => t.includes('upstream u connection 1 (open)') && t.includes('"rst":2') && !t.includes('trailer :status') } },
  { name: 'gRPC: DATA after trailers', ...U2, upstreams: { u: answerFrames(F.headers(1, [[':status', '200']], { end: false }), F.headers(1, [['grpc-status', '0']]), F.data(1, 'late')) }, client: h2c([GRPC, { body: grpcMessage('ping') }]), ...seeFrames, differs: { id: 'h2-says-why', envoy: t => t.includes('trailer grpc-status: 0') && !t.includes('STREAM_CLOSED'), plenipo: t => t.includes('trailer grpc-status: 0') && /RST_STREAM 1 STREAM_CLOSED|GOAWAY last=0 PROTOCOL_ERROR/.test(t) } },
])];
