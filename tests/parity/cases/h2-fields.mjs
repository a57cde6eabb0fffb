// Header blocks of HTTP/2: pseudo-headers where none may stand, however they are coded, and fields that are too long.
import { suite, req, h2upstream } from '../lib/suite.mjs';
import { replies, ok, sleep, RawUpstream } from '../lib/raw.mjs';
import * as F from '../lib/h2frames.mjs';

const H = { log: { log_format: { text_format_source: { inline_string: '%PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n' } } } };
const STREAM = { override_stream_error_on_invalid_http_message: true };
const hcm = o => ({ hcm: { http2_protocol_options: o } });
const view = { view: t => F.describe(t).join('\r\n') };
/** Sends raw frames behind the preface; a number is a pause in ms. */
const frames = (...list) => ({ ...view, client: async ctx => {
  const c = await ctx.connect();
  c.write(Buffer.concat([Buffer.from(F.PREFACE), F.settings([])]));
  for (const x of list) { if (typeof x === 'number') await sleep(x); else c.write(x); }
} });
const block = (stream, flags, ...parts) => F.frame(1, 4 | flags, stream, Buffer.concat(parts.map(p => Buffer.from(p))));
const open = (stream, path = '/') => F.headers(stream, F.get(path, [], 'POST'), { end: false });
/** A literal with incremental indexing. */
const kept = (name, value) => Buffer.concat([Buffer.from([0x40, name.length]), Buffer.from(name), Buffer.from([value.length]), Buffer.from(value)]);
const HUFFMAN_PATH = [0, 0x84, 0xb9, 0x58, 0xd3, 0x3f, 1, 0x2f];
/** Trailers on stream 1 behind a body, then another request. */
const trailers = (...parts) => frames(open(1), F.data(1, 'x', false), 200, block(1, 1, ...parts), 200, F.headers(3, F.get('/3')));
/** Envoy closes the connection without a word where a message is malformed, but for STREAM. */
const says = { differs: { id: 'h2-says-why', envoy: t => t.startsWith('client 1 (closed):\n  (nothing)') && t.includes('HTTP/2 0 DPE http2.invalid.header.field'), plenipo: t => t.includes('RST_STREAM 1 PROTOCOL_ERROR') && t.includes('HEADERS 3') && t.includes('HTTP/2 0 DPE http2.invalid.header.field') } };

/** An upstream that answers stream 1 with frames. */
const answers = (...list) => ({ u: { make: () => new RawUpstream(async wire => {
  wire.write(F.settings([]));
  await wire.until(() => wire.text.length > 24 && F.describe(wire.text).some(l => l.startsWith('HEADERS')));
  wire.write(Buffer.concat([F.frame(F.TYPE.SETTINGS, 1, 0), ...list]));
}) } });
const fromUpstream = (...list) => ({ clusters: { u: h2upstream(STREAM) }, upstreams: answers(...list), viewUpstream: () => [], send: req(), ...H });
const status = F.headers(1, [[':status', '200']], { end: false });

/** A request with one header of `n` bytes, in as many frames as it needs. */
const long = (stream, n) => {
  const b = F.encode([...F.get(), ['x-a', 'v'.repeat(n)]]);
  const out = [];
  for (let i = 0; i < b.length; i += 16000) out.push(F.frame(i ? 9 : 1, (i ? 0 : 1) | (i + 16000 >= b.length ? 4 : 0), stream, b.subarray(i, i + 16000)));
  return Buffer.concat(out);
};
const field = (kb, n) => ({ hcm: { max_request_headers_kb: 200, http2_protocol_options: kb ? { max_header_field_size_kb: kb } : {} }, upstreams: {}, routes: [{ match: { prefix: '/' }, direct_response: { status: 200 } }], stats: [/downstream_cx_protocol_error/],
  ...frames(long(1, n), 300, F.headers(3, F.get('/3'))) });
export default suite('h2-fields', [
  { name: 'pseudo-header in trailers: indexed', ...trailers([0x84]), ...H, ...says },
  { name: 'pseudo-header in trailers: behind another', ...hcm(STREAM), ...trailers(kept('x-t', '1'), [0x84]), ...H, viewUpstream: () => [] },
  ...[['indexed', [0x84]], ['a literal', F.encode([[':path', '/x']])], ['with the name of the static table', [4, 2, 0x2f, 0x78]], ['in Huffman\'s code', HUFFMAN_PATH], ['before another', Buffer.concat([Buffer.from([0x82]), F.encode([['x-t', '1']])])], ['in three frames', null]].map(([name, part]) => ({
    name: `pseudo-header in trailers, the stream ends: ${name}`, ...hcm(STREAM), ...H, viewUpstream: () => [],
    ...(part ? trailers(part) : frames(open(1), F.data(1, 'x', false), 200, F.frame(1, 1, 1, Buffer.from([4])), F.frame(9, 0, 1, Buffer.from([1])), F.frame(9, 4, 1, Buffer.from([0x2f])), 200, F.headers(3, F.get('/3')))) })),
  { name: 'pseudo-header in trailers, the stream ends: out of the dynamic table', ...hcm(STREAM), ...H, viewUpstream: () => [],
    ...frames(
      block(1, 0, [0x83, 0x86, 0x44, 2, 0x2f, 0x31, 0x41, 6], 'a.test', kept('x-a', '1')), F.data(1, 'x', false), 200, block(1, 1, [0xbe]), 300,
      block(3, 0, [0x83, 0x86, 0xc0, 0xbf]), F.data(3, 'x', false), 200, block(3, 1, [0xc0]), 200, F.headers(5, F.get('/5'))) },
  { name: 'pseudo-header in trailers: none, but a header that looks like one', ...hcm(STREAM), ...trailers(F.encode([['x-t', ':path']])), ...H },
  { name: 'pseudo-header in trailers: padding is not read', ...hcm(STREAM), ...frames(open(1), F.data(1, 'x', false), 200, F.frame(1, 4 | 1 | 8, 1, Buffer.concat([Buffer.from([3]), F.encode([['x-t', '1']]), Buffer.from([0x84, 0x84, 0x84])])), 200), ...H },
  { name: 'upstream, pseudo-header in trailers: indexed', ...fromUpstream(status, F.data(1, 'x', false), block(1, 1, [0x88])) },
  { name: 'upstream, pseudo-header in trailers: out of the dynamic table', ...fromUpstream(block(1, 0, [0x48, 3], '207'), F.data(1, 'x', false), block(1, 1, [0xbe])) },
  { name: 'upstream, pseudo-header in trailers: none, out of the dynamic table', ...fromUpstream(block(1, 0, [0x88], kept('x-a', '1')), F.data(1, 'x', false), block(1, 1, [0xbe])) },
  { name: 'upstream, an answer that is its head only', ...fromUpstream(F.headers(1, [[':status', '204']])) },
  { name: 'max_header_field_size_kb: 64000 bytes by default', ...field(0, 64000) },
  { name: 'max_header_field_size_kb: 66000 bytes by default', ...field(0, 66000) },
  { name: 'max_header_field_size_kb: 66000 bytes under 64', ...field(64, 66000) },
  { name: 'max_header_field_size_kb: 90000 bytes under 100', ...field(100, 90000) },
]);
