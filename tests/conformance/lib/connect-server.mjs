// A "server under test" for connectconformance: its reference server behind a proxy. What it is asked for comes on stdin, where it listens goes to stdout,
// each a message of protobuf behind its length in four bytes; SIGTERM ends it. Arguments: the reference server, and a folder where the number of requests that the proxy
// carried is left.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { adminGet } from '../../parity/lib/proxy.mjs';
import { cluster, freePort, listener, withProxy } from './proxies.mjs';

/** ServerCompatRequest's and TLSCreds' fields by number. */
const REQUEST = { httpVersion: 2, useTls: 4, serverCreds: 7 };
const CREDS = { cert: 1, key: 2 };
const HTTP_VERSION_2 = 2;

/** The fields of a message as `[number, value, bytes of the whole field]`; of protobuf's types only the two that occur. */
function fields(message) {
  const found = [];
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let shift = 1; ; shift *= 128) {
      const byte = message[at++];
      value += (byte & 127) * shift;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const from = at;
    const key = varint();
    const number = varint();
    const isBytes = (key & 7) === 2;
    const value = isBytes ? message.subarray(at, at + number) : number;
    if (isBytes) at += number;
    found.push([key >> 3, value, message.subarray(from, at)]);
  }
  return found;
}

const valueOf = (message, number) => fields(message).find(([each]) => each === number)?.[1];

function varint(value) {
  const bytes = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value & 127) | 128);
  return Buffer.from([...bytes, value]);
}

const bytesField = (number, value) => Buffer.concat([varint((number << 3) | 2), varint(value.length), Buffer.from(value)]);

function prefixed(message) {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(message.length);
  return Buffer.concat([length, message]);
}

/** Reads one message behind its length. */
async function read(stream) {
  let got = Buffer.alloc(0);
  for await (const chunk of stream) {
    got = Buffer.concat([got, chunk]);
    if (got.length >= 4 && got.length >= 4 + got.readUInt32BE(0)) return got.subarray(4, 4 + got.readUInt32BE(0));
  }
  throw new Error('the stream ended before its message');
}

/** Starts the reference server in clear text; `{ child, port }`. */
async function startReference(request) {
  const child = spawn(process.argv[2], [], { stdio: ['pipe', 'pipe', 'inherit'] });
  process.on('exit', () => child.kill('SIGKILL'));
  const plain = fields(request).filter(([number]) => number !== REQUEST.useTls && number !== REQUEST.serverCreds).map(([, , whole]) => whole);
  child.stdin.end(prefixed(Buffer.concat(plain)));
  return { child, port: valueOf(await read(child.stdout), 2) };
}

const terminated = new Promise((resolve) => process.once('SIGTERM', resolve));
const request = await read(process.stdin);
const reference = await startReference(request);
const port = await freePort();
const tls = valueOf(request, REQUEST.useTls) === 1;
const http2 = valueOf(request, REQUEST.httpVersion) === HTTP_VERSION_2;
const creds = valueOf(request, REQUEST.serverCreds);
const listeners = (folder) => {
  if (!tls) return [listener('in', port, { cluster: 'up' })];
  const pem = (name, number) => {
    const file = path.join(folder, name);
    fs.writeFileSync(file, valueOf(creds, number));
    return { filename: file };
  };
  return [listener('in', port, { cluster: 'up', tls: http2 ? ['h2'] : ['http/1.1'], certificate: { certificate_chain: pem('cert.pem', CREDS.cert), private_key: pem('key.pem', CREDS.key) } })];
};
await withProxy({ listeners, clusters: [cluster('up', reference.port, { http2 })] }, async (proxy) => {
  const cert = tls ? bytesField(3, valueOf(creds, CREDS.cert)) : Buffer.alloc(0);
  process.stdout.write(prefixed(Buffer.concat([bytesField(1, '127.0.0.1'), Buffer.concat([varint(2 << 3), varint(port)]), cert])));
  await terminated;
  const stats = await adminGet(proxy.adminPort, '/stats?filter=http.in.downstream_rq_total');
  fs.writeFileSync(path.join(process.argv[3], `${process.pid}.requests`), /downstream_rq_total: (\d+)/.exec(stats)[1]);
});
reference.child.kill('SIGTERM');
process.exit(0);
