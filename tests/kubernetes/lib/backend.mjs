// A backend: answers every request with its name and with what it saw, as JSON, after `?wait=` milliseconds.
// Arguments: name, address, port, http1 or http2.
import http from 'node:http';
import http2 from 'node:http2';

const [name, address, port, protocol] = process.argv.slice(2);

function answer(request, response) {
  const host = request.headers[':authority'] ?? request.headers.host;
  const body = JSON.stringify({ name, host, path: request.url, httpVersion: request.httpVersion });
  request.resume();
  const wait = Number(new URL(request.url, 'http://any').searchParams.get('wait'));
  request.once('end', () => setTimeout(() => {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) });
    response.end(body);
  }, wait));
}

// A plain http2 server speaks HTTP/2 only: a client must know that beforehand.
const server = protocol === 'http2' ? http2.createServer(answer) : http.createServer({ keepAliveTimeout: 60_000 }, answer);
server.listen(Number(port), address, () => console.log('ready'));
