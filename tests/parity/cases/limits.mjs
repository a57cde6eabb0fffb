// Back-pressure and bounded memory; and configurations that both must refuse.
import { suite, req, h2, h2upstream } from '../lib/suite.mjs';
import { replies, ok, sleep } from '../lib/raw.mjs';

const small = { listener: { per_connection_buffer_limit_bytes: 32768 }, clusters: { u: { per_connection_buffer_limit_bytes: 32768 } } };
const MB = 1 << 20;

/** Writes until the peer stops reading or 64 MB are out; keeps how much the kernel took. */
const flood = (wire, upstream, head) => new Promise(resolve => {
  wire.write(head);
  const block = Buffer.alloc(MB, 'z');
  let sent = 0;
  const timer = setTimeout(() => resolve(), 2500);
  (function more() {
    if (sent >= 64 * MB || wire.socket.destroyed) { clearTimeout(timer); resolve(); return; }
    wire.socket.write(block, () => { sent += MB; upstream.sent = sent; more(); });
  })();
});

export default suite('limits', [
  { name: 'back-pressure: a client that does not read stops the upstream', ...small, upstreams: { u: async (wire, up) => { await wire.head(); await flood(wire, up, `HTTP/1.1 200 OK\r\ncontent-length: ${64 * MB}\r\n\r\n`); } },
    client: async ctx => { const c = await ctx.connect('main', { hidden: true }); c.socket.pause(); c.write(req('/')); await sleep(2000); return { 'the upstream was stopped before 24 MB': (ctx.upstreams.u.sent ?? 0) < 24 * MB }; }, settle: 0 },
  { name: 'back-pressure: an upstream that does not read stops the client', ...small, upstreams: { u: async wire => { await wire.head(); wire.socket.pause(); await sleep(4000); } },
    client: async ctx => { const c = await ctx.connect('main', { hidden: true }); const counter = {}; await Promise.race([flood(c, counter, `POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: ${64 * MB}\r\n\r\n`), sleep(2000)]); return { 'the client was stopped before 24 MB': (counter.sent ?? 0) < 24 * MB }; }, viewUpstream: () => [], settle: 0 },
  { name: 'back-pressure: an HTTP/2 client that does not read stops the upstream', ...small, upstreams: { u: async (wire, up) => { await wire.head(); await flood(wire, up, `HTTP/1.1 200 OK\r\ncontent-length: ${64 * MB}\r\n\r\n`); } },
    client: async ctx => { const s = await ctx.h2('main', { settings: { initialWindowSize: 65535 } }); const st = s.request({ ':path': '/', ':authority': 'a.test' }); st.on('error', () => {}); await sleep(2000); return { 'the upstream was stopped before 24 MB': (ctx.upstreams.u.sent ?? 0) < 24 * MB }; }, settle: 0 },
  { name: 'back-pressure: one slow stream does not stop another of its connection', upstreams: { u: async (wire, up) => { const h = await wire.head(); if (h.includes('/big')) await flood(wire, up, `HTTP/1.1 200 OK\r\ncontent-length: ${64 * MB}\r\n\r\n`); else wire.write(ok('small')); } },
    client: async ctx => { const s = await ctx.h2('main', { settings: { initialWindowSize: 65535 } }); const st = s.request({ ':path': '/big', ':authority': 'a.test' }); st.on('error', () => {}); st.pause(); await sleep(500);
      const r = s.request({ ':path': '/small', ':authority': 'a.test' }); let body = ''; r.on('data', d => { body += d; }); await new Promise(done => { r.once('end', done); setTimeout(done, 3000); }); return { body }; }, viewUpstream: () => [], settle: 0 },
  { name: 'back-pressure: a slow reader gets everything in the end', ...small, upstreams: { u: replies(ok('q'.repeat(4 * MB))) }, client: async ctx => { const c = await ctx.connect('main', { hidden: true }); c.write(req('/')); for (let i = 0; i < 5; i++) { c.socket.pause(); await sleep(100); c.socket.resume(); await sleep(20); } const t = await c.response(); return { body: t.split('q').length - 1 }; }, viewUpstream: () => [] },
  { name: 'back-pressure: HTTP/2 upstream and a client that does not read', listener: small.listener, clusters: { u: { ...h2upstream(), ...small.clusters.u } }, upstreams: { u: h2(async (stream, r, up) => { stream.respond({ ':status': 200 }, { sendDate: false }); up.sent = 0; const block = Buffer.alloc(MB, 'z'); (function more() { if (up.sent < 64 * MB && !stream.destroyed) stream.write(block, () => { up.sent += MB; more(); }); })(); }) },
    client: async ctx => { const c = await ctx.connect('main', { hidden: true }); c.socket.pause(); c.write(req('/')); await sleep(2000); return { 'the upstream was stopped before 40 MB': ctx.upstreams.u.sent < 40 * MB }; }, settle: 0 },
]);
