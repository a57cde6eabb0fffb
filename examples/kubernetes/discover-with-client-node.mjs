// Reads a Service's pod IPs with @kubernetes/client-node, builds a cluster of them, and pushes it into a running proxy.
//   npm install plenipo @kubernetes/client-node && node discover-with-client-node.mjs
// It asks again every second. watch.mjs does the same without asking, and needs no further package.
import { CoreV1Api, KubeConfig } from '@kubernetes/client-node';
import { Proxy, buildCluster, buildHost, buildListener, buildRoute } from 'plenipo';

const { SERVICE = 'app-svc', NAMESPACE = 'default', PORT = '8080', ADMIN = '127.0.0.1:9901' } = process.env;

const kc = new KubeConfig();
kc.loadFromDefault();
const k8sApi = kc.makeApiClient(CoreV1Api);

/** The ready pods of the Service, and the port on which they take its first port's requests. */
async function readPods() {
  const { subsets = [] } = await k8sApi.readNamespacedEndpoints({ name: SERVICE, namespace: NAMESPACE });
  const ready = subsets.find(({ addresses, ports }) => addresses?.length && ports?.length);
  return { ips: ready?.addresses.map(({ ip }) => ip) ?? [], port: ready?.ports[0].port };
}

const proxy = new Proxy({
  admin: ADMIN,
  listeners: [buildListener({ port: Number(PORT), hosts: [buildHost(['app.local', '*'], [buildRoute('/', 'app')])] })],
  clusters: [buildCluster('app', [])],
});
await proxy.start();
process.once('SIGTERM', () => proxy.stop());

let pushed;
while (proxy.state === 'live') {
  try {
    const { ips, port } = await readPods();
    const cluster = buildCluster('app', ips, { port, connectTimeout: '250ms', lb: 'round_robin' });
    if (JSON.stringify(cluster) !== pushed) {
      await proxy.apply({ clusters: [cluster] });
      pushed = JSON.stringify(cluster);
      console.log(`app: ${ips.join(', ') || 'no pods'}`);
    }
  } catch (error) {
    // The proxy goes on with the pods that it knows.
    console.error(`cannot read the pods of ${SERVICE}: ${error.message}`);
  }
  await new Promise((resolve) => setTimeout(resolve, 1_000));
}
