// Sides of a connection that are closed one after the other: by the client, by the upstream, in requests, answers and tunnels.
import { suite, req } from '../lib/suite.mjs';
import { replies, ok, sleep } from '../lib/raw.mjs';
import * as F from '../lib/h2frames.mjs';

const H = { log: { log_format: { text_format_source: { inline_string: '%PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n' } } } };
const post = (length, body) => `POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: ${length}\r\n\r\n${body}`;
const CONNECT = 'CONNECT b.test:443 HTTP/1.1\r\nHost: b.test:443\r\n\r\n';
const WS = 'GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n';
const S101 = 'HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n';
const ws = { hcm: { upgrade_configs: [{ upgrade_type: 'websocket' }] } };
const connectRoute = config => [{ match: { connect_matcher: {} }, route: { cluster: '$u', ...(config && { upgrade_configs: [{ upgrade_type: 'CONNECT', connect_config: config }] }) } }];
const passed = { hcm: { upgrade_configs: [{ upgrade_type: 'CONNECT' }], http2_protocol_options: { allow_connect: true } }, routes: connectRoute() };
const ended = { ...passed, routes: connectRoute({}) };
const head = (length, part) => `HTTP/1.1 200 OK\r\ncontent-length: ${length}\r\n\r\n${part}`;

/** Whether the request got as far as the upstream depends on what is read first. */
const unseen = { viewUpstream: () => [] };

/** An upstream that writes, waits (a number) and closes its side ('end') once a head is there; then it stays, whatever the proxy does. */
const says = (...list) => ({ u: async (wire) => {
  await wire.head(8000);
  for (const x of list) { if (typeof x === 'number') await sleep(x); else if (x === 'end') wire.end(); else wire.write(x); }
} });
/** A tunnel's upstream: like says, but it does not wait for a head where `raw`. */
const tunnel = (raw, ...list) => ({ u: async wire => {
  if (raw) await wire.has('hi', 3000); else await wire.head(8000);
  for (const x of list) { if (typeof x === 'number') await sleep(x); else if (x === 'end') wire.end(); else wire.write(x); }
} });
/** A client that writes, waits and closes its side in the same way, and says what state it saw when. */
const does = (...list) => async ctx => {
  const c = await ctx.connect();
  for (const x of list) {
    if (typeof x === 'number') await sleep(x);
    else if (x === 'end') c.end();
    else if (x === '?') await c.until(() => c.text.includes('\r\n\r\n'), 3000);
    else c.write(x);
  }
};
const plain = [[':method', 'CONNECT'], [':authority', 'b.test:443']];
const extended = [[':method', 'CONNECT'], [':protocol', 'websocket'], [':scheme', 'http'], [':authority', 'a.test'], [':path', '/chat']];
const frames = (...list) => ({ view: t => F.describe(t).join('\r\n'), client: async ctx => { const c = await ctx.connect(); c.write(Buffer.concat([Buffer.from(F.PREFACE), F.settings()])); for (const x of list) { if (typeof x === 'number') await sleep(x); else c.write(x); } } });

