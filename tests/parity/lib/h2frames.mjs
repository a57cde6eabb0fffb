// HTTP/2 by hand: frames, an HPACK encoder that can write anything, and a decoder; for what node:http2 refuses to send.

export const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
export const TYPE = { DATA: 0, HEADERS: 1, PRIORITY: 2, RST_STREAM: 3, SETTINGS: 4, PUSH_PROMISE: 5, PING: 6, GOAWAY: 7, WINDOW_UPDATE: 8, CONTINUATION: 9 };
const NAME = Object.fromEntries(Object.entries(TYPE).map(([k, v]) => [v, k]));
const ERROR = ['NO_ERROR', 'PROTOCOL_ERROR', 'INTERNAL_ERROR', 'FLOW_CONTROL_ERROR', 'SETTINGS_TIMEOUT', 'STREAM_CLOSED', 'FRAME_SIZE_ERROR', 'REFUSED_STREAM',
  'CANCEL', 'COMPRESSION_ERROR', 'CONNECT_ERROR', 'ENHANCE_YOUR_CALM', 'INADEQUATE_SECURITY', 'HTTP_1_1_REQUIRED'];
export const FLAG = { END_STREAM: 1, ACK: 1, END_HEADERS: 4, PADDED: 8, PRIORITY: 32 };

/** One frame as bytes. */
export function frame(type, flags, stream, payload = Buffer.alloc(0)) {
  const p = Buffer.isBuffer(payload) ? payload : Buffer.from(payload, 'latin1');
  const h = Buffer.alloc(9);
  h.writeUIntBE(p.length, 0, 3);
  h[3] = type;
  h[4] = flags;
  h.writeUInt32BE(stream, 5);
  return Buffer.concat([h, p]);
}

/** SETTINGS from pairs; SETTINGS_HEADER_TABLE_SIZE 0 keeps the peer's HPACK simple. */
export function settings(pairs = [[1, 0]]) {
  const p = Buffer.alloc(pairs.length * 6);
  pairs.forEach(([id, value], i) => { p.writeUInt16BE(id, i * 6); p.writeUInt32BE(value, i * 6 + 2); });
  return frame(TYPE.SETTINGS, 0, 0, p);
}

/** Encodes every header as a literal without indexing and without Huffman coding: names and values are sent as given. */
export function encode(list) {
  return Buffer.concat(list.flatMap(([n, v]) => [Buffer.from([0]), str(n), str(v)]));
}

function str(s) {
  const b = Buffer.from(s, 'latin1');
  return Buffer.concat([integer(b.length, 7), b]);
}

function integer(n, bits) {
  const max = (1 << bits) - 1;
  if (n < max) return Buffer.from([n]);
  const out = [max];
  n -= max;
  while (n >= 128) { out.push((n & 127) | 128); n >>= 7; }
  out.push(n);
  return Buffer.from(out);
}

/** HEADERS of a request or response. */
export function headers(stream, list, { end = true, extra = 0 } = {}) {
  return frame(TYPE.HEADERS, FLAG.END_HEADERS | (end ? FLAG.END_STREAM : 0) | extra, stream, encode(list));
}

/** The usual request head; `more` is appended. */
export const get = (path = '/', more = [], method = 'GET') =>
  [[':method', method], [':scheme', 'http'], [':authority', 'a.test'], [':path', path], ...more];

export const data = (stream, body, end = true) => frame(TYPE.DATA, end ? FLAG.END_STREAM : 0, stream, body);
export const rst = (stream, code = 8) => { const p = Buffer.alloc(4); p.writeUInt32BE(code); return frame(TYPE.RST_STREAM, 0, stream, p); };

/**
 * Describes the frames of latin1 `text` for comparison: SETTINGS, WINDOW_UPDATE and PING are dropped (each proxy has its own windows and
 * timing), header lists are sorted by name, DATA of one stream is joined.
 */
