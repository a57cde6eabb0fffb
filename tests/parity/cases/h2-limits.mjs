// Limits of Http2ProtocolOptions on what waits to be written and on how many streams a client resets.
import { suite, h2upstream } from '../lib/suite.mjs';
import { replies, ok, sleep, RawUpstream } from '../lib/raw.mjs';
import * as F from '../lib/h2frames.mjs';

const hcm = o => ({ hcm: { http2_protocol_options: o } });
const update = (stream, by = 1) => { const p = Buffer.alloc(4); p.writeUInt32BE(by); return F.frame(F.TYPE.WINDOW_UPDATE, 0, stream, p); };
const hello = Buffer.concat([Buffer.from(F.PREFACE), F.settings()]);
const wide = Buffer.concat([F.settings([[1, 0], [4, 1 << 28]]), update(0, 1 << 28)]);
const join = (n, frame) => Buffer.concat(Array.from({ length: n }, (_, i) => frame(i)));
const direct = [{ match: { prefix: '/big' }, route: { cluster: '$u' } }, { match: { prefix: '/' }, direct_response: { status: 200 } }];
/** What of http2.outbound_* is not 0; how many frames wait depends on the sockets. */
const counted = async ctx => (await ctx.admin('/stats')).split('\n').filter(l => /^http2\.outbound.*flood/.test(l));

/** A client that stops reading, asks for an answer that fills the socket, then for `more` small ones. */
const deaf = more => ({ upstreams: { u: replies(ok('z'.repeat(8 << 20))) }, routes: direct, viewUpstream: () => [], settle: 0, client: async ctx => {
  const c = await ctx.connect('main', { hidden: true });
  c.write(Buffer.concat([Buffer.from(F.PREFACE), wide]));
  await sleep(50);
  c.socket.pause();
  c.write(F.headers(1, F.get('/big')));
  await sleep(700);
  c.write(join(more, i => F.headers(3 + 2 * i, F.get('/small'))));
  await sleep(600);
  const told = await counted(ctx);
  c.socket.resume();
  await c.settle(1500);
  return { open: c.state === 'open', told };
} });

/** Resets streams 3, 5, ... `gap` ms apart, while stream 1 is under way. */
const resets = (o, n, gap) => ({ ...hcm(o), upstreams: { u: replies([1500, ok()]) }, viewUpstream: () => [], view: t => F.describe(t).join('\r\n'), stats: [/downstream_cx_protocol_error/], client: async ctx => {
  const c = await ctx.connect();
  c.write(hello);
  c.write(F.headers(1, F.get('/live')));
  for (let i = 1; i <= n; i++) { await sleep(gap); c.write(Buffer.concat([F.headers(1 + 2 * i, F.get()), F.rst(1 + 2 * i)])); }
} });

/** An upstream of HTTP/2 that reads nothing once a request is there. */
const deafUpstream = { make: () => new RawUpstream(async wire => {
  wire.write(Buffer.concat([wide, F.frame(F.TYPE.SETTINGS, 1, 0)]));
  await wire.until(() => wire.text.length > 24 && F.describe(wire.text).some(l => l.startsWith('HEADERS')));
  wire.socket.pause();
}) };
const toDeaf = (o, more) => ({ clusters: { u: h2upstream(o) }, upstreams: { u: deafUpstream }, viewUpstream: () => [], settle: 0, client: async ctx => {
  const c = await ctx.connect('main', { hidden: true });
  c.write(hello);
  await sleep(100);
  c.write(Buffer.concat([F.frame(F.TYPE.SETTINGS, 1, 0), F.headers(1, F.get('/big', [], 'POST'), { end: false }), join(512, () => F.data(1, 'z'.repeat(16384), false))]));
  await sleep(900);
  c.write(join(more, i => F.headers(3 + 2 * i, F.get(`/${i}`))));
  await sleep(700);
  return { flooded: /outbound_flood: [1-9]/.test(await ctx.admin(`/stats?filter=${ctx.id}_u.http2.outbound_flood`)) };
} });

export default suite('h2-limits', [
  { name: 'max_outbound_frames: a client that does not read', ...hcm({ max_outbound_frames: 100 }), ...deaf(120) },
  { name: 'max_outbound_frames: an upstream that does not read', ...toDeaf({ max_outbound_frames: 80 }, 100) },
  { name: 'max_outbound_frames: an upstream that does not read, within the limit', ...toDeaf({ max_outbound_frames: 1000 }, 50) },
  { name: 'stream_reset_burst: one too many', ...resets({ stream_reset_burst: 3, stream_reset_rate: 0 }, 4, 30) },
  { name: 'stream_reset_burst: as many as are allowed', ...resets({ stream_reset_burst: 4, stream_reset_rate: 0 }, 4, 30) },
  { name: 'stream_reset_burst: none is allowed', ...resets({ stream_reset_burst: 0 }, 1, 30) },
  { name: 'stream_reset_rate: more with time', ...resets({ stream_reset_burst: 2, stream_reset_rate: 2 }, 3, 1100) },
  { name: 'stream_reset_burst: of a stream that was answered', ...hcm({ stream_reset_burst: 3, stream_reset_rate: 0 }), upstreams: {}, routes: direct.slice(1), view: t => F.describe(t).join('\r\n'), client: async ctx => {
    const c = await ctx.connect(); c.write(Buffer.concat([hello, F.headers(1, F.get())])); await sleep(100); c.write(join(8, () => F.rst(1)));
  } },
]);