export default suite('half-close', [
  // the client
  { name: 'client: a request and FIN, the answer comes later', ...unseen, upstreams: { u: replies([600, ok()]) }, client: does(req(), 'end'), ...H },
  { name: 'client: FIN while the upstream thinks', upstreams: { u: replies([900, ok()]) }, client: does(req(), 300, 'end'), ...H },
  { name: 'client: a whole POST and FIN', ...unseen, upstreams: { u: replies([600, ok()]) }, client: does(post(4, 'body'), 'end'), ...H },
  { name: 'client: half a POST and FIN', client: does(post(8, 'half'), 300, 'end'), ...H },
  { name: 'client: half a chunked POST and FIN', client: does('POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n', 300, 'end'), ...H },
  { name: 'client: FIN in the middle of an answer', upstreams: says(head(8, 'half'), 700, 'more'), client: does(req(), 350, 'end'), ...H },
  { name: 'client: FIN in the middle of an answer in chunks', upstreams: says('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n', 700, '4\r\nmore\r\n0\r\n\r\n'), client: does(req(), 350, 'end'), ...H },
  { name: 'client: FIN on an idle connection', client: does(req(), '?', 300, 'end'), ...H },
  { name: 'client: FIN behind two requests', ...unseen, upstreams: { u: replies([2500, ok('one')], ok('two')) }, client: does(req('/1') + req('/2'), 'end'), ...H },
  { name: 'client: FIN after a direct answer, body to come', routes: [{ match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: 'x' } } }], upstreams: {}, client: does(post(8, 'half'), 300, 'end'), ...H },
  // the upstream
  { name: 'upstream: a whole answer and FIN', upstreams: says(ok(), 'end'), client: does(req(), '?', 300), ...H },
  { name: 'upstream: a whole answer, then FIN, then another request', upstreams: { u: async (wire, up) => { for (;;) { const r = await wire.request(); if (r === null) return; wire.write(ok(`${++up.count}`)); if (up.count === 1) { await sleep(100); wire.end(); } } } }, client: does(req('/1'), '?', 500, req('/2'), 400), ...H },
  { name: 'upstream: an answer until FIN', upstreams: says('HTTP/1.1 200 OK\r\n\r\nuntil', 300, ' close', 'end'), client: does(req(), 900), ...H },
  { name: 'upstream: FIN before an answer', upstreams: says(300, 'end', 400, ok()), client: does(req(), 900), ...H },
  { name: 'upstream: FIN in the middle of an answer', upstreams: says(head(8, 'half'), 300, 'end', 300), client: does(req(), 900), ...H },
  { name: 'upstream: FIN in the middle of a head', upstreams: says('HTTP/1.1 200 OK\r\ncontent-le', 300, 'end', 300, 'ngth: 0\r\n\r\n'), client: does(req(), 900), ...H },
  { name: 'upstream: FIN in the middle of chunks', upstreams: says('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n', 300, 'end'), client: does(req(), 900), ...H },
  { name: 'upstream: FIN before the end of the request', upstreams: says(300, 'end'), client: does(post(8, 'half'), 900, 'more'), ...H },
  { name: 'upstream: an early answer and FIN, the request goes on', upstreams: says(ok('early'), 'end'), client: does(post(8, 'half'), '?', 500, 'more', 300), ...H },
  { name: 'upstream: an early answer that says close, and FIN', upstreams: says('HTTP/1.1 413 Payload Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig', 'end'), client: does(post(8, 'half'), '?', 500), ...H },
  { name: 'upstream: an early answer until FIN', upstreams: says('HTTP/1.1 200 OK\r\n\r\nuntil', 300, ' close', 'end'), client: does(post(8, 'half'), 900), ...H },
  { name: 'upstream: 100 and FIN', upstreams: says('HTTP/1.1 100 Continue\r\n\r\n', 300, 'end'), client: does(req(), 900), ...H },
  // tunnels
  { name: 'websocket: the client closes its side first', ...ws, upstreams: tunnel(false, S101, 900, 'late', 300, 'end'), client: does(WS, '?', 'hi', 300, 'end'), ...H },
  { name: 'websocket: the upstream closes its side first', ...ws, upstreams: tunnel(false, `${S101}bye`, 200, 'end'), client: does(WS, '?', 700, 'late', 300, 'end'), ...H },
  { name: 'websocket: the client closes before the answer', ...ws, upstreams: tunnel(false, 700, S101, 'end'), client: does(WS, 300, 'end'), ...H },
  { name: 'CONNECT: the client closes its side first', ...passed, upstreams: tunnel(false, 'HTTP/1.1 200 OK\r\n\r\n', 900, 'late', 300, 'end'), client: does(CONNECT, '?', 'hi', 300, 'end'), ...H },
  { name: 'CONNECT: the upstream closes its side first', ...passed, upstreams: tunnel(false, 'HTTP/1.1 200 OK\r\n\r\nbye', 200, 'end'), client: does(CONNECT, '?', 700, 'late', 300, 'end'), ...H },
  { name: 'CONNECT ends here: the client closes its side first', ...ended, upstreams: tunnel(true, 900, 'late', 300, 'end'), client: does(CONNECT, '?', 'hi', 300, 'end'), ...H },
  { name: 'CONNECT ends here: the upstream closes its side first', ...ended, upstreams: tunnel(true, 'bye', 200, 'end'), client: does(CONNECT, '?', 'hi', 700, 'late', 300, 'end'), ...H },
  { name: 'CONNECT over HTTP/2: the client closes its side first', differs: { id: 'h2-connect-half-close', envoy: t => !t.includes('late') && t.includes('CONNECT_ERROR'), plenipo: t => t.includes('DATA 1 "late"\n  RST_STREAM 1 CONNECT_ERROR') }, ...passed, upstreams: tunnel(false, 'HTTP/1.1 200 OK\r\n\r\n', 900, 'late', 300, 'end'), ...frames(F.headers(1, plain, { end: false }), 200, F.data(1, 'hi', false), 300, F.data(1, '', true), 1300), ...H },
  { name: 'CONNECT over HTTP/2: the upstream closes its side first', ...passed, upstreams: tunnel(false, 'HTTP/1.1 200 OK\r\n\r\nbye', 200, 'end'), ...frames(F.headers(1, plain, { end: false }), 800, F.data(1, 'late', false), 300, F.data(1, '', true), 300), ...H },
  { name: 'CONNECT over HTTP/2 ends here: the client closes its side first', ...ended, upstreams: tunnel(true, 900, 'late', 300, 'end'), ...frames(F.headers(1, plain, { end: false }), 200, F.data(1, 'hi', false), 300, F.data(1, '', true), 1300), ...H },
  { name: 'CONNECT over HTTP/2 ends here: the upstream closes its side first', ...ended, upstreams: tunnel(true, 'bye', 200, 'end'), ...frames(F.headers(1, plain, { end: false }), 200, F.data(1, 'hi', false), 700, F.data(1, 'late', false), 300, F.data(1, '', true), 300), ...H },
  { name: 'websocket over HTTP/2: the client closes its side first', hcm: { ...ws.hcm, http2_protocol_options: { allow_connect: true } }, upstreams: tunnel(false, S101, 900, 'late', 300, 'end'), ...frames(F.headers(1, extended, { end: false }), 200, F.data(1, 'hi', false), 300, F.data(1, '', true), 1300), ...H },
  { name: 'websocket over HTTP/2: the upstream closes its side first', hcm: { ...ws.hcm, http2_protocol_options: { allow_connect: true } }, upstreams: tunnel(false, `${S101}bye`, 200, 'end'), ...frames(F.headers(1, extended, { end: false }), 800, F.data(1, 'late', false), 300, F.data(1, '', true), 300), ...H },
]);
