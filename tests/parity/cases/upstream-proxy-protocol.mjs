// The PROXY protocol to hosts, what of a client's own header is passed on, and connections that only one client's requests share.
import net from 'node:net';
import tls from 'node:tls';
import fs from 'node:fs';
import { suite, req, TYPE } from '../lib/suite.mjs';
import { replies, ok, sleep } from '../lib/raw.mjs';
import { h2request } from '../lib/h2.mjs';

const CERTS = new URL('../certs', import.meta.url).pathname;
const SIGNATURE = '\r\n\r\n\0\r\nQUIT\n';
const bytes = (...numbers) => String.fromCharCode(...numbers);
const tlv = (type, value) => bytes(type, value.length >> 8, value.length & 0xff) + value;
const V4 = bytes(1, 2, 3, 4, 5, 6, 7, 8, 0x04, 0x57, 0x08, 0xae);
const V6 = bytes(0x20, 1, 0xd, 0xb8, ...Array(11).fill(0), 1, 0x20, 1, 0xd, 0xb8, ...Array(11).fill(0), 2, 0x04, 0x57, 0x08, 0xae);
const two = (...tlvs) => { const body = V4 + tlvs.join(''); return SIGNATURE + bytes(0x21, 0x11, body.length >> 8, body.length & 0xff) + body; };
const six = SIGNATURE + bytes(0x21, 0x21, 0, V6.length) + V6;
const local = SIGNATURE + bytes(0x20, 0, 0, 0);
const base64 = text => Buffer.from(text, 'latin1').toString('base64');

const raw = { name: 'envoy.transport_sockets.raw_buffer', typed_config: { '@type': `${TYPE}.extensions.transport_sockets.raw_buffer.v3.RawBuffer` } };
const secure = { name: 'envoy.transport_sockets.tls', typed_config: { '@type': `${TYPE}.extensions.transport_sockets.tls.v3.UpstreamTlsContext` } };
const socket = (config, more = {}) => ({ transport_socket: { name: 'envoy.transport_sockets.upstream_proxy_protocol', typed_config: { '@type': `${TYPE}.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport`, ...(config && { config }), transport_socket: raw, ...more } } });
const to = (config, more) => ({ clusters: { u: socket(config, more) } });
const from = (fields = {}) => ({ listener: { listener_filters: [{ name: 'envoy.filters.listener.proxy_protocol', typed_config: { '@type': `${TYPE}.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol`, ...fields } }] } });
const V2 = (more = {}) => ({ version: 'V2', ...more });
const added = (...list) => ({ added_tlvs: list.map(([type, value]) => ({ type, value: base64(value) })) });
const everything = { pass_through_tlvs: { match_type: 'INCLUDE_ALL' } };
const only = (...tlv_type) => ({ pass_through_tlvs: { match_type: 'INCLUDE', tlv_type } });
/** An upstream behind a header of version 2: reads it, then answers requests. */
const behind = { u: async wire => {
  await wire.until(() => wire.text.length >= 16, 5000);
  const length = 16 + wire.text.charCodeAt(14) * 256 + wire.text.charCodeAt(15);
  await wire.until(() => wire.text.length >= length, 5000);
  wire.cursor = length;
  while (await wire.request() !== null) wire.write(ok());
} };
/** Long values as their length. */
const short = { viewUpstream: saw => saw.map(s => ({ ...s, bytes: s.bytes.replace(/a{20,}/g, m => `<a ${m.length}>`) })) };
const visit = (ctx, ...pieces) => (async () => { const c = await ctx.connect(); for (const piece of pieces) c.write(piece); return c.response(); })();
const counts = { viewUpstream: saw => ({ sessions: saw.length, requests: [] }) };
const masked = { viewUpstream: saw => saw.map(s => ({ ...s, bytes: s.bytes.replace(/(PROXY TCP4 127.0.0.1 127.0.0.1) \d+ \d+\r/, '$1 <ports>\r') })) };
/** Clients, one after the other, all of which stay. */
const clients = (...firsts) => async ctx => { for (const first of firsts) await visit(ctx, first + req('/')); };
const cut = { stats: [/ID_u\.upstream\.proxyprotocol/] };
/** A host that takes a line of version 1 and then TLS; tells the line and what came inside. */
const tlsBehindLine = { make: () => ({
  lastActivity: 0, seen: [],
  listen() {
    this.server = net.createServer(s => {
      s.on('error', () => {});
      s.once('readable', () => {
        let line = '';
        for (let c; !line.endsWith('\r\n') && (c = s.read(1)) !== null;) line += c.toString('latin1');
        this.seen.push(line.replace(/\d{4,5} \d{4,5}/, '<ports>'));
        const inner = new tls.TLSSocket(s, { isServer: true, key: fs.readFileSync(`${CERTS}/server.key`), cert: fs.readFileSync(`${CERTS}/server.crt`) });
        inner.on('error', () => {});
        inner.on('data', d => { this.seen.push(d.toString('latin1').split('\r\n')[0]); inner.write(ok()); });
      });
    });
    return new Promise(done => this.server.listen(0, '127.0.0.1', () => { this.port = this.server.address().port; done(this); }));
  },
  saw() { return [{ state: 'open', bytes: this.seen.join('') }]; },
  close() { this.server.close(); },
}) };

