// A real browser, Chromium, loads a page through the proxy and opens a websocket through it: in clear text, and over HTTP/2 with TLS.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { cluster, freePort, listener, withProxy } from './lib/proxies.mjs';

/** Says what it went through: how the page came, and what the websocket echoed; or what went wrong. */
const PAGE = `<!doctype html><script>
const report = (result) => fetch('/result', { method: 'POST', body: JSON.stringify(result) });
const socket = new WebSocket(location.href.replace('http', 'ws') + 'echo', ['v1']);
const got = [];
socket.binaryType = 'arraybuffer';
socket.onopen = () => { socket.send('hello'); socket.send(new Uint8Array(70000).fill(7)); };
socket.onmessage = ({ data }) => {
  got.push(typeof data === 'string' ? data : [data.byteLength, new Uint8Array(data).every((each) => each === 7)]);
  if (got.length === 2) socket.close(1000, 'done');
};
socket.onclose = ({ code, wasClean }) => report({ got, code, wasClean, subprotocol: socket.protocol, page: performance.getEntriesByType('navigation')[0].nextHopProtocol });
</script>`;

/** Echoes the frames of a websocket, unmasked, its close frame too. */
function echo(request, socket) {
  const accept = createHash('sha1').update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: ${accept}\r\nsec-websocket-protocol: v1\r\n\r\n`);
  let waiting = Buffer.alloc(0);
  socket.on('error', () => {}).on('data', (data) => {
    waiting = Buffer.concat([waiting, data]);
    for (;;) {
      if (waiting.length < 2) return;
      const short = waiting[1] & 127;
      const extra = short === 126 ? 2 : short === 127 ? 8 : 0;
      if (waiting.length < 2 + extra + 4) return;
      const length = extra === 2 ? waiting.readUInt16BE(2) : extra === 8 ? Number(waiting.readBigUInt64BE(2)) : short;
      const body = 2 + extra + 4;
      if (waiting.length < body + length) return;
      const mask = waiting.subarray(2 + extra, body);
      const head = Buffer.from(waiting.subarray(0, 2 + extra));
      head[1] &= 127;
      socket.write(Buffer.concat([head, Buffer.from(waiting.subarray(body, body + length)).map((byte, at) => byte ^ mask[at % 4])]));
      if ((head[0] & 15) === 8) socket.end();
      waiting = waiting.subarray(body + length);
    }
  });
}

let reported;
const upstream = http.createServer((request, response) => {
  if (request.url === '/result') {
    let text = '';
    request.setEncoding('utf8').on('data', (part) => (text += part)).on('end', () => { response.end(); reported(JSON.parse(text)); });
  } else {
    response.setHeader('content-type', 'text/html');
    response.end(request.url === '/' ? PAGE : '');
  }
});
upstream.on('upgrade', echo);
before(() => new Promise((resolve) => upstream.listen(0, '127.0.0.1', resolve)));
after(() => { upstream.closeAllConnections(); upstream.close(); });

/** Opens a page and resolves with what it reports; the browser ends before this returns. */
async function visit(url) {
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'plenipo-browser-'));
  const said = new Promise((resolve) => (reported = resolve));
  const browser = spawn('chromium', ['--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--ignore-certificate-errors', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--no-proxy-server', `--user-data-dir=${profile}`, url], { stdio: ['ignore', 'ignore', 'pipe'], detached: true });
  let errors = '';
  browser.stderr.setEncoding('utf8').on('data', (text) => (errors += text));
  const ended = new Promise((resolve) => browser.on('error', (error) => resolve(error.code === 'ENOENT' ? "'chromium' was not found on the PATH; on Debian: apt-get install chromium" : String(error))).on('close', (code) => resolve(`chromium ended with ${code}`)));
  let timer;
  const late = new Promise((resolve) => (timer = setTimeout(resolve, 30_000, 'the page reported nothing within 30 s')));
  try {
    const result = await Promise.race([said, ended, late]);
    assert.equal(typeof result, 'object', `${result}\n${errors.slice(-3000)}`);
    return result;
  } finally {
    clearTimeout(timer);
    try {
      process.kill(-browser.pid, 'SIGKILL'); // Chromium's own group: it has children.
    } catch {
      // It did not start, or has ended.
    }
    await ended;
    fs.rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

const echoed = { got: ['hello', [70000, true]], code: 1000, wasClean: true, subprotocol: 'v1' };
const upgrades = { upgrade_configs: [{ upgrade_type: 'websocket' }] };
const log = (folder) => ({ path: path.join(folder, 'log'), log_format: { text_format_source: { inline_string: '%PROTOCOL% %REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE%\n' } } });
const lines = async (folder, wanted) => {
  const deadline = Date.now() + 3000;
  for (;;) {
    const text = fs.readFileSync(log(folder).path, 'utf8');
    if (text.includes(wanted) || Date.now() > deadline) return text.split('\n');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
};

test('a websocket in clear text', { timeout: 60_000 }, async () => {
  const port = await freePort();
  await withProxy({ listeners: (folder) => [listener('in', port, { cluster: 'up', manager: upgrades, log: log(folder) })], clusters: [cluster('up', upstream.address().port)] }, async ({ folder }) => {
    assert.deepEqual(await visit(`http://127.0.0.1:${port}/`), { ...echoed, page: 'http/1.1' });
    assert.ok((await lines(folder, '/echo')).includes('HTTP/1.1 GET /echo 101'));
  });
});

test('a page over HTTP/2 and TLS, a websocket on a connection of its own', { timeout: 60_000 }, async () => {
  const port = await freePort();
  await withProxy({ listeners: (folder) => [listener('in', port, { cluster: 'up', tls: ['h2', 'http/1.1'], manager: upgrades, log: log(folder) })], clusters: [cluster('up', upstream.address().port)] }, async ({ folder }) => {
    assert.deepEqual(await visit(`https://127.0.0.1:${port}/`), { ...echoed, page: 'h2' });
    const seen = await lines(folder, '/echo');
    assert.ok(seen.includes('HTTP/2 GET / 200') && seen.includes('HTTP/1.1 GET /echo 101'), seen.join('\n'));
  });
});

test('a websocket over HTTP/2, beside the page (extended CONNECT)', { timeout: 60_000 }, async () => {
  const port = await freePort();
  const manager = { ...upgrades, http2_protocol_options: { allow_connect: true } };
  await withProxy({ listeners: (folder) => [listener('in', port, { cluster: 'up', tls: ['h2', 'http/1.1'], manager, log: log(folder) })], clusters: [cluster('up', upstream.address().port)] }, async ({ folder }) => {
    // With Envoy, too, the upstream's end of the connection comes as a reset of the stream, behind its close frame.
    const { wasClean, ...rest } = echoed;
    const { wasClean: _, ...reported } = await visit(`https://127.0.0.1:${port}/`);
    assert.deepEqual(reported, { ...rest, page: 'h2' });
    const seen = await lines(folder, '/echo');
    assert.ok(seen.includes('HTTP/2 GET /echo 101'), seen.join('\n'));
  });
});
