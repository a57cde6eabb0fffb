// stream_flush_timeout and flush_timeout: how long a client of HTTP/2 may take for the rest of an answer that is whole here; and the jitter of drains.
import { suite, req } from '../lib/suite.mjs';
import { replies, ok, sleep } from '../lib/raw.mjs';
import * as F from '../lib/h2frames.mjs';

const all = { prefix: '/' };
const LOG = { log: { log_format: { text_format_source: { inline_string: '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %BYTES_SENT%\n' } } } };
const to = (route = {}) => [{ match: all, route: { cluster: '$u', ...route } }];
const body = 'x'.repeat(3000);
const window = (stream, n) => { const p = Buffer.alloc(4); p.writeUInt32BE(n); return F.frame(F.TYPE.WINDOW_UPDATE, 0, stream, p); };
/** A client with a window of 100 bytes a stream, which opens it as `steps` say; frames and pauses in ms. */
const stingy = (...steps) => ({ view: t => F.describe(t).join('\r\n'), client: async ctx => {
  const c = await ctx.connect();
  c.write(Buffer.concat([Buffer.from(F.PREFACE), F.settings([[1, 0], [4, 100]]), F.frame(4, 1, 0), F.headers(1, F.get('/'))]));
  for (const step of steps) { if (typeof step === 'number') await sleep(step); else if (step === 'close') c.end(); else c.write(step); }
} });
const stats = { stats: [/^http\.ID\.downstream_rq_(idle_timeout|tx_reset|rx_reset|max_duration_reached): [1-9]/] };
const slow = (name, hcm, route, steps = [2200], more = {}) => ({ name, hcm: { stream_idle_timeout: '20s', ...hcm }, routes: to(route), upstreams: { u: replies(ok(body)) }, ...stingy(...steps), ...LOG, ...stats, ...more });

const listens = ms => ({ client: async ctx => { const begun = Date.now(); const c = await ctx.connect('main', { hidden: true }); c.write(req('/')); await c.response(); while (Date.now() - begun < ms && c.state === 'open') await sleep(20); return { state: c.state, inTime: Date.now() - begun > 450 }; } });
const old = { common_http_protocol_options: { max_connection_duration: '0.3s' } };