export default [suite('upstream-proxy-protocol', [
  { name: 'PROXY upstream: version 1 is the default', ...to(), send: [req('/1'), { res: 1 }, req('/2')], ...masked },
  { name: 'PROXY upstream: an empty configuration is version 1', ...to({}), send: [req('/1')], ...masked },
  { name: 'PROXY upstream: version 1, a connection for each client', ...to({ version: 'V1' }), client: async ctx => { await visit(ctx, req('/1')); await visit(ctx, req('/2')); }, ...counts },
  { name: 'PROXY upstream: version 1 passes on whom the client speaks for', ...to({ version: 'V1' }), ...from(), send: ['PROXY TCP4 1.2.3.4 5.6.7.8 1111 2222\r\n', req('/')] },
  { name: 'PROXY upstream: version 1 of IPv6', ...to({ version: 'V1' }), ...from(), send: ['PROXY TCP6 2001:db8::1 2001:db8:0:0:0:0:0:2 1111 2222\r\n', req('/')] },
  { name: 'PROXY upstream: version 1 has no values', ...to({ version: 'V1', ...everything, ...added([1, 'x']) }), ...from(everything), send: [two(tlv(2, 'y')), req('/')] },
  { name: 'PROXY upstream: version 2 passes on whom the client speaks for', ...to(V2()), ...from(), upstreams: behind, send: [two(), req('/1'), { res: 1 }, req('/2')] },
  { name: 'PROXY upstream: version 2 of IPv6', ...to(V2()), ...from(), upstreams: behind, send: [six, req('/')] },
  { name: 'PROXY upstream: version 2 of a client that speaks for itself', ...to(V2(everything)), ...from(everything), upstreams: behind, send: [local, req('/')], viewUpstream: saw => saw.map(s => ({ ...s, bytes: s.bytes.replace(/(QUIT\n!\x11..).{12}/s, '$1<addresses>') })) },
  { name: 'PROXY upstream: not what x-forwarded-for tells', ...to(V2()), ...from(), hcm: { use_remote_address: true, xff_num_trusted_hops: 1 }, upstreams: behind, send: [two(), req('/', 'x-forwarded-for: 9.9.9.9\r\n')] },
  { name: 'PROXY upstream: TLS inside', clusters: { u: socket({ version: 'V1' }, { transport_socket: secure }) }, upstreams: { u: tlsBehindLine }, send: [req('/')] },
  { name: 'PROXY upstream: an HTTP/2 client has one', ...to({ version: 'V1' }), hcm: { codec_type: 'HTTP2' }, client: async ctx => { const s = await ctx.h2(); const out = []; for (const path of ['/1', '/2']) out.push((await h2request(s, { ':path': path })).body); return out; }, ...counts },
  { name: 'PROXY upstream: again on the connection of a retry', ...to(V2(added([1, 'x']))), ...from(), upstreams: { u: async (wire, up) => { await wire.until(() => wire.text.length > 40, 5000); if (up.wires.length > 1) wire.write(ok()); else wire.reset(); } },
    routes: [{ match: { prefix: '/' }, route: { cluster: '$u', retry_policy: { retry_on: 'reset,5xx', num_retries: 2 } } }], send: [two(), req('/')] },
  { name: 'PROXY upstream: the bytes count as sent', ...to(V2(added([1, 'a'.repeat(5000)]))), ...from(), upstreams: behind, send: [two(), req('/')], stats: [/ID_u\.upstream_cx_tx_bytes_total/], ...short },

  { name: 'PROXY values: added ones', ...to(V2(added([0xe0, 'abc'], [1, '\xff\0'], [0xe0, 'again']))), ...from(), upstreams: behind, send: [two(), req('/')] },
  { name: 'PROXY values: none are passed on by default', ...to(V2()), ...from(everything), upstreams: behind, send: [two(tlv(2, 'a.test')), req('/')] },
  { name: 'PROXY values: none are taken by default', ...to(V2(everything)), ...from(), upstreams: behind, send: [two(tlv(2, 'a.test')), req('/')] },
  { name: 'PROXY values: all are passed on', ...to(V2(everything)), ...from(everything), upstreams: behind, send: [two(tlv(2, 'a.test'), tlv(0xe0, ''), tlv(2, 'twice')), req('/')] },
  { name: 'PROXY values: some are passed on', ...to(V2(only(3, 2))), ...from(only(2, 0xe0)), upstreams: behind, send: [two(tlv(2, 'a.test'), tlv(0xe0, 'x'), tlv(3, 'y')), req('/')] },
  { name: 'PROXY values: an added one counts more', ...to(V2({ ...everything, ...added([2, 'ours']) })), ...from(everything), upstreams: behind, send: [two(tlv(1, 'theirs'), tlv(2, 'theirs')), req('/')] },
  { name: 'PROXY values: other ones on the same addresses share a connection', ...to(V2(everything)), ...from(everything), upstreams: behind, client: clients(two(tlv(2, 'one')), two(tlv(2, 'other'))) },
  { name: 'PROXY values: hostile: more than a header can hold', ...to(V2(added([1, 'a'.repeat(65000)], [2, 'a'.repeat(518)], [3, 'a'.repeat(517)]))), ...from(), upstreams: behind, send: [two(), req('/')], ...short, ...cut },
  { name: 'PROXY values: hostile: a client that leaves no room', ...to(V2({ ...everything, ...added([1, 'a'.repeat(600)]) })), ...from(everything), upstreams: behind, send: [two(tlv(2, 'a'.repeat(65000))), req('/')], ...short, ...cut },

  { name: 'connection pools: one for each client connection', clusters: { u: { connection_pool_per_downstream_connection: true } }, client: async ctx => { await visit(ctx, req('/1')); await visit(ctx, req('/2')); }, ...counts, stats: [/ID_u\.upstream_cx_total/] },
  { name: 'connection pools: requests of one client share it', clusters: { u: { connection_pool_per_downstream_connection: true } }, send: [req('/1'), { res: 1 }, req('/2'), { res: 1 }, req('/3')], ...counts },
  { name: 'connection pools: shared by default', client: async ctx => { await visit(ctx, req('/1')); await visit(ctx, req('/2')); }, ...counts },
  { name: 'connection pools: hostile: a client that comes back has another', clusters: { u: { connection_pool_per_downstream_connection: true } }, client: async ctx => { for (let i = 0; i < 3; i++) { const c = await ctx.connect('main', { hidden: true }); c.write(req('/')); await c.response(); c.socket?.destroy(); await sleep(50); } }, ...counts, stats: [/ID_u\.upstream_cx_total/] },
]), suite('upstream-proxy-protocol-refused', [
  { name: 'refused: no socket inside', clusters: { u: { transport_socket: { name: 'x', typed_config: { '@type': `${TYPE}.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport`, config: {} } } } }, refused: 'transport_socket', send: [req('/')] },
  { name: 'refused: a type beyond a byte', ...to(V2(added([256, 'x']))), refused: 'type', send: [req('/')] },
  { name: 'refused: a value without bytes', ...to(V2({ added_tlvs: [{ type: 1 }] })), refused: 'value', send: [req('/')] },
  { name: 'refused: a value by format', ...to(V2({ added_tlvs: [{ type: 1, format_string: { text_format_source: { inline_string: 'x' } } }] })), unsupported: 'format_string', send: [req('/')], upstreams: behind },
  { name: 'refused: values as the key of a pool', ...to(V2(), { tlv_as_pool_key: true }), unsupported: 'tlv_as_pool_key', upstreams: behind, send: [req('/')] },
  { name: 'refused: unspecified addresses', ...to(V2(), { allow_unspecified_address: true }), unsupported: 'allow_unspecified_address', upstreams: behind, send: [req('/')] },
])];