export function describe(text) {
  if (text.startsWith('HTTP/1')) return text.split('\r\n');
  let buf = Buffer.from(text, 'latin1');
  if (text.startsWith(PREFACE)) buf = buf.subarray(PREFACE.length);
  const table = new Decoder();
  const out = [];
  const bodies = new Map();
  let block = null;
  while (buf.length >= 9) {
    const length = buf.readUIntBE(0, 3);
    if (buf.length < 9 + length) break;
    const [type, flags, stream] = [buf[3], buf[4], buf.readUInt32BE(5) & 0x7fffffff];
    let p = buf.subarray(9, 9 + length);
    buf = buf.subarray(9 + length);
    const end = flags & FLAG.END_STREAM ? ' END_STREAM' : '';
    if (type === TYPE.HEADERS || type === TYPE.CONTINUATION) {
      if (type === TYPE.HEADERS) {
        if (flags & FLAG.PADDED) p = p.subarray(1, p.length - p[0]);
        if (flags & FLAG.PRIORITY) p = p.subarray(5);
        block = { p, end };
      } else if (block) block.p = Buffer.concat([block.p, p]);
      if (flags & FLAG.END_HEADERS && block) {
        out.push(`HEADERS ${stream}${block.end}\n${sortHeaders(table.decode(block.p)).map(([n, v]) => `  ${n}: ${v}`).join('\n')}`);
        block = null;
      }
    } else if (type === TYPE.DATA) {
      if (flags & FLAG.PADDED) p = p.subarray(1, p.length - p[0]);
      const seen = bodies.get(stream);
      if (seen === undefined) { bodies.set(stream, out.length); out.push({ stream, body: p.toString('latin1'), end }); }
      else { out[seen].body += p.toString('latin1'); out[seen].end = end; }
    } else if (type === TYPE.RST_STREAM) out.push(`RST_STREAM ${stream} ${ERROR[p.readUInt32BE(0)]}`);
    else if (type === TYPE.GOAWAY) out.push(`GOAWAY last=${p.readUInt32BE(0)} ${ERROR[p.readUInt32BE(4)]}`);
    else if (type !== TYPE.SETTINGS && type !== TYPE.WINDOW_UPDATE && type !== TYPE.PING) out.push(`${NAME[type] ?? type} ${stream} ${length} bytes`);
  }
  return out.map(x => typeof x === 'string' ? x : `DATA ${x.stream}${x.end} ${JSON.stringify(x.body)}`);
}

/** Sorted by name; order kept within a name. */
export function sortHeaders(list) {
  return list.map((h, i) => [h, i]).sort(([a, i], [b, j]) => a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : i - j).map(([h]) => h);
}

// RFC 7541, appendix B: the code is canonical, so the lengths say it all (256 symbols; EOS has 30 bits of ones).
const LENGTHS = [13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26];
const CODES = new Map();
{
  let code = 0, len = 0;
  for (const [symbol, l] of LENGTHS.map((l, s) => [s, l]).sort((a, b) => a[1] - b[1] || a[0] - b[0])) {
    code = (len === 0 ? 0 : code + 1) * 2 ** (l - len);
    len = l;
    CODES.set(code.toString(2).padStart(l, '0'), symbol);
  }
}

function unhuffman(buf) {
  let bits = '';
  for (const b of buf) bits += b.toString(2).padStart(8, '0');
  let out = '', at = 0;
  for (let end = at + 5; end <= bits.length; end++) {
    const symbol = CODES.get(bits.slice(at, end));
    if (symbol !== undefined) { out += String.fromCharCode(symbol); at = end; end = at + 4; }
    if (end - at > 30) break;
  }
  return out;
}

const STATIC = [':authority', ':method GET', ':method POST', ':path /', ':path /index.html', ':scheme http', ':scheme https', ':status 200', ':status 204', ':status 206', ':status 304', ':status 400', ':status 404', ':status 500', 'accept-charset', 'accept-encoding gzip, deflate', 'accept-language', 'accept-ranges', 'accept', 'access-control-allow-origin', 'age', 'allow', 'authorization', 'cache-control', 'content-disposition', 'content-encoding', 'content-language', 'content-length', 'content-location', 'content-range', 'content-type', 'cookie', 'date', 'etag', 'expect', 'expires', 'from', 'host', 'if-match', 'if-modified-since', 'if-none-match', 'if-range', 'if-unmodified-since', 'last-modified', 'link', 'location', 'max-forwards', 'proxy-authenticate', 'proxy-authorization', 'range', 'referer', 'refresh', 'retry-after', 'server', 'set-cookie', 'strict-transport-security', 'transfer-encoding', 'user-agent', 'vary', 'via', 'www-authenticate']
  .map(s => { const i = s.indexOf(' '); return i < 0 ? [s, ''] : [s.slice(0, i), s.slice(i + 1)]; });

/** An HPACK decoder with a dynamic table (no eviction by size: test traffic is small). */
export class Decoder {
  dynamic = [];

  decode(buf) {
    const out = [];
    let at = 0;
    const int = bits => {
      const max = (1 << bits) - 1;
      let n = buf[at++] & max;
      if (n < max) return n;
      for (let shift = 0; ; shift += 7) {
        const b = buf[at++];
        n += (b & 127) * 2 ** shift;
        if (!(b & 128)) return n;
      }
    };
    const text = () => {
      const huffman = buf[at] & 128;
      const n = int(7);
      const s = buf.subarray(at, at + n);
      at += n;
      return huffman ? unhuffman(s) : s.toString('latin1');
    };
    const entry = i => i <= STATIC.length ? STATIC[i - 1] : this.dynamic[i - STATIC.length - 1] ?? ['?', '?'];
    while (at < buf.length) {
      const b = buf[at];
      if (b & 128) out.push(entry(int(7)));
      else if (b & 64) {
        const i = int(6);
        const h = [i ? entry(i)[0] : text(), text()];
        this.dynamic.unshift(h);
        out.push(h);
      } else if ((b & 224) === 32) int(5);
      else {
        const i = int(4);
        out.push([i ? entry(i)[0] : text(), text()]);
      }
    }
    return out;
  }
}
