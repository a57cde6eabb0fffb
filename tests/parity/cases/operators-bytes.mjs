// Bytes on the wire and in heads, as the access log tells them: %..._WIRE_BYTES_...%, %..._HEADER_BYTES_...%.
import { suite, req, h2, h2upstream } from '../lib/suite.mjs';
import { replies } from '../lib/raw.mjs';
import { h2request, h2ok } from '../lib/h2.mjs';

const OPS = ['DOWNSTREAM', 'UPSTREAM'].flatMap(side => ['WIRE_BYTES', 'HEADER_BYTES', 'DECOMPRESSED_HEADER_BYTES'].flatMap(what => ['RECEIVED', 'SENT'].map(way => `${side}_${what}_${way}`)));
/** One line an operator, so that a difference says which. */
const each = (...ops) => ({ log: { log_format: { text_format_source: { inline_string: `${ops.map(o => `${o.replace(/[({].*/s, '')}=%${o}%`).join('\n')}\n` } } }, logLines: ops.length });
const json = (...ops) => ({ log: { log_format: { json_format: Object.fromEntries(ops.map(o => [o, `%${o}%`])) } } });
const chunked = 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nX-Up: 1\r\n\r\n5\r\nhello\r\n3;ext=1\r\nabc\r\n0\r\n\r\n';

export default [suite('operators-bytes', [
  { name: 'wire bytes: a GET', ...each(...OPS), send: [req('/a?b=c', 'X-A: 1\r\n')] },
  { name: 'wire bytes: two on one connection', ...each(...OPS), logLines: 2 * OPS.length, send: [req('/a', 'X-A: 1\r\n'), { res: 1 }, req('/abc')] },
  { name: 'wire bytes: a body of a length', ...each(...OPS), send: [req('/', '', 'body')] },
  { name: 'wire bytes: chunks both ways', ...each(...OPS), upstreams: { u: replies(chunked) }, send: ['POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n2;a=b\r\nxy\r\n0\r\n\r\n'] },
  { name: 'wire bytes: as JSON', ...json(...OPS), send: [req('/')] },
  { name: 'wire bytes: a local answer', ...each(...OPS), routes: [{ match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: 'hello' } } }], send: [req('/')] },
  { name: 'wire bytes: an upstream that is not there', ...each(...OPS), upstreams: { u: 'refuse' }, send: [req('/')] },
  { name: 'wire bytes: hostile, a head that is refused', ...each(...OPS), send: ['GET / HTTP/1.1\r\nHost: a.test\r\nBad Name: 1\r\n\r\n'] },
  { name: 'wire bytes: interim answers', ...each(...OPS), upstreams: { u: replies('HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok') }, send: [req('/', 'Expect: 100-continue\r\n', 'body')] },
  { name: 'wire bytes: HTTP/2 upstream', ...each(...OPS), upstreams: { u: h2(h2ok({ headers: { 'x-up': '1' }, body: 'hello' })) }, clusters: { u: h2upstream() }, send: [req('/a', 'X-A: 1\r\n', 'body')] },
  { name: 'wire bytes: HTTP/2 client', ...each(...OPS), client: async ctx => h2request(await ctx.h2(), { ':method': 'POST', ':path': '/a', 'x-a': '1' }, { body: 'body' }) },
])];
