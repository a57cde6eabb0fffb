// CONNECT: passed on and ended here, on HTTP/1 and HTTP/2; websockets over HTTP/2 (RFC 8441) on either side.
import { suite, req, h2, h2upstream } from '../lib/suite.mjs';
import { replies, ok, sleep } from '../lib/raw.mjs';
import * as F from '../lib/h2frames.mjs';
import { h2request } from '../lib/h2.mjs';

const H = { log: { log_format: { text_format_source: { inline_string: '%PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n' } } } };
const CONNECT = 'CONNECT b.test:443 HTTP/1.1\r\nHost: b.test:443\r\n\r\n';
const connectRoute = (more = {}, route = {}) => ({ match: { connect_matcher: {} }, route: { cluster: '$u', ...route }, ...more });
const allowed = { hcm: { upgrade_configs: [{ upgrade_type: 'CONNECT' }] } };
const passed = { ...allowed, routes: [connectRoute(), { match: { prefix: '/' }, route: { cluster: '$u' } }] };
const ended = (config = {}) => ({ ...allowed, routes: [connectRoute({}, { upgrade_configs: [{ upgrade_type: 'CONNECT', connect_config: config }] }), { match: { prefix: '/' }, route: { cluster: '$u' } }] });
/** Answers CONNECT, then everything in upper case. */
const tunnel = answer => async wire => { await wire.head(); wire.write(answer); await loud(wire); };
const loud = async wire => { let at = wire.cursor; for (;;) { await wire.until(() => wire.text.length > at || wire.state !== 'open', 3000); if (wire.text.length === at) break; const t = wire.text.slice(at); at = wire.text.length; wire.write(t.toUpperCase()); } };
const raw = async wire => { await loud(wire); };
const speak = (head, ...more) => async ctx => { const c = await ctx.connect(); c.write(head); await c.until(() => c.text.includes('\r\n\r\n'), 1500); for (const m of more) { const n = c.text.length; c.write(m); await c.until(() => c.text.length > n, 1500); } await sleep(100); };
const WS = 'GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n';
const ws = { hcm: { upgrade_configs: [{ upgrade_type: 'websocket' }], http2_protocol_options: { allow_connect: true } } };
const wsRaw = async wire => { await wire.head(); wire.write('HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nx-up: 1\r\n\r\n'); await loud(wire); };
/** Frames to a client's connection; what came back is described. */
const view = { view: t => F.describe(t).join('\r\n') };
const frames = (...list) => ({ ...view, client: async ctx => { const c = await ctx.connect(); c.write(Buffer.concat([Buffer.from(F.PREFACE), F.settings()])); for (const x of list) { if (typeof x === 'number') await sleep(x); else c.write(x); } } });
const extended = (protocol = 'websocket', more = []) => [[':method', 'CONNECT'], [':protocol', protocol], [':scheme', 'http'], [':authority', 'a.test'], [':path', '/chat'], ...more];
const plain = [[':method', 'CONNECT'], [':authority', 'b.test:443']];
/** An HTTP/2 upstream that takes extended CONNECT and echoes in upper case. */
const h2loud = (status = 200) => h2(async (stream, request) => { stream.respond({ ':status': status }, { sendDate: false }); stream.on('data', d => stream.write(d.toString('latin1').toUpperCase())); stream.on('end', () => stream.end()); }, { server: { settings: { enableConnectProtocol: true } } });

