// A DNS server of the test's own: A answers for the names that it is given; other names do not exist. UDP, one question a query.
import dgram from 'node:dgram';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from './namespace.mjs';

const TYPE = { A: 1, AAAA: 28 };
const NAME_ERROR = 3;
const SERVER_FAILURE = 2;
const TTL = 5;

/** Names (lower case, no final dot) to a function that gives IPv4 addresses. */
export class DnsServer {
  static async start(names) {
    const server = new DnsServer(names);
    server.#socket.bind(53, '127.0.0.1');
    await once(server.#socket, 'listening');
    return server;
  }

  #socket = dgram.createSocket('udp4');
  #names;
  /** What was asked: `A name`. */
  questions = [];

  constructor(names) {
    this.#names = names;
    this.#socket.on('message', async (query, from) => {
      const reply = await this.#answer(query);
      if (reply) this.#socket.send(reply, from.port, from.address);
    });
  }

  /** Puts a resolv.conf as a pod's in the place of this namespace's. */
  async use(folder) {
    const file = join(folder, 'resolv.conf');
    await writeFile(
      file,
      'nameserver 127.0.0.1\nsearch default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5 timeout:1 attempts:2\n',
    );
    run('mount', '--bind', file, '/etc/resolv.conf');
  }

  stop() {
    this.#socket.close();
  }

  async #answer(query) {
    const question = readQuestion(query);
    if (!question) return undefined;
    const { name, type, end } = question;
    this.questions.push(`${Object.keys(TYPE).find((key) => TYPE[key] === type) ?? type} ${name}`);
    const find = this.#names[name];
    if (!find) return reply(query, end, NAME_ERROR, []);
    // The name exists, but has IPv4 addresses only.
    if (type !== TYPE.A) return reply(query, end, 0, []);
    try {
      return reply(query, end, 0, await find());
    } catch {
      return reply(query, end, SERVER_FAILURE, []);
    }
  }
}

/** The question of a query, RFC 1035 4.1; undefined when it is not one. */
function readQuestion(query) {
  const isQuery = query.length > 12 && (query[2] & 0xf8) === 0 && query.readUInt16BE(4) === 1;
  if (!isQuery) return undefined;
  const labels = [];
  let at = 12;
  while (query[at] !== 0) {
    const length = query[at];
    if (length === undefined || length > 63 || at + 1 + length >= query.length) return undefined;
    labels.push(query.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  if (at + 5 > query.length) return undefined;
  return { name: labels.join('.').toLowerCase(), type: query.readUInt16BE(at + 1), end: at + 5 };
}

function reply(query, end, code, addresses) {
  const header = Buffer.alloc(12);
  query.copy(header, 0, 0, 2);
  // An answer, authoritative, recursion as desired and available.
  header[2] = 0x84 | (query[2] & 1);
  header[3] = 0x80 | code;
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(addresses.length, 6);
  const records = addresses.map((address) => {
    const record = Buffer.alloc(16);
    // The name is the question's, by a pointer to it; class IN.
    record.writeUInt16BE(0xc00c, 0);
    record.writeUInt16BE(TYPE.A, 2);
    record.writeUInt16BE(1, 4);
    record.writeUInt32BE(TTL, 6);
    record.writeUInt16BE(4, 10);
    address.split('.').forEach((part, i) => record.writeUInt8(Number(part), 12 + i));
    return record;
  });
  return Buffer.concat([header, query.subarray(12, end), ...records]);
}
