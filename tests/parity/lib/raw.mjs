// Raw TCP and TLS connections, as client and as scripted upstream: every byte that arrives is kept as it came.
import net from 'node:net';
import tls from 'node:tls';

const sleep = ms => new Promise(r => setTimeout(r, ms));
export { sleep };

/** One connection seen from either end. Text is latin1: one character a byte. */
export class Wire {
  text = '';
  state = 'open'; // 'open', 'closed' (FIN) or 'reset'
  lastActivity = Date.now();
  cursor = 0;
  #waiters = new Set();

  constructor(socket) {
    this.socket = socket;
    socket.on('data', d => { this.text += d.toString('latin1'); this.#touch(); });
    socket.on('end', () => { if (this.state === 'open') this.state = 'closed'; this.#touch(); });
    socket.on('error', () => { if (this.state === 'open') this.state = 'reset'; this.#touch(); });
    socket.on('close', () => { if (this.state === 'open') this.state = 'closed'; this.#touch(); });
  }

  #touch() {
    this.lastActivity = Date.now();
    for (const w of [...this.#waiters]) w();
  }

  write(data) {
    this.lastActivity = Date.now();
    if (!this.socket.destroyed && this.socket.writable) this.socket.write(typeof data === 'string' ? Buffer.from(data, 'latin1') : data);
  }

  /** Closes the sending half. */
  end() { this.socket.end(); }
  /** Sends a RST. */
  reset() { this.socket.resetAndDestroy ? this.socket.resetAndDestroy() : this.socket.destroy(); }
  destroy() { this.socket.destroy(); }

  /** Waits until `test()` is true, the peer closed, or `ms` passed; returns the last value of `test()`. */
  async until(test, ms = 8000) {
    const deadline = Date.now() + ms;
    for (;;) {
      const got = test();
      if (got || this.state !== 'open') return got;
      const left = deadline - Date.now();
      if (left <= 0) return got;
      await new Promise(resolve => {
        const done = () => { clearTimeout(timer); this.#waiters.delete(done); resolve(); };
        const timer = setTimeout(done, left);
        this.#waiters.add(done);
      });
    }
  }

  /** Waits until all of `text` after the cursor holds `needle`. */
  has(needle, ms) { return this.until(() => this.text.indexOf(needle, this.cursor) >= 0, ms); }

  /** Reads the next message head after the cursor; null if the peer closed first. */
  async head(ms) {
    const at = () => this.text.indexOf('\r\n\r\n', this.cursor);
    await this.until(() => at() >= 0, ms);
    const end = at();
    if (end < 0) return null;
    const head = this.text.slice(this.cursor, end + 4);
    this.cursor = end + 4;
    return head;
  }

  /** Reads a body framed as `head` says; leaves the cursor behind it. */
  async body(head, ms, { bodyless = false, untilClose = false } = {}) {
    const from = this.cursor;
    if (bodyless) return '';
    if (/^transfer-encoding:[^\r]*chunked/im.test(head)) {
      for (;;) {
        const line = () => this.text.indexOf('\r\n', this.cursor);
        await this.until(() => line() >= 0, ms);
        if (line() < 0) return this.text.slice(from);
        const size = parseInt(this.text.slice(this.cursor, line()), 16);
        if (Number.isNaN(size)) return this.text.slice(from);
        if (size === 0) {
          const tail = () => this.text.startsWith('\r\n', line() + 2) ? line() + 4 : (i => i < 0 ? -1 : i + 4)(this.text.indexOf('\r\n\r\n', line() + 2));
          await this.until(() => tail() >= 0, ms);
          if (tail() < 0) return this.text.slice(from);
          this.cursor = tail();
          return this.text.slice(from, this.cursor);
        }
        const next = line() + 2 + size + 2;
        await this.until(() => this.text.length >= next, ms);
        if (this.text.length < next) return this.text.slice(from);
        this.cursor = next;
      }
    }
    const length = /^content-length:\s*(\d+)/im.exec(head);
    if (length) {
      const end = from + Number(length[1]);
      await this.until(() => this.text.length >= end, ms);
      this.cursor = Math.min(end, this.text.length);
    } else if (untilClose) {
      await this.until(() => false, ms);
      this.cursor = this.text.length;
    }
    return this.text.slice(from, this.cursor);
  }

  /** Client side: waits for the next whole response (1xx skipped) and returns its text. */
  async response({ head: isHead = false, ms = 8000 } = {}) {
    const from = this.cursor;
    for (;;) {
      const head = await this.head(ms);
      if (head === null) return this.text.slice(from);
      const status = Number(head.slice(9, 12));
      if (status >= 100 && status < 200 && status !== 101) continue;
      await this.body(head, ms, { bodyless: isHead || status === 101 || status === 204 || status === 304, untilClose: true });
      return this.text.slice(from, this.cursor);
    }
  }

  /** Upstream side: waits for the next whole request; null once the peer has closed. */
  async request(ms = 30000) {
    const from = this.cursor;
    const head = await this.head(ms);
    if (head === null) return null;
    await this.body(head, ms);
    return this.text.slice(from, this.cursor);
  }

  /** Waits until nothing has happened for `ms` or the peer has closed. */
  async settle(ms) {
    while (this.state === 'open') {
      const left = this.lastActivity + ms - Date.now();
      if (left <= 0) return;
      await this.until(() => false, left);
    }
  }
}

/** Opens a client connection; `options.tls` are tls.connect options. Rejects if it can't. */
export function connect(port, options = {}) {
  return new Promise((resolve, reject) => {
    const base = { port, host: '127.0.0.1', allowHalfOpen: true, ...options.socket };
    const socket = options.tls ? tls.connect({ ...base, rejectUnauthorized: false, ...options.tls }) : net.connect(base);
    socket.setNoDelay(true);
    socket.once('error', reject);
    socket.once(options.tls ? 'secureConnect' : 'connect', () => {
      const wire = new Wire(socket);
      socket.off('error', reject);
      wire.localPort = socket.localPort;
      resolve(wire);
    });
  });
}

/** A TCP (or TLS) server whose connections run `script(wire, upstream)`; every connection is kept in `wires`. */
export class RawUpstream {
  wires = [];
  count = 0; // requests answered so far: shared by all connections, for scripts that answer the n-th request differently

  constructor(script, options = {}) {
    this.script = script;
    const accept = socket => {
      const wire = new Wire(socket);
      socket.setNoDelay(true);
      if (options.tls) wire.tls = { servername: socket.servername || null, alpn: socket.alpnProtocol || null };
      this.wires.push(wire);
      Promise.resolve(this.script(wire, this)).catch(error => { wire.error = String(error); });
    };
    this.server = options.tls ? tls.createServer({ allowHalfOpen: true, ...options.tls }, accept) : net.createServer({ allowHalfOpen: true }, accept);
    this.server.on('tlsClientError', error => { this.tlsError = error.code; });
    this.server.on('error', () => {});
  }

  listen() {
    return new Promise(resolve => this.server.listen(0, '127.0.0.1', () => { this.port = this.server.address().port; resolve(this); }));
  }

  get lastActivity() { return Math.max(0, ...this.wires.map(w => w.lastActivity)); }

  /** What was seen, in order of connections. */
  saw() {
    return this.wires.map(w => ({ ...(w.tls && { tls: w.tls }), bytes: w.text, state: w.state === 'reset' ? 'closed' : w.state }));
  }

  close() {
    for (const w of this.wires) w.destroy();
    this.server.close();
  }
}

/**
 * A script that answers the n-th request with the n-th of `responses` (the last one from then on). A response is a string of bytes, a number of
 * milliseconds to wait, 'end' / 'reset' as { end: true } / { reset: true }, a function of (wire, request), or an array of these.
 */
export function replies(...responses) {
  return async (wire, upstream) => {
    for (;;) {
      const request = await wire.request();
      if (request === null) { wire.end(); return; }
      const step = responses[Math.min(upstream.count++, responses.length - 1)];
      await act(wire, step, request);
    }
  };
}

/** Like replies, but answers before the body is over: 300 ms after the head, so that what the client sent with it has come too. */
export function repliesAtHead(...responses) {
  return async (wire, upstream) => {
    const head = await wire.head(30000);
    if (head === null) { wire.end(); return; }
    await sleep(300);
    await act(wire, responses[Math.min(upstream.count++, responses.length - 1)], head);
    await wire.until(() => false, 30000);
    wire.end();
  };
}

async function act(wire, step, request) {
  if (Array.isArray(step)) { for (const s of step) await act(wire, s, request); return; }
  if (typeof step === 'string') return wire.write(step);
  if (typeof step === 'number') return sleep(step);
  if (typeof step === 'function') return act(wire, await step(wire, request) ?? [], request);
  if (step.end) { wire.end(); return; }
  if (step.reset) { await sleep(300); wire.reset(); } // a RST takes along what was sent before and is not read yet
}

/** A response with a content-length body. `headers` is text lines ending in \r\n. */
export function ok(body = 'ok', headers = '', status = '200 OK') {
  return `HTTP/1.1 ${status}\r\n${headers}content-length: ${body.length}\r\n\r\n${body}`;
}
