// A small upstream service in a process of its own: answers every request with its name. Started by the quickstart.
import { createServer } from 'node:http';

const name = process.argv[2] ?? 'upstream';
const server = createServer((request, response) => {
  request.resume();
  response.setHeader('content-type', 'text/plain');
  response.setHeader('x-served-by', name);
  response.end(`hello from ${name}\n`);
});
server.keepAliveTimeout = 60_000;
server.listen(0, '127.0.0.1', () => process.send({ port: server.address().port }));

// It ends with its parent, and as a pod does on SIGTERM: no new connections, running requests finish.
process.on('disconnect', () => process.exit());
process.on('SIGINT', () => {});
process.on('SIGTERM', () => {
  server.close(() => process.exit());
  server.closeIdleConnections();
});
