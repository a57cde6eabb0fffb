// Frames that cost their sender nothing: what ends a connection of either side, and how it is counted.
import { suite, req, h2upstream } from '../lib/suite.mjs';
import { replies, ok, sleep, RawUpstream } from '../lib/raw.mjs';
import * as F from '../lib/h2frames.mjs';

const H = { log: { log_format: { text_format_source: { inline_string: '%PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n' } } } };
const hcm = (o) => ({ hcm: { http2_protocol_options: o } });
const join = (n, frame) => Buffer.concat(Array.from({ length: n }, (_, i) => typeof frame === 'function' ? frame(i) : frame));
const priority = F.frame(F.TYPE.PRIORITY, 0, 1, Buffer.from([0, 0, 0, 0, 15]));
const update = (stream, by = 1) => { const p = Buffer.alloc(4); p.writeUInt32BE(by); return F.frame(F.TYPE.WINDOW_UPDATE, 0, stream, p); };
const ping = F.frame(F.TYPE.PING, 0, 0, Buffer.alloc(8));
const open = (stream = 1, path = '/') => F.headers(stream, F.get(path, [], 'POST'), { end: false });
const view = { view: t => F.describe(t).join('\r\n') };

/** What stands between two pauses is one write. */
const written = async (c, list) => {
  let now = [];
  for (const x of [...list, 0]) {
    if (typeof x !== 'number') { now.push(x); continue; }
    c.write(Buffer.concat(now));
    now = [];
    if (x) await sleep(x);
  }
};
/** Sends raw frames behind the preface; a number is a pause in ms. */
const frames = (...list) => ({ ...view, client: async ctx => {
  const c = await ctx.connect();
  await written(c, [Buffer.from(F.PREFACE), F.settings(), ...list]);
} });
/** Waits until `n` streams have their HEADERS. */
const answered = (c, n) => c.until(() => F.describe(c.text).filter(l => l.startsWith('HEADERS')).length >= n);
/** A client that does not read while it sends. */
const deaf = (...list) => ({ client: async ctx => {
  const c = await ctx.connect('main', { hidden: true });
  c.write(Buffer.concat([Buffer.from(F.PREFACE), F.settings()]));
  await sleep(300);
  c.socket.pause();
  for (const x of list) { if (typeof x === 'number') await sleep(x); else c.write(x); }
  await sleep(500);
  c.socket.resume();
  await c.settle(1200);
  return { closed: c.state !== 'open' };
}, settle: 0 });
/** An upstream that sends frames once a request is there, then answers it. */
const floods = (...bytes) => ({ make: () => new RawUpstream(async wire => {
  wire.write(F.settings([]));
  await wire.until(() => wire.text.length > 24 && F.describe(wire.text).some(l => l.startsWith('HEADERS')));
  wire.write(F.frame(F.TYPE.SETTINGS, 1, 0));
  for (const x of bytes) { if (typeof x === 'number') await sleep(x); else wire.write(x); }
}) });
const answer = Buffer.concat([F.headers(1, [[':status', '200']], { end: false }), F.data(1, 'ok')]);
const fromUpstream = (o, ...bytes) => ({ clusters: { u: h2upstream(o) }, upstreams: { u: floods(...bytes) }, send: req(), viewUpstream: saw => saw.map(w => ({ ...w, bytes: F.describe(w.bytes).join('\r\n') })), ...H });
/** A header block that is too much in a way that no honest client has: Envoy resets the stream, plenipo closes the connection. */
const calm = { differs: { id: 'h2-calm', envoy: t => t.startsWith('client 1 (open):\n  RST_STREAM 1 INTERNAL_ERROR\nupstream u: no connection'), plenipo: t => t === 'client 1 (closed):\n  GOAWAY last=0 ENHANCE_YOUR_CALM\nupstream u: no connection' } };
const slow = { upstreams: { u: replies([1000, ok()]) } };

