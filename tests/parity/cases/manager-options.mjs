// Options of the connection manager and of its protocols that few other cases name: limits of heads, ports, HTTP/1.0, windows, floods.
import { suite, req, TYPE } from '../lib/suite.mjs';
import { replies, ok, sleep } from '../lib/raw.mjs';
import { h2request } from '../lib/h2.mjs';
import * as F from '../lib/h2frames.mjs';

const LOG = { log: { log_format: { text_format_source: { inline_string: '%PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n' } } } };
const KB = 1024;
const long = (bytes, header = 'X-Long') => `${header}: ${'a'.repeat(bytes)}\r\n`;
const short = { view: t => t.replace(/a{100,}/g, m => `<${m.length}>`), viewUpstream: saw => saw.map(w => ({ ...w, bytes: w.bytes.replace(/a{100,}/g, m => `<${m.length}>`) })) };
const h2 = (o, more = {}) => ({ hcm: { http2_protocol_options: o, ...more } });
const uuid = (config = {}) => ({ request_id_extension: { typed_config: { '@type': `${TYPE}.extensions.request_id.uuid.v3.UuidRequestIdConfig`, ...config } } });
const ID = '11111111-2222-4333-8444-555555555555';
const portless = t => t.replace(/a\.test:\d{5}/g, 'a.test:<port>');
const hosts = (...list) => async ctx => { for (const h of list) { const c = await ctx.connect(); c.write(`GET / HTTP/1.1\r\nHost: ${h.replace('PORT', ctx.port('main'))}\r\n\r\n`); await c.response(); } };
const told = async ctx => { const s = await ctx.h2(); await h2request(s, {}); const r = s.remoteSettings; return { table: r.headerTableSize, window: r.initialWindowSize, streams: r.maxConcurrentStreams }; };
const frames = (...list) => ({ view: t => F.describe(t).join('\r\n'), client: async ctx => { const c = await ctx.connect(); c.write(Buffer.concat([Buffer.from(F.PREFACE), F.settings(), ...list])); await sleep(100); } });
const join = (n, frame) => Buffer.concat(Array.from({ length: n }, (_, i) => frame(i)));
/** How much of a body a client may send before the proxy gives it more room: an upstream that does not read keeps it from doing so. */
const room = async ctx => {
  const c = await ctx.connect('main', { hidden: true });
  c.write(Buffer.concat([Buffer.from(F.PREFACE), F.settings(), F.headers(1, F.get('/', [], 'POST'), { end: false })]));
  await sleep(300);
  let updates = { 0: 0, 1: 0 };
  for (let b = Buffer.from(c.text, 'latin1'); b.length >= 9; b = b.subarray(9 + b.readUIntBE(0, 3))) if (b[3] === F.TYPE.WINDOW_UPDATE) updates[b.readUInt32BE(5)] += b.readUInt32BE(9);
  return updates;
};

