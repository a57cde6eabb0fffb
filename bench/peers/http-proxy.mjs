// http-proxy as a peer: `node http-proxy.mjs PORT UPSTREAM LOG`.
import { Agent, createServer } from 'node:http';
import httpProxy from 'http-proxy';
import { accessLog } from './log.mjs';

const [port, upstream, log] = process.argv.slice(2);
const write = accessLog(log);
const proxy = httpProxy.createProxyServer({ target: `http://127.0.0.1:${upstream}`, agent: new Agent({ keepAlive: true, maxSockets: 256 }), xfwd: true });
proxy.on('error', (error, request, response) => response.writeHead?.(502).end());
createServer({ keepAliveTimeout: 300_000 }, (request, response) => {
  write(request, response);
  proxy.web(request, response);
}).listen(Number(port), '127.0.0.1', 4096);
