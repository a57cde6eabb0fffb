// Proxies for tests: one listener on a free port of 127.0.0.1 that routes all to the cluster `app`.
import { Proxy, buildCluster, buildHost, buildListener, buildRoute } from '../../../npm/lib/index.mjs';

/** A listener `http` on a free port, or the given one. */
export function listener({ name = 'http', port = 0, to = 'app', ...more } = {}) {
  return buildListener({ name, address: '127.0.0.1', port, hosts: [buildHost('*', [buildRoute('/', to)])], ...more });
}

/** The configuration: `app` at these addresses. */
export function config(addresses = [], more = {}) {
  return { listeners: [listener()], clusters: [buildCluster('app', addresses)], ...more };
}

/** A started proxy that is stopped when the test ends, and the port of its listener. */
export async function startProxy(t, given = config(), options = { concurrency: 1 }) {
  const proxy = new Proxy(given, options);
  await proxy.start();
  t.after(() => proxy.stop({ force: true }));
  return { proxy, port: portOf(proxy) };
}

/** The real port of a listener. */
export function portOf(proxy, name = 'http') {
  return proxy.addresses.find((each) => each.listener === name)?.port;
}