export default suite('flush-timeouts', [
  slow('stream_flush_timeout: a client without a window', { stream_flush_timeout: '0.4s' }),
  slow('stream_flush_timeout: is that of idle streams by default', { stream_idle_timeout: '0.4s' }),
  slow('stream_flush_timeout: the client takes all in time', { stream_flush_timeout: '1.5s' }, {}, [500, window(1, 5000), 300]),
  slow('stream_flush_timeout: hostile, a few bytes now and then', { stream_flush_timeout: '0.9s' }, {}, [300, window(1, 10), 300, window(1, 10), 1300]),
  slow('stream_flush_timeout: runs from the end of the answer', { stream_flush_timeout: '0.5s' }, {}, [2500], { upstreams: { u: replies(['HTTP/1.1 200 OK\r\ncontent-length: 3000\r\n\r\n', 'x'.repeat(2000), 1000, 'x'.repeat(1000)]) } }),
  slow('stream_flush_timeout: an answer that does not end is idle', { stream_flush_timeout: '0.2s', stream_idle_timeout: '0.8s' }, {}, [2000], { upstreams: { u: replies(['HTTP/1.1 200 OK\r\ncontent-length: 3000\r\n\r\n', 'x'.repeat(2000), 5000]) }, stats: [/downstream_rq_(idle_timeout|tx_reset): [1-9]/] }),
  slow('stream_flush_timeout: 0 is none', { stream_flush_timeout: '0s', stream_idle_timeout: '0.4s' }, {}, [1500, window(1, 5000), 200]),
  slow('stream_flush_timeout: no other limit counts', { stream_flush_timeout: '3s', stream_idle_timeout: '0.4s', common_http_protocol_options: { max_stream_duration: '0.5s' } }, {}, [1500, window(1, 5000), 200]),
  slow('stream_flush_timeout: trailers', { stream_flush_timeout: '0.4s', http_protocol_options: { enable_trailers: true } }, {}, [2200], { upstreams: { u: replies(`HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nbb8\r\n${body}\r\n0\r\nx-t: 1\r\n\r\n`) } }),
  slow('stream_flush_timeout: other streams go on', { stream_flush_timeout: '0.4s' }, {}, [1500, F.headers(3, F.get('/3')), window(3, 5000), 300], { upstreams: { u: replies(ok(body), ok(body)) }, logLines: 2 }),
  slow('stream_flush_timeout: the client closes first', { stream_flush_timeout: '3s' }, {}, [500, 'close'], { viewUpstream: () => [] }),
  slow('stream_flush_timeout: the client resets first', { stream_flush_timeout: '3s' }, {}, [500, F.rst(1), 200]),
  slow('client leaves: closes before the answer', {}, {}, [500, 'close'], { upstreams: { u: replies([1500, ok()]) }, viewUpstream: () => [] }),
  slow('client leaves: resets before the answer', {}, {}, [500, F.rst(1), 200], { upstreams: { u: replies([1500, ok()]) }, viewUpstream: () => [] }),
  slow('client leaves: closes within the answer', {}, {}, [500, 'close'], { upstreams: { u: replies(['HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nx', 1500, 'x']) }, viewUpstream: () => [] }),
  slow('client leaves: resets within the answer', {}, {}, [500, F.rst(1), 200], { upstreams: { u: replies(['HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nx', 1500, 'x']) }, viewUpstream: () => [] }),
  slow('flush_timeout: longer than the connection manager\'s', { stream_flush_timeout: '0.3s' }, { flush_timeout: '3s' }, [1200, window(1, 5000), 200]),
  slow('flush_timeout: shorter', { stream_flush_timeout: '20s' }, { flush_timeout: '0.4s' }),
  slow('flush_timeout: 0 turns it off', { stream_flush_timeout: '0.4s' }, { flush_timeout: '0s' }, [1500, window(1, 5000), 200]),
  slow('flush_timeout: idle_timeout of the route has no say', { stream_flush_timeout: '3s' }, { idle_timeout: '0.4s' }, [1500, window(1, 5000), 200]),
  slow('flush_timeout: of a route that does not forward', { stream_flush_timeout: '0.4s' }, {}, [1800], { routes: [{ match: all, direct_response: { status: 200, body: { inline_string: body } } }] }),
  slow('stream_flush_timeout: a large answer', { stream_flush_timeout: '0.4s', stream_idle_timeout: '1.2s' }, {}, [2500], { upstreams: { u: replies(ok('x'.repeat(2000000))) }, viewUpstream: () => [],
    differs: { id: 'flush-ahead', envoy: t => t.includes('200 - via_upstream 2000000'), plenipo: t => t.includes('200 SI stream_idle_timeout') } }),
  { name: 'stream_flush_timeout: the codec counts', hcm: { stream_flush_timeout: '0.3s' }, upstreams: { u: replies(ok(body)) }, client: async ctx => { const c = await ctx.connect('main', { hidden: true }); c.write(Buffer.concat([Buffer.from(F.PREFACE), F.settings([[1, 0], [4, 100]]), F.frame(4, 1, 0), F.headers(1, F.get('/'))])); await sleep(1200); return /http2\.tx_flush_timeout: [1-9]/.test(await ctx.admin('/stats')); } },
  { name: 'stream_flush_timeout: HTTP/1 knows none', hcm: { stream_flush_timeout: '0.2s' }, send: [req('/'), { res: 1 }, 600, req('/2'), { res: 1 }], upstreams: { u: replies(['HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n', 500, 'ok'], ok()) } },

  { name: 'drain_timeout_jitter: an old connection', hcm: { ...old, drain_timeout: '0.2s', drain_timeout_jitter: { value: 100 } }, ...listens(3000) },
  { name: 'drain_timeout_jitter: of 0', hcm: { ...old, drain_timeout: '0.2s', drain_timeout_jitter: { value: 0 } }, ...listens(3000) },
  { name: 'drain_timeout_jitter: a long drain stays long', hcm: { ...old, drain_timeout: '20s', drain_timeout_jitter: { value: 50 } }, ...listens(1500) },
  { name: 'drain_timeout_jitter: hostile, of a drain that takes ages', hcm: { ...old, drain_timeout: '315360000s', drain_timeout_jitter: { value: 100 } }, ...listens(1500) },
]);
