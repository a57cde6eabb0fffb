// Http2ProtocolOptions and what else the connection manager says of HTTP/2 connections.
import { suite, h2upstream } from '../lib/suite.mjs';
import { replies, ok, sleep } from '../lib/raw.mjs';
import { h2request } from '../lib/h2.mjs';
import * as F from '../lib/h2frames.mjs';

const H = { log: { log_format: { text_format_source: { inline_string: '%PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n' } } } };
const hcm = (o, more = {}) => ({ hcm: { http2_protocol_options: o, ...more } });
const view = { view: t => F.describe(t).join('\r\n') };
const frames = (...list) => ({ ...view, client: async ctx => { const c = await ctx.connect(); c.write(Buffer.concat([Buffer.from(F.PREFACE), F.settings()])); for (const x of list) { if (typeof x === 'number') await sleep(x); else c.write(x); } } });
/** What a client is told in the first SETTINGS. */
const settings = async ctx => { const s = await ctx.h2(); await h2request(s, {}); const r = s.remoteSettings; return { table: r.headerTableSize, streams: r.maxConcurrentStreams, window: r.initialWindowSize, connect: r.enableConnectProtocol }; };
const underscores = action => ({ hcm: { common_http_protocol_options: { headers_with_underscores_action: action } } });
const pings = t => { let n = 0; let b = Buffer.from(t, 'latin1'); while (b.length >= 9) { const l = b.readUIntBE(0, 3); if (b[3] === 6 && !(b[4] & 1)) n += 1; b = b.subarray(9 + l); } return n; };
/** A client that answers pings, or not, for `ms`. */
const listens = (ms, answers) => async ctx => {
  const c = await ctx.connect('main', { hidden: true });
  c.write(Buffer.concat([Buffer.from(F.PREFACE), F.settings(), F.frame(4, 1, 0)]));
  let at = 0;
  const end = Date.now() + ms;
  while (Date.now() < end && c.state === 'open') {
    await sleep(20);
    let b = Buffer.from(c.text.slice(at), 'latin1');
    while (b.length >= 9 && b.length >= 9 + b.readUIntBE(0, 3)) {
      const l = b.readUIntBE(0, 3);
      if (answers && b[3] === 6 && !(b[4] & 1)) c.write(F.frame(6, 1, 0, b.subarray(9, 9 + l)));
      b = b.subarray(9 + l);
      at += 9 + l;
    }
  }
  return { open: c.state === 'open', pings: Math.min(3, pings(c.text)) };
};

export default suite('h2-options', [
  { name: 'settings: hpack_table_size', ...hcm({ hpack_table_size: 1024 }), client: settings },
  { name: 'settings: hpack_table_size of 0', ...hcm({ hpack_table_size: 0 }), client: settings },
  { name: 'settings: windows and streams', ...hcm({ initial_stream_window_size: 70000, initial_connection_window_size: 80000, max_concurrent_streams: 3, allow_connect: true }), client: settings },
  { name: 'underscores: allowed', ...frames(F.headers(1, F.get('/', [['x_a', '1']]))), ...H },
  { name: 'underscores: dropped', ...underscores('DROP_HEADER'), ...frames(F.headers(1, F.get('/', [['x_a', '1'], ['x-b', '2'], ['y_', '3']]))), ...H },
  { name: 'underscores: rejected', ...underscores('REJECT_REQUEST'), ...frames(F.headers(1, F.get('/', [['x_a', '1']])), 100, F.headers(3, F.get('/3'))), ...H, logLines: 2 },
  { name: 'max_concurrent_streams: one stream too many', ...hcm({ max_concurrent_streams: 2 }), upstreams: { u: replies([700, ok()]) }, ...frames(Buffer.concat([1, 3, 5].map(n => F.headers(n, F.get(`/${n}`)))), 1500), viewUpstream: () => [], view: t => F.describe(t).map(l => l.split('\n')[0]).sort().join('\r\n') },
  { name: 'connection_keepalive: a client that answers', ...hcm({ connection_keepalive: { interval: '0.2s', timeout: '1.5s' } }), client: listens(2000, true) },
  { name: 'connection_keepalive: a client that does not', ...hcm({ connection_keepalive: { interval: '0.2s', timeout: '0.3s' } }), client: listens(1800, false) },
  { name: 'max_connection_duration: an idle connection', hcm: { common_http_protocol_options: { max_connection_duration: '0.3s' }, drain_timeout: '0.2s' }, client: async ctx => ({ open: (await listens(1800, true)(ctx)).open }), stats: [/downstream_cx_max_duration_reached/] },
  { name: 'idle_timeout: closes a connection without streams', hcm: { common_http_protocol_options: { idle_timeout: '0.3s' }, drain_timeout: '0.2s' }, client: async ctx => ({ open: (await listens(1800, true)(ctx)).open }), stats: [/downstream_cx_idle_timeout/] },
  { name: 'idle_timeout: a client that does not answer pings', hcm: { common_http_protocol_options: { idle_timeout: '0.3s' }, drain_timeout: '0.2s' }, client: async ctx => ({ open: (await listens(2200, false)(ctx)).open }) },
  // a malformed message ends its stream only
  ...[['override_stream_error_on_invalid_http_message', hcm({ override_stream_error_on_invalid_http_message: true })], ['stream_error_on_invalid_http_messaging', hcm({ stream_error_on_invalid_http_messaging: true })], ['stream_error_on_invalid_http_message', hcm({}, { stream_error_on_invalid_http_message: true })]].flatMap(([field, options]) => [
    { name: `${field}: a connection header`, ...options, ...frames(F.headers(1, F.get('/', [['connection', 'x']])), 100, F.headers(3, F.get('/3'))) },
    { name: `${field}: transfer-encoding`, ...options, ...frames(F.headers(1, F.get('/', [['transfer-encoding', 'chunked']])), 100, F.headers(3, F.get('/3'))) },
    { name: `${field}: no :path`, ...options, ...frames(F.headers(1, [[':method', 'GET'], [':scheme', 'http'], [':authority', 'a.test']]), 100, F.headers(3, F.get('/3'))) },
  ]),
]);