export default [suite('h2-floods', [
  { name: 'PRIORITY: 200 with one stream', ...slow, ...frames(F.headers(1, F.get()), join(200, priority)), ...H },
  { name: 'PRIORITY: 201 with one stream', ...slow, ...frames(F.headers(1, F.get()), join(201, priority)), ...H },
  { name: 'PRIORITY: 101 without a stream', ...frames(join(101, priority)), ...H },
  { name: 'PRIORITY: 100 behind an answered stream', ...frames(F.headers(1, F.get()), 700, join(100, priority)), ...H },
  { name: 'PRIORITY: 101 behind an answered stream', ...frames(F.headers(1, F.get()), 700, join(101, priority)), ...H },
  { name: 'PRIORITY: a limit of 1', ...hcm({ max_inbound_priority_frames_per_stream: 1 }), ...slow, ...frames(F.headers(1, F.get()), join(3, priority)), ...H },
  { name: 'PRIORITY: a limit of 1, kept', ...hcm({ max_inbound_priority_frames_per_stream: 1 }), ...slow, ...frames(F.headers(1, F.get()), join(2, priority)), ...H },
  { name: 'PRIORITY: a limit of 0', ...hcm({ max_inbound_priority_frames_per_stream: 0 }), ...frames(F.headers(1, F.get()), priority), ...H },
  { name: 'WINDOW_UPDATE: 7 with one stream', ...slow, ...frames(F.headers(1, F.get()), join(7, update(0))), ...H },
  { name: 'WINDOW_UPDATE: 8 with one stream', ...slow, ...frames(F.headers(1, F.get()), join(8, update(0))), ...H },
  { name: 'WINDOW_UPDATE: 6 without a stream', ...frames(join(6, update(0))), ...H },
  { name: 'WINDOW_UPDATE: 25 behind an answer of one or two DATA frames', ...frames(F.headers(1, F.get()), 700, join(25, update(0))), ...H },
  { name: 'WINDOW_UPDATE: 48 behind an answer of one or two DATA frames', ...frames(F.headers(1, F.get()), 700, join(48, update(0))), ...H },
  { name: 'WINDOW_UPDATE: a limit of 1 for a DATA frame', ...hcm({ max_inbound_window_update_frames_per_data_frame_sent: 1 }), ...frames(F.headers(1, F.get()), 700, join(10, update(0))), ...H },
  { name: 'empty DATA: one', ...frames(open(), F.data(1, '', false), F.data(1, 'x')), ...H },
  { name: 'empty DATA: two', ...frames(open(), F.data(1, '', false), F.data(1, '', false), F.data(1, 'x')), ...H },
  { name: 'empty DATA: two with data between', ...frames(F.headers(1, F.get('/', [['content-length', '2']], 'POST'), { end: false }), F.data(1, '', false), F.data(1, 'y', false), F.data(1, '', false), F.data(1, 'x')), ...H },
  { name: 'empty DATA: only padding', ...frames(open(), F.frame(0, F.FLAG.PADDED, 1, Buffer.from([2, 0, 0])), F.frame(0, F.FLAG.PADDED, 1, Buffer.from([2, 0, 0])), F.data(1, 'x')), ...H },
  { name: 'empty DATA: a limit of 0', ...hcm({ max_consecutive_inbound_frames_with_empty_payload: 0 }), ...frames(open(), F.data(1, '', false), F.data(1, 'x')), ...H },
  { name: 'empty DATA: a limit of 5', ...hcm({ max_consecutive_inbound_frames_with_empty_payload: 5 }), ...frames(open(), join(5, F.data(1, '', false)), F.data(1, 'x')), ...H },
  { name: 'empty CONTINUATION: two', ...frames(F.frame(1, 1, 1, F.encode(F.get())), F.frame(9, 0, 1), F.frame(9, 0, 1), F.frame(9, 4, 1)) },
  { name: 'empty HEADERS', ...frames(F.frame(1, 0, 1), F.frame(9, 4, 1, F.encode(F.get()))) },
  { name: 'CONTINUATION: a header each, without end', ...frames(F.frame(1, 1, 1, F.encode(F.get())), join(500, i => F.frame(9, 0, 1, F.encode([[`x-${i}`, '1']])))), ...calm },
  { name: 'CONTINUATION: five with a header each', ...frames(F.frame(1, 1, 1, F.encode(F.get())), join(5, i => F.frame(9, i === 4 ? 4 : 0, 1, F.encode([[`x-${i}`, '1']])))), ...H },
  { name: 'HPACK: one large value named 4000 times', ...frames(F.frame(1, 5, 1, Buffer.concat([F.encode(F.get()), Buffer.from([0x40, 3]), Buffer.from('x-a'), Buffer.from([0x7f, 0x81, 0x1e]), Buffer.alloc(3968, 'v'), Buffer.alloc(4000, 0xbe)]))), ...calm },
  { name: 'control frames: 900 PING that a deaf client does not see answered', ...deaf(join(900, ping)) },
  { name: 'control frames: 20000 PING of a deaf client', ...deaf(join(20000, ping)) },
  { name: 'control frames: 20000 SETTINGS of a deaf client', ...deaf(join(20000, F.settings([]))) },
  { name: 'control frames: a limit of 10', ...hcm({ max_outbound_control_frames: 10 }), ...slow, ...frames(F.headers(1, F.get()), join(60, ping)), ...H },
  { name: 'control frames: 100 PING answered in turn under a limit of 10', ...hcm({ max_outbound_control_frames: 10 }), ...view, client: async ctx => {
    const c = await ctx.connect('main', { hidden: true }); c.write(Buffer.concat([Buffer.from(F.PREFACE), F.settings()])); await sleep(100);
    for (let i = 0; i < 100; i++) { const had = c.text.length; c.write(ping); await c.until(() => c.text.length > had, 1000); }
    await sleep(100); return { state: c.state };
  } },
  { name: 'control frames: acknowledgements are answered by nothing', ...hcm({ max_outbound_control_frames: 10 }), ...frames(join(50, F.frame(F.TYPE.PING, 1, 0, Buffer.alloc(8))), F.headers(1, F.get())), ...H },
  { name: 'outbound frames: large answers under a limit of 10', differs: { id: 'h2-outbound-frames', envoy: t => t.includes('"closed": true'), plenipo: t => t.includes('"closed": false') }, ...hcm({ max_outbound_frames: 10 }), upstreams: { u: replies(ok('z'.repeat(1 << 20))) }, ...deaf(update(0, 1 << 28), F.headers(1, F.get()), update(1, 1 << 28), F.headers(3, F.get()), F.headers(5, F.get()), F.headers(7, F.get()), F.headers(9, F.get()), F.headers(11, F.get())) },
  { name: 'rapid reset: 249 streams', upstreams: { u: replies([3000, ok()]) }, client: async ctx => { const c = await ctx.connect('main', { hidden: true }); c.write(Buffer.concat([Buffer.from(F.PREFACE), F.settings()])); for (let i = 0; i < 249; i++) { c.write(F.headers(1 + 2 * i, F.get())); await sleep(1); c.write(F.rst(1 + 2 * i)); } await c.settle(800); return { state: c.state }; }, viewUpstream: () => [], stats: [/downstream_rq_too_many_premature_resets/] },
  { name: 'rapid reset: 251 streams', upstreams: { u: replies([3000, ok()]) }, client: async ctx => { const c = await ctx.connect('main', { hidden: true }); c.write(Buffer.concat([Buffer.from(F.PREFACE), F.settings()])); for (let i = 0; i < 251; i++) { c.write(F.headers(1 + 2 * i, F.get())); await sleep(1); c.write(F.rst(1 + 2 * i)); } await c.settle(800); return { open: c.state === 'open' }; }, viewUpstream: () => [], stats: [/downstream_rq_too_many_premature_resets/] },
  { name: 'rapid reset: 240 streams in one write', upstreams: { u: replies([3000, ok()]) }, client: async ctx => { const c = await ctx.connect('main', { hidden: true }); c.write(Buffer.concat([Buffer.from(F.PREFACE), F.settings(), join(240, i => Buffer.concat([F.headers(1 + 2 * i, F.get()), F.rst(1 + 2 * i)]))])); await c.settle(800); return { state: c.state }; }, viewUpstream: () => [], stats: [/downstream_rq_too_many_premature_resets/] },
  { name: 'rapid reset: 260 streams that were answered', routes: [{ match: { prefix: '/' }, direct_response: { status: 200 } }], upstreams: {}, client: async ctx => { const c = await ctx.connect('main', { hidden: true }); c.write(Buffer.concat([Buffer.from(F.PREFACE), F.settings()])); for (let i = 0; i < 260; i++) { c.write(F.headers(1 + 2 * i, F.get('/', [], 'POST'), { end: false })); await answered(c, i + 1); c.write(F.rst(1 + 2 * i)); } await c.settle(500); return { state: c.state }; }, stats: [/downstream_rq_too_many_premature_resets/] },
  // of an upstream
  { name: 'upstream: PRIORITY', ...fromUpstream({}, join(300, priority), answer) },
  { name: 'upstream: PRIORITY under a limit of 1', ...fromUpstream({ max_inbound_priority_frames_per_stream: 1 }, join(3, priority), 100, answer) },
  { name: 'upstream: WINDOW_UPDATE', ...fromUpstream({}, join(300, update(0)), 100, answer) },
  { name: 'upstream: empty DATA', ...fromUpstream({}, F.headers(1, [[':status', '200']], { end: false }), F.data(1, '', false), F.data(1, '', false), 100, F.data(1, 'ok')) },
  { name: 'upstream: empty DATA under a limit of 0', ...fromUpstream({ max_consecutive_inbound_frames_with_empty_payload: 0 }, F.headers(1, [[':status', '200']], { end: false }), F.data(1, '', false), 100, F.data(1, 'ok')) },
  { name: 'upstream: PING', ...fromUpstream({}, join(20000, ping), 100, answer) },
  { name: 'upstream: SETTINGS', ...fromUpstream({}, join(20000, F.settings([])), 100, answer) },
  { name: 'upstream: a few SETTINGS', ...fromUpstream({}, join(20, F.settings([])), answer) },
  { name: 'upstream: PING under a limit of 10', ...fromUpstream({ max_outbound_control_frames: 10 }, join(200, ping), 100, answer) },
  { name: 'upstream: CONTINUATION, a header each, without end', differs: { id: 'h2-calm', envoy: t => t.includes('RST_STREAM 1 INTERNAL_ERROR') && t.includes('503 UR'), plenipo: t => t.includes('GOAWAY last=0 ENHANCE_YOUR_CALM') && t.includes('502 UPE') }, ...fromUpstream({}, F.frame(1, 0, 1, F.encode([[':status', '200']])), join(500, i => F.frame(9, 0, 1, F.encode([[`x-${i}`, '1']])))) },
  { name: 'upstream: empty CONTINUATION', ...fromUpstream({}, F.frame(1, 0, 1, F.encode([[':status', '200']])), F.frame(9, 0, 1), F.frame(9, 0, 1), F.frame(9, 4, 1), F.data(1, 'ok')) },
  { name: 'upstream: HPACK, one large value named 4000 times', differs: { id: 'h2-calm', envoy: t => t.includes('RST_STREAM 1 INTERNAL_ERROR') && t.includes('503 UR'), plenipo: t => t.includes('GOAWAY last=0 ENHANCE_YOUR_CALM') && t.includes('502 UPE') }, ...fromUpstream({}, F.frame(1, 5, 1, Buffer.concat([F.encode([[':status', '200']]), Buffer.from([0x40, 3]), Buffer.from('x-a'), Buffer.from([0x7f, 0x81, 0x1e]), Buffer.alloc(3968, 'v'), Buffer.alloc(4000, 0xbe)]))) },
  { name: 'upstream: HPACK, an index that is not there', differs: { id: 'h2-error-codes', envoy: t => t.includes('COMPRESSION_ERROR'), plenipo: t => t.includes('GOAWAY last=0 PROTOCOL_ERROR') && t.includes('502 UPE') }, ...fromUpstream({}, F.frame(1, 5, 1, Buffer.from([0x88, 0xfe]))) },
  { name: 'upstream: interim answers without end', ...fromUpstream({}, join(300, () => F.headers(1, [[':status', '103'], ['x-a', '1']], { end: false })), 200, answer) },
  { name: 'upstream: resets of streams that never were', differs: { id: 'h2-says-why', envoy: t => !t.includes('GOAWAY') && t.includes('protocol_error'), plenipo: t => t.includes('GOAWAY last=0 PROTOCOL_ERROR') && t.includes('UPE upstream_reset_before_response_started{protocol_error}') }, ...fromUpstream({}, join(50, i => F.rst(3 + 2 * i)), 200, answer) },
  { name: 'upstream: a stream of its own', differs: { id: 'h2-says-why', envoy: t => !t.includes('GOAWAY') && t.includes('protocol_error'), plenipo: t => t.includes('GOAWAY last=0 PROTOCOL_ERROR') && t.includes('UPE upstream_reset_before_response_started{protocol_error}') }, ...fromUpstream({}, F.headers(2, [[':status', '200']]), 200, answer) },
  { name: 'upstream: PUSH_PROMISE', differs: { id: 'h2-says-why', envoy: t => !t.includes('GOAWAY') && t.includes('protocol_error'), plenipo: t => t.includes('GOAWAY last=0 PROTOCOL_ERROR') && t.includes('UPE upstream_reset_before_response_started{protocol_error}') }, ...fromUpstream({}, F.frame(5, 4, 1, Buffer.concat([Buffer.from([0, 0, 0, 2]), F.encode(F.get('/pushed'))])), 200, answer) },
  { name: 'upstream: GOAWAY a hundred times', differs: { id: 'h2-says-why', envoy: t => !/u connection[^]*GOAWAY/.test(t) && t.includes('200 -'), plenipo: t => t.includes('GOAWAY last=0 NO_ERROR') && t.includes('200 -') }, ...fromUpstream({}, join(100, F.frame(7, 0, 0, Buffer.from([0, 0, 0, 1, 0, 0, 0, 0]))), 200, answer) },
  { name: 'upstream: pseudo-headers of a request', differs: { id: 'h2-says-why', envoy: t => t.includes('502 UPE') && t.includes('upstream u connection 1 (closed)'), plenipo: t => t.includes('502 UPE') && t.includes('upstream u connection 1 (open)') }, ...fromUpstream({}, F.headers(1, [[':status', '200'], [':path', '/x']]), 200) },
  { name: 'upstream: two :status', differs: { id: 'h2-says-why', envoy: t => t.includes('502 UPE') && t.includes('upstream u connection 1 (closed)'), plenipo: t => t.includes('502 UPE') && t.includes('upstream u connection 1 (open)') }, ...fromUpstream({}, F.headers(1, [[':status', '200'], [':status', '204']]), 200) },
  { name: 'upstream: a colon in a name, LF in a value', differs: { id: 'h2-says-why', envoy: t => !t.includes('GOAWAY') && t.includes('protocol_error'), plenipo: t => t.includes('GOAWAY last=0 PROTOCOL_ERROR') && t.includes('UPE upstream_reset_before_response_started{protocol_error}') }, ...fromUpstream({}, F.headers(1, [[':status', '200'], ['x:a', '1'], ['x-b', '1\nx-c: 2']]), 200) },
  { name: 'upstream: a few PING', ...fromUpstream({}, join(20, ping), answer) },
]), suite('h2-flood-stats', [
  { name: 'each flood is counted', ...slow, client: async ctx => {
    const counted = {};
    for (const [name, bytes] of Object.entries({
      priority: [F.headers(1, F.get()), join(201, priority)], update: [F.headers(1, F.get()), join(8, update(0))], empty: [open(), join(2, F.data(1, '', false))],
      control: [join(2000, F.settings([]))], reset: [F.headers(1, F.get()), 300, F.rst(1), 300], trailers: [open(), F.data(1, 'x', false), F.headers(1, [['x-t', '1']])], goaway: [F.data(0, 'x')] })) {
      const c = await ctx.connect('main', { hidden: true });
      c.write(Buffer.concat([Buffer.from(F.PREFACE), F.settings()]));
      for (const x of bytes) { if (typeof x === 'number') await sleep(x); else c.write(x); }
      await c.until(() => false, 300);
      c.destroy();
      counted[name] = (await ctx.admin('/stats')).split('\n').filter(l => /^http2\./.test(l) && !/: 0$/.test(l) && !/: P|No recorded/.test(l));
    }
    return counted;
  }, stats: [/downstream_cx_protocol_error|downstream_cx_destroy.*active_rq|downstream_rq_rx_reset|downstream_rq_tx_reset/], viewUpstream: () => [], settle: 0 },
])];