export default suite('manager-options', [
  { name: 'max_request_headers_kb: as long as allowed', ...short, ...LOG, hcm: { max_request_headers_kb: 8 }, send: [req('/', long(7 * KB))] },
  { name: 'max_request_headers_kb: longer', ...short, ...LOG, hcm: { max_request_headers_kb: 8 }, send: [req('/', long(8 * KB + 10))] },
  { name: 'max_request_headers_kb: over HTTP/2', ...LOG, hcm: { max_request_headers_kb: 8 }, client: async ctx => { const out = []; for (const n of [7, 9]) { const r = await h2request(await ctx.h2(), { 'x-long': 'a'.repeat(n * KB) }); out.push({ status: r.headers?.find(h => h[0] === ':status')?.[1], rst: r.rst }); } return out; }, viewUpstream: () => [], differs: { id: 'h2-too-large', envoy: t => t.includes('"rst": 2') && t.includes('http2.header_list_size_too_large'), plenipo: t => t.includes('"status": "431"') } },
  { name: 'max_request_headers_kb: hostile, many short lines', ...LOG, hcm: { max_request_headers_kb: 1, common_http_protocol_options: { max_headers_count: 1000 } }, send: [req('/', Array.from({ length: 200 }, (_, i) => `x-${i}: 1\r\n`).join(''))] },
  { name: 'max_request_headers_kb: hostile, a head that never ends', ...LOG, hcm: { max_request_headers_kb: 1 }, send: [`GET / HTTP/1.1\r\nHost: a.test\r\nX: ${'a'.repeat(3 * KB)}`] },

  { name: 'request_id_extension: the default', hcm: { ...uuid(), use_remote_address: true }, send: [req('/'), { res: 1 }, req('/', `X-Request-Id: ${ID}\r\n`)] },
  { name: 'request_id_extension: nothing packed, nothing sampled by it', hcm: { ...uuid({ pack_trace_reason: false, use_request_id_for_trace_sampling: false }), preserve_external_request_id: true }, send: [req('/', `X-Request-Id: ${ID}\r\n`), { res: 1 }, req('/')] },
  { name: 'request_id_extension: hostile, ids that are none', hcm: { ...uuid(), preserve_external_request_id: true, always_set_request_id_in_response: true }, send: ['x', '', ID.slice(1), `${ID}${ID}`, '\xff'].flatMap(id => [req('/', `X-Request-Id: ${id}\r\n`), { res: 1 }]) },

  { name: 'strip_matching_host_port: of this listener only', hcm: { strip_matching_host_port: true }, client: hosts('a.test:PORT', 'a.test', 'a.test:80'), viewUpstream: saw => saw.map(w => ({ ...w, bytes: portless(w.bytes) })) },
  { name: 'strip_matching_host_port: over HTTP/2', hcm: { strip_matching_host_port: true }, client: async ctx => { const out = []; for (const port of [ctx.port('main'), 80]) out.push(await h2request(await ctx.h2(), { ':authority': `a.test:${port}` })); return out; }, viewUpstream: saw => saw.map(w => ({ ...w, bytes: portless(w.bytes) })) },
  { name: 'strip_matching_host_port: hostile forms', hcm: { strip_matching_host_port: true }, client: hosts('a.test:PORT:PORT', '[::1]:PORT', ':PORT', 'a.test:+PORT'), view: portless, viewUpstream: saw => saw.map(w => ({ ...w, bytes: portless(w.bytes).replace(/:\d{5}/g, ':<port>') })) },

  { name: 'strip_any_host_port: hostile forms', hcm: { strip_any_host_port: true }, client: hosts('a.test:+80', 'a.test:8x', 'a.test:', 'a.test:-0', 'a.test:-1', 'a.test:+', 'a.test:4294967296', 'a.test:4294967295', 'a.test:0x50', 'a:b:80', '[::1]:+80', 'a.test:+08') },
  { name: 'strip_trailing_host_dot: hostile ports', hcm: { strip_trailing_host_dot: true }, client: hosts('a.test.:x', 'a.test.:', 'a.test.:+81', 'a.test:x.', '[::1].:80', 'a.:b.:80') },
  { name: 'ignore_port_in_host_matching: hostile ports', routeConfig: { name: 'r', ignore_port_in_host_matching: true, virtual_hosts: ['a.test', '*'].map(d => ({ name: d, domains: [d], routes: [{ match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: d } } }] })) }, upstreams: {}, client: hosts('a.test:80', 'a.test:+80', 'a.test:x', 'a.test:', 'a.test:80:80', 'a.test.:80', 'A.TEST:80') },

  { name: 'default_host_for_http_10: where there is none', ...LOG, hcm: { http_protocol_options: { accept_http_10: true, default_host_for_http_10: 'ten.test' } }, send: ['GET / HTTP/1.0\r\n\r\n'] },
  { name: 'default_host_for_http_10: not in place of one, nor for HTTP/1.1', ...LOG, hcm: { http_protocol_options: { accept_http_10: true, default_host_for_http_10: 'ten.test' } }, client: async ctx => { for (const text of ['GET / HTTP/1.0\r\nHost: own.test\r\n\r\n', 'GET / HTTP/1.1\r\n\r\n']) { const c = await ctx.connect(); c.write(text); await c.response(); } }, logLines: 2 },
  { name: 'default_host_for_http_10: hostile, an empty host', ...LOG, hcm: { http_protocol_options: { accept_http_10: true, default_host_for_http_10: 'ten.test' } }, send: ['GET / HTTP/1.0\r\nHost:\r\n\r\n'] },

  { name: 'delayed_close_timeout: a client that stays', hcm: { delayed_close_timeout: '0.4s' }, send: [req('/', 'Connection: close\r\n'), { res: 1 }, 1500], stats: [/^http\.ID\.downstream_cx_delayed_close_timeout/] },
  { name: 'delayed_close_timeout: hostile, a client that goes on sending', hcm: { delayed_close_timeout: '0.4s' }, send: [req('/', 'Connection: close\r\n'), { res: 1 }, req('/smuggled'), 100, req('/smuggled')] },

  { name: 'windows: of a stream', ...h2({ initial_stream_window_size: 65536 }), client: told },
  { name: 'windows: of a connection', ...h2({ initial_stream_window_size: 65535, initial_connection_window_size: 100000 }), upstreams: { u: async wire => { wire.socket.pause(); await sleep(3000); } }, client: room, viewUpstream: () => [] },
  { name: 'windows: hostile, a client that overruns its stream', ...h2({ initial_stream_window_size: 65535, initial_connection_window_size: 1 << 20 }), upstreams: { u: async wire => { await wire.head(); wire.socket.pause(); await sleep(3000); } }, listener: { per_connection_buffer_limit_bytes: 1024 }, client: async ctx => { const c = await ctx.connect('main', { hidden: true }); c.write(Buffer.concat([Buffer.from(F.PREFACE), F.settings(), F.headers(1, F.get('/', [], 'POST'), { end: false }), join(20, () => F.data(1, 'x'.repeat(16384), false))])); await sleep(500); return F.describe(c.text).filter(l => /^(GOAWAY|RST)/.test(l)).map(l => l.split(' ').at(-1)); }, viewUpstream: () => [] },
  { name: 'hpack_table_size: the least', ...h2({ hpack_table_size: 0 }), ...frames(F.headers(1, F.get())) },
  { name: 'hpack_table_size: larger than the default', ...h2({ hpack_table_size: 65536 }), client: told },
  { name: 'hpack_table_size: hostile, an update beyond it', ...h2({ hpack_table_size: 1024 }), ...frames(F.frame(F.TYPE.SETTINGS, F.FLAG.ACK, 0), F.frame(F.TYPE.HEADERS, F.FLAG.END_HEADERS | F.FLAG.END_STREAM, 1, Buffer.concat([Buffer.from([0x3f, 0xe1, 0x3f]), F.encode(F.get())]))), differs: { id: 'h2-error-codes', envoy: t => t.includes('GOAWAY last=1 COMPRESSION_ERROR'), plenipo: t => t.includes('GOAWAY last=0 PROTOCOL_ERROR') } },
  { name: 'max_concurrent_streams: one after the other', ...h2({ max_concurrent_streams: 1 }), client: async ctx => { const s = await ctx.h2(); const out = []; for (let i = 0; i < 3; i++) out.push((await h2request(s, { ':path': `/${i}` })).body); return out; } },

  { name: 'SETTINGS flood: of 20000 frames', ...frames(join(20000, () => F.settings([]))) },
]);
