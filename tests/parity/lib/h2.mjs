// HTTP/2 through node:http2: a client that reports each exchange as plain data, and an upstream that records each request.
import http2 from 'node:http2';
import { sortHeaders } from './h2frames.mjs';

/** Opens a session to `port`; `tls` are tls.connect options (then h2 by ALPN), else clear text with prior knowledge. */
export function h2connect(port, { tls, settings } = {}) {
  return new Promise((resolve, reject) => {
    const session = http2.connect(`${tls ? 'https' : 'http'}://127.0.0.1:${port}`, { rejectUnauthorized: false, settings, ...tls });
    session.once('error', reject);
    session.once('connect', () => {
      session.off('error', reject);
      session.on('error', () => {});
      session.goaway = null;
      session.on('goaway', code => { session.goaway = code; });
      resolve(session);
    });
  });
}

/**
 * Sends one request and returns { headers, body, trailers, rst, informational }. `body` is a string, a Buffer or undefined (no body);
 * `trailers` an object sent after the body; `hold` keeps the request body open; `abortAfter` resets that many ms after the answer began.
 */
export function h2request(session, headers, { body, trailers, hold = false, ms = 8000 } = {}) {
  return new Promise(resolve => {
    const bodyless = body === undefined && !trailers && !hold;
    const stream = session.request({ ':authority': 'a.test', ':path': '/', ...headers }, { endStream: bodyless, waitForTrailers: Boolean(trailers) });
    const got = { headers: null, body: '', trailers: null, rst: 0 };
    const finish = () => { clearTimeout(timer); got.rst = stream.rstCode; resolve(got); };
    const timer = setTimeout(() => { got.timeout = true; stream.close(8); finish(); }, ms);
    stream.on('headers', h => { (got.informational ??= []).push(list(h)); });
    stream.on('response', (_h, _f, raw) => { got.headers = pairs(raw, _h); });
    stream.on('trailers', (_h, _f, raw) => { got.trailers = pairs(raw, _h); });
    stream.on('data', d => { got.body += d.toString('latin1'); });
    stream.on('error', () => {});
    stream.on('close', finish);
    if (trailers) stream.on('wantTrailers', () => stream.sendTrailers(trailers));
    if (!bodyless) {
      if (body) stream.write(body);
      if (!hold) stream.end();
    }
    got.stream = stream;
    Object.defineProperty(got, 'stream', { enumerable: false });
  });
}

function list(h) { return sortHeaders(Object.entries(h).flatMap(([n, v]) => Array.isArray(v) ? v.map(x => [n, x]) : [[n, String(v)]])); }

function pairs(raw, parsed) {
  if (!Array.isArray(raw)) return list(parsed);
  const out = [];
  for (let i = 0; i < raw.length; i += 2) out.push([raw[i], String(raw[i + 1])]);
  return sortHeaders(out);
}

/** A clear-text or TLS HTTP/2 server; `handler(stream, request)` answers; every request is recorded. */
export class H2Upstream {
  requests = [];
  sessions = [];
  lastActivity = 0;

  constructor(handler = h2ok(), options = {}) {
    this.handler = handler;
    this.server = options.tls ? http2.createSecureServer({ ALPNProtocols: ['h2'], ...options.tls }) : http2.createServer(options.server ?? {});
    this.server.on('session', s => { this.sessions.push(s); s.on('error', () => {}); s.on('close', () => { s.gone = true; }); });
    this.server.on('sessionError', () => {});
    this.server.on('stream', (stream, h, _flags, raw) => {
      this.lastActivity = Date.now();
      const request = { session: this.sessions.indexOf(stream.session), headers: pairs(raw, h), body: '', trailers: null, ended: false };
      this.requests.push(request);
      stream.on('data', d => { this.lastActivity = Date.now(); request.body += d.toString('latin1'); });
      stream.on('trailers', (t, _f, r) => { request.trailers = pairs(r, t); });
      stream.on('end', () => { request.ended = true; this.lastActivity = Date.now(); });
      stream.on('aborted', () => { request.aborted = true; });
      stream.on('close', () => { request.rst = stream.rstCode; this.lastActivity = Date.now(); });
      stream.on('error', () => {});
      Promise.resolve(this.handler(stream, request, this)).catch(() => stream.close());
    });
  }

  listen() {
    return new Promise(resolve => this.server.listen(0, '127.0.0.1', () => { this.port = this.server.address().port; resolve(this); }));
  }

  saw() { return { sessions: this.sessions.length, requests: this.requests }; }

  close() {
    for (const s of this.sessions) s.destroy();
    this.server.close();
  }
}

/** Answers when the whole request is there. */
export function h2ok({ headers = {}, body = 'ok', trailers } = {}) {
  return async (stream, request) => {
    if (!request.ended && !stream.readableEnded) await new Promise(r => { stream.once('end', r); stream.once('close', r); });
    if (stream.destroyed) return;
    h2answer(stream, { headers, body, trailers });
  };
}

export function h2answer(stream, { headers = {}, body = 'ok', trailers } = {}) {
  const endStream = body === null && !trailers;
  stream.respond({ ':status': 200, ...headers }, { endStream, waitForTrailers: Boolean(trailers), sendDate: false });
  if (trailers) stream.on('wantTrailers', () => stream.sendTrailers(trailers));
  if (!endStream) stream.end(body ?? '');
}
