// fast-proxy as a peer: `node fast-proxy.mjs PORT UPSTREAM LOG`.
import { createServer } from 'node:http';
import fastProxy from 'fast-proxy';
import { accessLog } from './log.mjs';

const [port, upstream, log] = process.argv.slice(2);
const write = accessLog(log);
const { proxy } = fastProxy({ base: `http://127.0.0.1:${upstream}`, undici: { connections: 64, pipelining: 1 } });
createServer({ keepAliveTimeout: 300_000 }, (request, response) => {
  write(request, response);
  proxy(request, response, request.url, {});
}).listen(Number(port), '127.0.0.1', 4096);
