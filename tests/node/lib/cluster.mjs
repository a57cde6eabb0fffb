// A Kubernetes API for tests: the quickstart's stand-in with a kubeconfig for it, and short ways to write Services and their endpoints.
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createStandIn } from '../../../examples/quickstart/kubernetes-stand-in.mjs';

const TOKEN = 'stand-in-token-SECRET';

/** Starts it. `close()` ends it and every connection to it; `reopen()` brings it back on the same port with the same objects. */
export async function startCluster() {
  const server = createStandIn({ token: TOKEN });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  const url = `http://127.0.0.1:${port}`;
  const folder = mkdtempSync(join(tmpdir(), 'plenipo-kube-'));
  const kubeconfig = join(folder, 'config');
  const write = (file, token) =>
    writeFileSync(
      file,
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'Config',
        'current-context': 'c',
        contexts: [{ name: 'c', context: { cluster: 'c', user: 'u', namespace: 'shop' } }],
        clusters: [{ name: 'c', cluster: { server: url } }],
        users: [{ name: 'u', user: { token } }],
      }),
    );
  write(kubeconfig, TOKEN);
  const strangers = join(folder, 'strangers');
  write(strangers, 'wrong-token-SECRET');

  async function call(method, path, body) {
    const response = await fetch(url + path, { method, headers: { authorization: `Bearer ${TOKEN}` }, body: body && JSON.stringify(body) });
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
    await response.arrayBuffer();
  }
  const slices = '/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices';
  const slice = (name, addresses, ready) => ({
    metadata: { name: `${name}-1`, labels: { 'kubernetes.io/service-name': name } },
    addressType: 'IPv4',
    ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
    endpoints: addresses.map((address) => ({ addresses: [address], conditions: { ready } })),
  });
  return {
    url,
    kubeconfig,
    strangers,
    token: TOKEN,
    async addService(name, addresses) {
      await call('POST', '/api/v1/namespaces/shop/services', {
        metadata: { name },
        spec: { ipFamilies: ['IPv4'], ports: [{ name: 'http', port: 80, targetPort: 8080, protocol: 'TCP' }], selector: { app: name } },
      });
      await call('POST', slices, slice(name, addresses, true));
    },
    setEndpoints: (name, addresses) => call('PUT', `${slices}/${name}-1`, slice(name, addresses, true)),
    close() {
      server.close();
      server.closeAllConnections();
    },
    async reopen() {
      server.listen(port, '127.0.0.1');
      await once(server, 'listening');
    },
    remove() {
      server.close();
      server.closeAllConnections();
      rmSync(folder, { recursive: true });
    },
  };
}
