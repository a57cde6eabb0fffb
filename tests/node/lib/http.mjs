// Upstream servers that say who they are, and requests through a proxy.
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';

/** Starts a server that answers `name`; `/slow?ms=N` waits first. `close()` ends it and its connections. */
export async function startUpstream(name) {
  let connections = 0;
  let requests = 0;
  const server = http.createServer(async (request, response) => {
    requests += 1;
    const url = new URL(request.url, 'http://upstream');
    const wait = Number(url.searchParams.get('ms') ?? 0);
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
    response.setHeader('x-upstream', name);
    response.setHeader('x-seen', JSON.stringify({ method: request.method, url: request.url, headers: request.headers }));
    response.end(name);
  });
  server.keepAliveTimeout = 60_000;
  server.on('connection', () => (connections += 1));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  return {
    name,
    address: `127.0.0.1:${port}`,
    port,
    get connections() {
      return connections;
    },
    get requests() {
      return requests;
    },
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** One request; resolves with `{ status, headers, body }`. */
export function request(port, path = '/', { host = 'app.local', method = 'GET', headers, body, agent = false, signal } = {}) {
  return new Promise((resolve, reject) => {
    const outgoing = http.request({ host: '127.0.0.1', port, path, method, headers: { host, ...headers }, agent, signal }, (incoming) => {
      let text = '';
      incoming.setEncoding('utf8').on('data', (part) => (text += part));
      incoming.on('end', () => resolve({ status: incoming.statusCode, headers: incoming.headers, body: text }));
      incoming.on('error', reject);
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

/** Whether nothing listens on a port any more. */
export function portIsFree(port, host = '127.0.0.1') {
  return new Promise((resolve) => {
    const socket = net.connect(port, host);
    socket.on('connect', () => {
      socket.destroy();
      resolve(false);
    });
    socket.on('error', (error) => resolve(error.code === 'ECONNREFUSED'));
  });
}

/** Holds a port of 127.0.0.1 until `close()`. */
export async function holdPort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { port: server.address().port, close: () => server.close() };
}