export default suite('connect', [
  // passed on
  { name: 'HTTP/1: passed on', ...passed, upstreams: { u: tunnel('HTTP/1.1 200 OK\r\n\r\n') }, client: speak(CONNECT, 'hello', ' world'), ...H },
  { name: 'HTTP/1: refused by the upstream', ...passed, upstreams: { u: replies('HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno') }, client: speak(CONNECT), ...H },
  { name: 'HTTP/1: an answer with content-length is a tunnel all the same', ...passed, upstreams: { u: tunnel('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n') }, client: speak(CONNECT, 'hello'), ...H },
  { name: 'HTTP/1: bytes right behind the request', ...passed, upstreams: { u: tunnel('HTTP/1.1 200 OK\r\n\r\n') }, client: speak(CONNECT + 'early'), ...H },
  { name: 'HTTP/1: not allowed', routes: [connectRoute()], client: speak(CONNECT), ...H },
  { name: 'HTTP/1: no route for it', ...allowed, client: speak(CONNECT), ...H },
  { name: 'HTTP/1: the route is for CONNECT only', ...allowed, routes: [connectRoute()], send: req(), ...H },
  { name: 'HTTP/1: allowed by the route only', routes: [connectRoute({}, { upgrade_configs: [{ upgrade_type: 'CONNECT' }] })], upstreams: { u: tunnel('HTTP/1.1 200 OK\r\n\r\n') }, client: speak(CONNECT, 'hello') },
  { name: 'HTTP/1: without a port', ...passed, client: speak('CONNECT b.test HTTP/1.1\r\nHost: b.test\r\n\r\n'), ...H },
  { name: 'HTTP/1: with a body length', ...passed, client: speak('CONNECT b.test:443 HTTP/1.1\r\nHost: b.test:443\r\nContent-Length: 5\r\n\r\nhello'), ...H },
  { name: 'HTTP/1: the upstream closes', ...passed, upstreams: { u: async wire => { await wire.head(); wire.write('HTTP/1.1 200 OK\r\n\r\nbye'); await sleep(50); wire.end(); } }, client: speak(CONNECT), ...H },
  { name: 'HTTP/1 to HTTP/2: passed on', ...passed, clusters: { u: h2upstream({ allow_connect: true }) }, upstreams: { u: h2loud() }, client: speak(CONNECT, 'hello'), ...H },
  { name: 'HTTP/2: passed on to HTTP/1', ...passed, hcm: { ...allowed.hcm, http2_protocol_options: { allow_connect: true } }, upstreams: { u: tunnel('HTTP/1.1 200 OK\r\nx-up: 1\r\n\r\n') }, ...frames(F.headers(1, plain, { end: false }), 200, F.data(1, 'hello', false), 200, F.data(1, ' world', false), 200), ...H },
  { name: 'HTTP/2: passed on to HTTP/2', ...passed, hcm: { ...allowed.hcm, http2_protocol_options: { allow_connect: true } }, clusters: { u: h2upstream({ allow_connect: true }) }, upstreams: { u: h2loud() }, ...frames(F.headers(1, plain, { end: false }), 200, F.data(1, 'hello', false), 200) },
  // ended here
  { name: 'terminated: HTTP/1', ...ended(), upstreams: { u: raw }, client: speak(CONNECT, 'hello', ' world'), ...H },
  { name: 'terminated: HTTP/1, bytes right behind the request', ...ended(), upstreams: { u: raw }, client: speak(CONNECT + 'early'), ...H },
  { name: 'terminated: the upstream speaks first', ...ended(), upstreams: { u: async wire => { wire.write('220 hi\r\n'); await loud(wire); } }, client: speak(CONNECT, 'hello') },
  { name: 'terminated: the upstream closes', ...ended(), upstreams: { u: async wire => { await wire.has('hello', 2000); wire.write('bye'); await sleep(50); wire.end(); } }, client: speak(CONNECT, 'hello'), ...H },
  { name: 'terminated: the client closes', ...ended(), upstreams: { u: raw }, client: async ctx => { const c = await ctx.connect(); c.write(CONNECT); await c.until(() => c.text.includes('\r\n\r\n'), 1500); c.write('x'); await c.has('X', 1000); c.end(); await sleep(200); }, ...H },
  { name: 'terminated: nobody listens', ...ended(), upstreams: { u: 'refuse' }, client: speak(CONNECT), ...H },
  { name: 'terminated: HTTP/2', ...ended(), hcm: { ...allowed.hcm, http2_protocol_options: { allow_connect: true } }, upstreams: { u: raw }, ...frames(F.headers(1, plain, { end: false }), 200, F.data(1, 'hello', false), 200, F.data(1, ' world', false), 200), ...H },
  { name: 'terminated: HTTP/2, the client ends its side', ...ended(), hcm: { ...allowed.hcm, http2_protocol_options: { allow_connect: true } }, upstreams: { u: async wire => { await wire.has('hello', 2000); await wire.until(() => wire.state !== 'open', 1000); wire.write('bye'); wire.end(); } }, ...frames(F.headers(1, plain, { end: false }), 200, F.data(1, 'hello'), 200) },
  { name: 'terminated: GET goes to the other route', ...ended(), send: req('/x') },
  { name: 'terminated: a POST where that is allowed', ...allowed, routes: [{ match: { prefix: '/' }, route: { cluster: '$u', upgrade_configs: [{ upgrade_type: 'CONNECT', connect_config: { allow_post: true } }] } }], upstreams: { u: raw }, client: speak('POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello'), ...H },
  { name: 'terminated: PROXY protocol', unsupported: 'proxy_protocol_config', ...ended({ proxy_protocol_config: {} }), upstreams: { u: raw }, client: speak(CONNECT, 'hello'), viewUpstream: saw => saw.map(w => ({ ...w, bytes: w.bytes.replace(/\d{4,5} \d{4,5}\r/, 'P P\r') })) },
  // websockets over HTTP/2
  { name: 'websocket: HTTP/2 to HTTP/1', ...ws, upstreams: { u: wsRaw }, ...frames(F.headers(1, extended('websocket', [['sec-websocket-version', '13']]), { end: false }), 200, F.data(1, 'hello', false), 200), ...H },
  { name: 'websocket: HTTP/2 to HTTP/1, refused by the upstream', ...ws, upstreams: { u: replies('HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno') }, ...frames(F.headers(1, extended(), { end: false }), 200), ...H },
  { name: 'websocket: HTTP/2, another kind than is allowed', ...ws, ...frames(F.headers(1, extended('other'), { end: false }), 200), ...H, differs: { id: 'h2-upgrade-refused', envoy: t => t.includes('GOAWAY last=2147483647 NO_ERROR') && t.includes(':status: 403'), plenipo: t => !t.includes('GOAWAY') && t.includes(':status: 403') && t.includes('HTTP/2 403 - upgrade_failed') && t.includes('upstream u: no connection') } },
  { name: 'websocket: HTTP/2 where extended CONNECT is off', hcm: { upgrade_configs: [{ upgrade_type: 'websocket' }] }, ...frames(F.headers(1, extended(), { end: false }), 200), ...H, differs: { id: 'h2-says-why', envoy: t => t.startsWith('client 1 (closed):\n  (nothing)\nupstream u: no connection'), plenipo: t => t.startsWith('client 1 (open):\n  RST_STREAM 1 PROTOCOL_ERROR\nupstream u: no connection') } },
  { name: 'websocket: the setting is announced', ...ws, client: async ctx => { const s = await ctx.h2(); await h2request(s, {}); return { connect: s.remoteSettings.enableConnectProtocol }; } },
  { name: 'websocket: HTTP/1 to HTTP/2', ...ws, clusters: { u: h2upstream({ allow_connect: true }) }, upstreams: { u: h2loud() }, client: speak(WS, 'hello', ' world'), ...H },
  { name: 'websocket: HTTP/1 to HTTP/2, refused by the upstream', ...ws, clusters: { u: h2upstream({ allow_connect: true }) }, upstreams: { u: h2(async stream => { stream.respond({ ':status': 403 }, { sendDate: false }); stream.end('no'); }, { server: { settings: { enableConnectProtocol: true } } }) }, client: speak(WS), ...H },
  { name: 'websocket: HTTP/2 to HTTP/2', ...ws, clusters: { u: h2upstream({ allow_connect: true }) }, upstreams: { u: h2loud() }, ...frames(F.headers(1, extended(), { end: false }), 200, F.data(1, 'hello', false), 200), ...H },
]);
