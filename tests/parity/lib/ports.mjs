// Hands out free TCP ports below the ephemeral range, so that no outgoing connection takes one before the proxy binds it.
import net from 'node:net';

const taken = new Set();

/** A port of five digits on 127.0.0.1 that nobody listens on; never handed out twice. */
export async function freePort() {
  for (let i = 0; i < 1000; i++) {
    const port = 10000 + Math.floor(Math.random() * 20000);
    if (taken.has(port)) continue;
    taken.add(port);
    if (await binds(port)) return port;
  }
  throw new Error('no free port between 10000 and 30000');
}

function binds(port) {
  return new Promise(resolve => {
    const s = net.createServer();
    s.once('error', () => resolve(false));
    s.listen(port, '127.0.0.1', () => s.close(() => resolve(true)));
  });
}
