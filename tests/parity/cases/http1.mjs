// HTTP/1.1 on both sides: keep-alive and close, bodies, bodiless answers, 100-continue, upgrades that are not, clients that go away, bad upstreams.
import { suite, req } from '../lib/suite.mjs';
import { replies, repliesAtHead, ok, sleep } from '../lib/raw.mjs';
import { stricterAnswer } from '../lib/differ.mjs';

const R = (head, body = '') => `HTTP/1.1 ${head}\r\n\r\n${body}`;
const up = (...r) => ({ u: replies(...r) });
const count = (text, ch) => text.split(ch).length - 1;

export default suite('http1', [
  // keep-alive and close
  { name: 'keep-alive: two requests on one connection reuse the upstream connection', send: [req('/1'), { res: 1 }, req('/2'), { res: 1 }] },
  { name: 'keep-alive: Connection: close from the client', send: [req('/', 'Connection: close\r\n')] },
  { name: 'keep-alive: Connection: keep-alive from the client is dropped', send: [req('/', 'Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n')] },
  { name: 'keep-alive: Connection: Close, x-a in mixed case', send: [req('/', 'Connection: Close, x-a\r\nX-A: 1\r\n')] },
  { name: 'keep-alive: Connection: close from the upstream is not the client\'s business', upstreams: up(ok('one', 'connection: close\r\n'), ok('two')), send: [req('/1'), { res: 1 }, 100, req('/2'), { res: 1 }] },
  { name: 'keep-alive: upstream closes after the answer, the next request takes a new connection', upstreams: up([ok('one'), { end: true }], ok('two')), send: [req('/1'), { res: 1 }, 200, req('/2'), { res: 1 }] },
  { name: 'keep-alive: upstream answer in HTTP/1.0 closes the upstream connection', upstreams: up('HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok', ok('two')), send: [req('/1'), { res: 1 }, 100, req('/2'), { res: 1 }] },
  { name: 'keep-alive: upstream answer in HTTP/1.0 with keep-alive', upstreams: up('HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok', ok('two')), send: [req('/1'), { res: 1 }, 100, req('/2'), { res: 1 }] },
  { name: 'keep-alive: max_requests_per_connection downstream', hcm: { common_http_protocol_options: { max_requests_per_connection: 2 } }, send: [req('/1'), { res: 1 }, req('/2'), { res: 1 }, req('/3')] },
  { name: 'keep-alive: max_requests_per_connection upstream', clusters: { u: { typed_extension_protocol_options: { 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': { '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions', common_http_protocol_options: { max_requests_per_connection: 1 }, explicit_http_config: { http_protocol_options: {} } } } } }, send: [req('/1'), { res: 1 }, 100, req('/2'), { res: 1 }] },
  { name: 'keep-alive: idle_timeout closes an idle connection', hcm: { common_http_protocol_options: { idle_timeout: '0.4s' } }, send: [req('/1'), { res: 1 }] },
  { name: 'keep-alive: idle_timeout and then drain_timeout', hcm: { common_http_protocol_options: { idle_timeout: '0.3s' }, drain_timeout: '0.3s' }, send: [req('/1'), { res: 1 }] },
  { name: 'keep-alive: idle_timeout before any request', hcm: { common_http_protocol_options: { idle_timeout: '0.4s' } }, send: [] },
  { name: 'keep-alive: request_headers_timeout on half a head', hcm: { request_headers_timeout: '0.4s' }, send: ['GET / HTTP/1.1\r\nHost:'] },
  { name: 'keep-alive: request_timeout on half a body', hcm: { request_timeout: '0.4s' }, send: ['POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nab'] },
  { name: 'keep-alive: stream_idle_timeout on half a body', hcm: { stream_idle_timeout: '0.4s' }, send: ['POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nab'] },
  { name: 'keep-alive: stream_idle_timeout after the answer began', hcm: { stream_idle_timeout: '0.4s' }, upstreams: up(R('200 OK\r\ncontent-length: 10', 'abc')), send: [req('/')] },
  { name: 'keep-alive: Proxy-Connection header', send: [req('/', 'Proxy-Connection: keep-alive\r\n')] },

  // bodies
  { name: 'bodies: content-length both ways', upstreams: up(ok('answer')), send: [req('/', '', 'question')] },
  { name: 'bodies: chunked answer', upstreams: up(R('200 OK\r\ntransfer-encoding: chunked', '3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n')), send: [req('/')] },
  { name: 'bodies: chunked answer in pieces', upstreams: up([R('200 OK\r\ntransfer-encoding: chunked', '3\r\nabc\r\n'), 300, '4\r\ndefg\r\n', 300, '0\r\n\r\n']), send: [req('/')] },
  { name: 'bodies: answer ended by close becomes chunked', upstreams: up([R('200 OK\r\nx-a: b', 'until close'), { end: true }]), send: [req('/')] },
  { name: 'bodies: empty answer with content-length 0', upstreams: up(R('200 OK\r\ncontent-length: 0')), send: [req('/')] },
  { name: 'bodies: empty chunked answer', upstreams: up(R('200 OK\r\ntransfer-encoding: chunked', '0\r\n\r\n')), send: [req('/')] },
  { name: 'bodies: answer trailers are dropped by default', upstreams: up(R('200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-t', '3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n')), send: [req('/')] },
  { name: 'bodies: answer trailers with enable_trailers on both sides', hcm: { http_protocol_options: { enable_trailers: true } }, clusters: { u: { typed_extension_protocol_options: { 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': { '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions', explicit_http_config: { http_protocol_options: { enable_trailers: true } } } } } }, upstreams: up(R('200 OK\r\ntransfer-encoding: chunked', '3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n')), send: [req('/', 'Transfer-Encoding: chunked\r\n', '', 'POST') + '3\r\nabc\r\n0\r\nX-Q: 2\r\n\r\n'] },
  { name: 'bodies: 1 MiB up with content-length', client: async ctx => {
    const c = await ctx.connect();
    c.write(`POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: ${1 << 20}\r\n\r\n`);
    c.write('x'.repeat(1 << 20));
    await c.response();
  }, viewUpstream: saw => saw.map(w => ({ ...w, bytes: `${w.bytes.split('\r\n\r\n')[0]}\r\n${count(w.bytes, 'x') >= 1 << 20 ? 'whole body' : `${count(w.bytes, 'x')} x`}` })) },
  { name: 'bodies: 1 MiB down in chunks', upstreams: up(R('200 OK\r\ntransfer-encoding: chunked', `100000\r\n${'y'.repeat(1 << 20)}\r\n0\r\n\r\n`)), client: async ctx => {
    const c = await ctx.connect();
    c.write(req('/'));
    await c.response();
    return { ys: count(c.text, 'y') - count(c.text.split('\r\n\r\n')[0], 'y') };
  }, view: t => t.split('\r\n\r\n')[0] },
  { name: 'bodies: early answer before the request body is done', upstreams: { u: repliesAtHead(ok('early')) }, send: ['POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nabc', { res: 1 }] },
  { name: 'bodies: early answer and then the rest of the request body', upstreams: { u: repliesAtHead(ok('early')) }, send: ['POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 6\r\n\r\nabc', { res: 1 }, 'def', 500, req('/2')] },
  { name: 'bodies: early answer to a chunked request', upstreams: { u: repliesAtHead(ok('early')) }, send: ['POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n', { res: 1 }] },
  { name: 'bodies: answer longer than its content-length', upstreams: up(R('200 OK\r\ncontent-length: 2', 'okHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil'), ok('next')), send: [req('/1'), { res: 1 }, 100, req('/2'), { res: 1 }] },
  { name: 'bodies: upstream closes in the middle of a content-length body', upstreams: up([R('200 OK\r\ncontent-length: 10', 'abc'), 50, { end: true }]), send: [req('/')] },
  { name: 'bodies: upstream resets in the middle of a content-length body', upstreams: up([R('200 OK\r\ncontent-length: 10', 'abc'), 50, { reset: true }]), send: [req('/')] },
  { name: 'bodies: upstream closes in the middle of a chunked body', upstreams: up([R('200 OK\r\ntransfer-encoding: chunked', '3\r\nabc\r\n'), 50, { end: true }]), send: [req('/')] },
  { name: 'bodies: upstream sends a bad chunk size after good chunks', upstreams: up([R('200 OK\r\ntransfer-encoding: chunked', '3\r\nabc\r\n'), 100, 'zz\r\n']), send: [req('/')] },

  // HEAD, 204, 304
  { name: 'HEAD: content-length is kept, no body', upstreams: up(R('200 OK\r\ncontent-length: 5')), send: ['HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n'] },
  { name: 'HEAD: answer without length', upstreams: up(R('200 OK\r\nx-a: b')), send: ['HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n'] },
  { name: 'HEAD: chunked answer head', upstreams: up(R('200 OK\r\ntransfer-encoding: chunked')), send: ['HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n', { head: 1 }, req('/2')] },
  { name: 'HEAD: a body that must not be there', upstreams: up(R('200 OK\r\ncontent-length: 5', 'hello'), ok('next')), send: ['HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n', { head: 1 }, 100, req('/2'), { res: 1 }] },
  { name: 'HEAD: local reply has no body', routes: [{ match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: 'hello' } } }], send: ['HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n', { head: 1 }, req('/2')] },
  { name: 'HEAD: followed by GET on the same connection', upstreams: up(R('200 OK\r\ncontent-length: 5'), ok('hello')), send: ['HEAD /1 HTTP/1.1\r\nHost: a.test\r\n\r\n', { head: 1 }, req('/2'), { res: 1 }] },
  { name: '204: no content', upstreams: up(R('204 No Content\r\nx-a: b')), send: [req('/'), { res: 1 }, req('/2')] },
  { name: '204: with content-length 0', upstreams: up(R('204 No Content\r\ncontent-length: 0')), send: [req('/')] },
  { name: '204: with content-length 5', upstreams: up(R('204 No Content\r\ncontent-length: 5', 'hello')), send: [req('/')] },
  { name: '204: with transfer-encoding', upstreams: up(R('204 No Content\r\ntransfer-encoding: chunked', '0\r\n\r\n')), send: [req('/')] },
  { name: '304: not modified', upstreams: up(R('304 Not Modified\r\netag: "x"')), send: [req('/'), { res: 1 }, req('/2')] },
  { name: '304: with content-length', upstreams: up(R('304 Not Modified\r\ncontent-length: 5')), send: [req('/'), { res: 1 }, req('/2')] },
  { name: '304: with transfer-encoding', upstreams: up(R('304 Not Modified\r\ntransfer-encoding: chunked')), send: [req('/')] },

  // statuses and reason phrases
  { name: 'status line: reason phrase is Envoy\'s own', upstreams: up(R('200 Fantastic\r\ncontent-length: 0')), send: [req('/')] },
  { name: 'status line: unknown status', upstreams: up(R('299 Whatever\r\ncontent-length: 0')), send: [req('/')] },
  { name: 'status line: 999', upstreams: up(R('999 Odd\r\ncontent-length: 0')), send: [req('/')] },
  { name: 'status line: no reason phrase', upstreams: up('HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n'), send: [req('/')] },
  { name: 'status line: two digits', ...stricterAnswer('h1-status-line', 'HTTP/1.1 20 Unknown'), upstreams: up('HTTP/1.1 20 OK\r\ncontent-length: 0\r\n\r\n'), send: [req('/')] },
  { name: 'status line: below 100', ...stricterAnswer('h1-status-line', 'HTTP/1.1 99 Unknown'), upstreams: up('HTTP/1.1 099 OK\r\ncontent-length: 0\r\n\r\n'), send: [req('/')] },
  { name: 'status line: four digits', ...stricterAnswer('h1-status-line', 'HTTP/1.1 2000 Unknown'), upstreams: up('HTTP/1.1 2000 OK\r\ncontent-length: 0\r\n\r\n'), send: [req('/')] },
  { name: 'status line: garbage', upstreams: up('hello there\r\n\r\n'), send: [req('/')] },
  { name: 'status line: HTTP/2.0', ...stricterAnswer('h1-status-line', 'HTTP/1.1 200 OK'), upstreams: up('HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n'), send: [req('/')] },
  { name: 'status line: bare LF', ...stricterAnswer('h1-bare-lf', 'HTTP/1.1 200 OK'), upstreams: up('HTTP/1.1 200 OK\ncontent-length: 2\n\nok'), send: [req('/')] },
  { name: 'status line: reason phrase empty, with spaces and high bytes', upstreams: up('HTTP/1.1 200 \r\ncontent-length: 0\r\n\r\n', 'HTTP/1.1 200 OK \r\ncontent-length: 0\r\n\r\n', 'HTTP/1.1 200 O\tK\xe9\r\ncontent-length: 0\r\n\r\n'), send: [req('/'), { res: 1 }, req('/'), { res: 1 }, req('/')] },
  { name: 'status line: two spaces', ...stricterAnswer('h1-status-line', 'HTTP/1.1 200 OK'), upstreams: up('HTTP/1.1  200 OK\r\ncontent-length: 0\r\n\r\n'), send: [req('/')] },
  { name: 'status line: 418, 429, 451 phrases', upstreams: up(R('418 x\r\ncontent-length: 0'), R('429 x\r\ncontent-length: 0'), R('451 x\r\ncontent-length: 0'), R('208 x\r\ncontent-length: 0'), R('511 x\r\ncontent-length: 0')), send: [req('/'), { res: 1 }, req('/'), { res: 1 }, req('/'), { res: 1 }, req('/'), { res: 1 }, req('/')] },

  // upstream answers under scrutiny
  { name: 'upstream answer: content-length twice different', upstreams: up(R('200 OK\r\ncontent-length: 2\r\ncontent-length: 3', 'ok!')), send: [req('/')] },
  { name: 'upstream answer: content-length twice the same', upstreams: up(R('200 OK\r\ncontent-length: 2\r\ncontent-length: 2', 'ok')), send: [req('/')] },
  { name: 'upstream answer: content-length and transfer-encoding', upstreams: up(R('200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked', '2\r\nok\r\n0\r\n\r\n')), send: [req('/')] },
  { name: 'upstream answer: unknown transfer-encoding', upstreams: up(R('200 OK\r\ntransfer-encoding: gzip', 'ok')), send: [req('/')] },
  { name: 'upstream answer: bad content-length', upstreams: up(R('200 OK\r\ncontent-length: abc', 'ok')), send: [req('/')] },
  { name: 'upstream answer: bad header name', upstreams: up(R('200 OK\r\nx a: b\r\ncontent-length: 2', 'ok')), send: [req('/')] },
  { name: 'upstream answer: space before the colon', upstreams: up(R('200 OK\r\nx-a : b\r\ncontent-length: 2', 'ok')), send: [req('/')] },
  { name: 'upstream answer: obs-fold', ...stricterAnswer('h1-obs-fold', 'x-a: b c'), upstreams: up(R('200 OK\r\nx-a: b\r\n c\r\ncontent-length: 2', 'ok')), send: [req('/')] },
  { name: 'upstream answer: NUL in a value', upstreams: up(R('200 OK\r\nx-a: b\0c\r\ncontent-length: 2', 'ok')), send: [req('/')] },
  { name: 'upstream answer: bare CR in a value', ...stricterAnswer('h1-bare-cr', 'x-a: bc'), upstreams: up(R('200 OK\r\nx-a: b\rc\r\ncontent-length: 2', 'ok')), send: [req('/')] },
  { name: 'upstream answer: bad chunk size at once', upstreams: up(R('200 OK\r\ntransfer-encoding: chunked', 'zz\r\nok\r\n0\r\n\r\n')), send: [req('/')] },
  { name: 'upstream answer: 101 headers', upstreams: up(R(`200 OK\r\n${Array.from({ length: 101 }, (_, i) => `x-${i}: ${i}`).join('\r\n')}\r\ncontent-length: 2`, 'ok')), send: [req('/')] },
  { name: 'upstream answer: 70 KiB head', upstreams: up(R(`200 OK\r\nx-big: ${'b'.repeat(70000)}\r\ncontent-length: 2`, 'ok')), send: [req('/')] },
  { name: 'upstream answer: bad content-length in a 304', ...stricterAnswer('h1-status-line', 'content-length: 3x'), upstreams: up(R('304 X\r\ncontent-length: 3x')), send: [req('/')] },
  { name: 'upstream answer: data longer than its chunk', upstreams: up(R('200 OK\r\ntransfer-encoding: chunked', '3\r\nabcd\r\n0\r\n\r\n')), send: [req('/')],
    differs: { id: 'h1-chunks', envoy: t => t.startsWith('client 1 (open):') && t.includes('  3\n  abc\n  0\n'), plenipo: t => t.startsWith('client 1 (closed):') && !t.includes('  0\n') && t.includes('upstream u connection 1 (closed):') } },
  { name: 'upstream answer: closes without a byte', upstreams: up({ end: true }), send: [req('/')] },
  { name: 'upstream answer: resets without a byte', upstreams: up({ reset: true }), send: [req('/')] },
  { name: 'upstream answer: half a head and close', upstreams: up(['HTTP/1.1 200 OK\r\ncontent-le', 50, { end: true }]), send: [req('/')] },
  { name: 'upstream answer: 101 that nobody asked for', ...stricterAnswer('h1-unasked-101', 'HTTP/1.1 101 Switching Protocols'), upstreams: up(R('101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade')), send: [req('/')] },
  { name: 'upstream answer: unsolicited bytes on an idle connection', upstreams: up([ok('one'), 100, 'HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n'], ok('two')), send: [req('/1'), { res: 1 }, 700, req('/2'), { res: 1 }] },

  // header names, order, duplicates, bytes
  { name: 'header bytes: order and duplicates of the answer', upstreams: up(R('200 OK\r\nX-B: 1\r\nX-A: 2\r\nSet-Cookie: a=1\r\nx-b: 3\r\nSet-Cookie: b=2\r\nContent-Length: 2', 'ok')), send: [req('/')] },
  { name: 'header bytes: answer values with inner spaces, tabs and high bytes', upstreams: up(R('200 OK\r\nx-a:   1\t 2  \r\nx-b: \xe9\r\nx-c:\r\ncontent-length: 2', 'ok')), send: [req('/')] },
  { name: 'header bytes: proper case', hcm: { http_protocol_options: { header_key_format: { proper_case_words: {} } } }, send: [req('/', 'x-foo-bar: 1\r\n')] },
  { name: 'header bytes: preserve case', hcm: { http_protocol_options: { header_key_format: { stateful_formatter: { name: 'preserve_case', typed_config: { '@type': 'type.googleapis.com/envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig' } } } } },
    clusters: { u: { typed_extension_protocol_options: { 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': { '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions', explicit_http_config: { http_protocol_options: { header_key_format: { stateful_formatter: { name: 'preserve_case', typed_config: { '@type': 'type.googleapis.com/envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig' } } } } } } } } },
    upstreams: up(R('200 OK\r\nX-MiXed: 1\r\nContent-Length: 2', 'ok')), send: [req('/', 'X-FoO-bar: 1\r\n')] },

  // 100-continue
  { name: '100-continue: expect is answered and stripped', client: async ctx => {
    const c = await ctx.connect();
    c.write('POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n');
    await c.has('100 Continue');
    c.write('abc');
    await c.response();
  } },
  { name: '100-continue: mixed case', send: ['POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\nExpect: 100-Continue\r\n\r\n', 300, 'abc'] },
  { name: '100-continue: without waiting', send: ['POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc'] },
  { name: '100-continue: GET without a body', send: [req('/', 'Expect: 100-continue\r\n')] },
  { name: '100-continue: other expectation', send: ['POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\nExpect: x\r\n\r\nabc'] },
  { name: '100-continue: proxy_100_continue', hcm: { proxy_100_continue: true }, upstreams: { u: async wire => {
    await wire.head();
    wire.write('HTTP/1.1 100 Continue\r\n\r\n');
    await wire.has('abc');
    wire.write(ok());
  } }, send: ['POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n', { has: '100 Continue' }, 'abc', { res: 1 }] },
  { name: '100-continue: upstream sends 100 that nobody asked for', upstreams: up(`HTTP/1.1 100 Continue\r\n\r\n${ok()}`), send: [req('/')] },
  { name: '100-continue: upstream sends 102 and 103', upstreams: up(`HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n${ok()}`), send: [req('/')] },
  { name: '100-continue: upstream sends nothing but 100', upstreams: up(['HTTP/1.1 100 Continue\r\n\r\n', 50, { end: true }]), send: [req('/')] },

  // upgrades that are not
  { name: 'Upgrade h2c: ignored and stripped', send: [req('/', 'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n'), { res: 1 }, req('/2')] },
  { name: 'Upgrade h2c: on POST with a body', send: [req('/', 'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n', 'body')] },
  { name: 'Upgrade h2c: beside websocket', send: [req('/', 'Connection: Upgrade\r\nUpgrade: h2c, websocket\r\n')] },
  { name: 'Upgrade: websocket without an upgrade config is 403', send: [req('/', 'Connection: Upgrade\r\nUpgrade: websocket\r\n')] },
  { name: 'Upgrade: without Connection: upgrade', send: [req('/', 'Upgrade: websocket\r\n')] },
  { name: 'Upgrade: TLS/1.0', send: [req('/', 'Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n')] },

  // a client that goes away
  { name: 'client goes away: FIN while the upstream thinks', upstreams: up([1500, ok('late')]), send: [req('/'), 300, { fin: 1 }] },
  { name: 'client goes away: RST while the upstream thinks', upstreams: up([1500, ok('late')]), send: [req('/'), 300, { rst: 1 }, 700] },
  { name: 'client goes away: in the middle of its own body', upstreams: up(ok()), send: ['POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100\r\n\r\nabc', 500, { rst: 1 }, 500] },
  { name: 'client goes away: in the middle of the answer', upstreams: up(async wire => { wire.write(R('200 OK\r\ncontent-length: 10', 'abc')); await sleep(1500); wire.write('defg'); }), send: [req('/'), { has: 'abc' }, { rst: 1 }, 500] },

  // codec_type
  { name: 'codec_type: HTTP1 refuses the HTTP/2 preface', hcm: { codec_type: 'HTTP1' }, send: ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'] },
  { name: 'codec_type: HTTP2 given HTTP/1.1', hcm: { codec_type: 'HTTP2' }, send: [req('/')] , view: t => t.length ? 'h2 frames' : '' },
  { name: 'codec_type: AUTO waits for enough bytes', send: ['PR', 200, 'I / HTTP/1.1\r\nHost: a.test\r\n\r\n'] },
  { name: 'codec_type: AUTO sees half the preface and then HTTP/1', differs: { id: 'h2-preface', envoy: t => t.startsWith('client 1 (closed):\n  (nothing)'), plenipo: t => t.startsWith('client 1 (closed):\n  HTTP/1.1 400 Bad Request') }, send: ['PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n'] },
  { name: 'codec_type: HTTP1 serves HTTP/1.1', hcm: { codec_type: 'HTTP1' }, send: [req('/')] },
]);
