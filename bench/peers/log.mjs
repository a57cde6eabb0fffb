// The access log of the peers that have none: one line a request, written in blocks as the others do.
import { createWriteStream } from 'node:fs';

const BLOCK = 64 << 10;

/** Returns a function that logs a request when its answer is finished. */
export function accessLog(path) {
  const file = createWriteStream(path, { flags: 'a' });
  let block = '';
  const flush = () => {
    if (block) file.write(block);
    block = '';
  };
  setInterval(flush, 1_000).unref();
  process.on('SIGTERM', () => {
    flush();
    file.end(() => process.exit());
  });
  return (request, response) => {
    const started = performance.now();
    response.on('finish', () => {
      block += `[${new Date().toISOString()}] "${request.method} ${request.url} HTTP/${request.httpVersion}" ${response.statusCode} ${(performance.now() - started).toFixed(0)} "${request.headers['user-agent'] ?? '-'}" "${request.headers.host ?? '-'}"\n`;
      if (block.length > BLOCK) flush();
    });
  };
}
