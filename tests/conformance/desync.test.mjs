// The request vectors of http_desync_guardian, as raw bytes through the proxy to a strict HTTP/1 parser that is not ours (Node's llhttp): it must see the
// requests that our access log tells of, no more and no fewer, with the same bodies.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from '../parity/lib/raw.mjs';
import { cluster, freePort, listener, subject, withProxy } from './lib/proxies.mjs';

const VECTORS = JSON.parse(fs.readFileSync(path.join(import.meta.dirname, 'desync', 'vectors.json'), 'utf8'));

/** What is asked for behind each vector: whoever frames the vector's body in another way than we do sees it where we do not, or the other way round. */
const NEXT = 'GET /next HTTP/1.1\r\nhost: next.test\r\n\r\n';
/** What follows a vector's head, by the way in which it might be framed. */
const TAILS = {
  'no body': NEXT,
  'an end of chunks': `0\r\n\r\n${NEXT}`,
  'a chunk': `5\r\nhello\r\n0\r\n\r\n${NEXT}`,
  'a hundred bytes': 'x'.repeat(100) + NEXT,
  'nothing': '',
};

/** A client that has heard nothing for this long has been told all. */
const QUIET_MS = 150;
const AT_ONCE = 16;

/** The bytes of a vector's head; one that names no host gets one, as it would be refused for that alone. */
function head({ method, uri, version, headers }) {
  const host = headers.some(([name]) => /^host$/i.test(name)) ? [] : [['Host', ' vector.test']];
  const text = `${method} ${uri}${version ? ` ${version}` : ''}\r\n${[...host, ...headers].map(([name, value]) => `${name}:${value}\r\n`).join('')}\r\n`;
  return Buffer.from(text, /[^\0-\xff]/.test(text) ? 'utf8' : 'latin1');
}

/** The upstream: what it saw, in `requests` and, where it could not read something, in `errors`. */
function startUpstream() {
  const requests = [];
  const errors = [];
  const take = (request, answer) => {
    const seen = { id: request.headers['x-request-id'], method: request.method, path: request.url, body: '', whole: false };
    requests.push(seen);
    request.setEncoding('latin1').on('data', (text) => (seen.body += text)).on('end', () => { seen.whole = request.complete; answer?.end('ok'); }).on('error', () => {});
  };
  const server = http.createServer({ insecureHTTPParser: false, keepAliveTimeout: 0, requestTimeout: 0, headersTimeout: 0 }, take);
  for (const event of ['checkContinue', 'checkExpectation']) server.on(event, take);
  for (const event of ['connect', 'upgrade']) {
    server.on(event, (request, socket) => { take(request); socket.end('HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n'); });
  }
  server.on('clientError', (error, socket) => {
    // A proxy that lets a request go half-way is no error; bytes that do not parse are.
    if (error.code?.startsWith('HPE_') && error.code !== 'HPE_INVALID_EOF_STATE') errors.push(`${error.code} after ${error.bytesParsed} bytes of ${JSON.stringify(error.rawPacket?.toString('latin1').slice(0, 2000))}`);
    socket.destroy();
  });
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve({ server, requests, errors, port: server.address().port })));
}

/** The lines of the access log, once there are no more to come. */
async function logLines(file) {
  for (let last = -1, tries = 0; tries < 50; tries++) {
    const { size } = fs.statSync(file, { throwIfNoEntry: false }) ?? { size: 0 };
    if (size === last) break;
    last = size;
    await sleep(200);
  }
  return fs.readFileSync(file, 'utf8').trimEnd().split('\n').map((line) => JSON.parse(line));
}

test('desync vectors: the upstream sees what the access log tells', { timeout: 120_000 }, async () => {
  assert.equal(VECTORS.length, 159);
  const upstream = await startUpstream();
  const port = await freePort();
  const log = (folder) => ({ path: path.join(folder, 'access.log'), log_format: { json_format: {
    id: '%REQ(X-REQUEST-ID)%', method: '%REQ(:METHOD)%', path: '%REQ(:PATH)%', host: '%REQ(:AUTHORITY)%', received: '%BYTES_RECEIVED%', upstream: '%UPSTREAM_HOST%', flags: '%RESPONSE_FLAGS%', status: '%RESPONSE_CODE%' } } });
  try {
    await withProxy({ listeners: (folder) => [listener('in', port, { cluster: 'up', log: log(folder) })], clusters: [cluster('up', upstream.port)] }, async ({ folder }) => {
      const waiting = VECTORS.flatMap((vector) => Object.values(TAILS).map((tail) => Buffer.concat([head(vector), Buffer.from(tail)])));
      const sent = waiting.length;
      const client = async () => {
        for (let bytes; (bytes = waiting.pop()); ) {
          const wire = await connect(port);
          wire.write(bytes);
          await wire.settle(QUIET_MS);
          assert.match(wire.text, /^(HTTP\/1\.[01] \d{3} |$)/);
          wire.destroy();
        }
      };
      await Promise.all(Array.from({ length: AT_ONCE }, client));
      const lines = await logLines(log(folder).path);
      const forwarded = lines.filter((line) => line.upstream !== null && line.upstream !== '-');
      const whole = upstream.requests.filter((request) => request.whole);
      if (process.env.VERBOSE || subject === 'envoy') console.log({ sent, logged: lines.length, forwarded: forwarded.length, seen: upstream.requests.length, whole: whole.length });

      assert.deepEqual(upstream.errors, [], 'the upstream could not parse what it got');
      const byId = (list) => new Map(list.map((each) => [each.id, each]));
      const [told, saw] = [byId(forwarded), byId(upstream.requests)];
      assert.equal(told.size, forwarded.length, 'each request has an id of its own');
      assert.equal(saw.size, upstream.requests.length, 'the upstream saw no request twice');
      const strange = upstream.requests.filter((request) => !told.has(request.id));
      assert.deepEqual(strange, [], 'the upstream saw requests that the log does not tell of');
      const lost = forwarded.filter((line) => !saw.has(line.id) && Number(line.status) === 200);
      assert.deepEqual(lost, [], 'the log tells of requests that the upstream did not see');
      for (const { id, method, path: target, body } of whole) {
        const line = told.get(id);
        assert.deepEqual([method, target, body.length], [line.method, line.path, Number(line.received)], JSON.stringify(line));
        assert.ok(body === 'hello' || Object.values(TAILS).some((tail) => tail.startsWith(body)), JSON.stringify(body));
        if (line.host === 'next.test') assert.deepEqual([method, target, body], ['GET', '/next', '']);
      }
      // Enough got through for this to mean something, and enough did not.
      assert.ok(whole.length > sent / 8, `only ${whole.length} of ${sent} came through`);
      assert.ok(lines.filter((line) => Number(line.status) === 400).length > sent / 8);
    });
  } finally {
    upstream.server.closeAllConnections();
    upstream.server.close();
  }
});
