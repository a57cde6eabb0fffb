// Follows a Service's pods with plenipo's own Kubernetes client: what changes in the cluster changes in the running proxy at once.
//   npm install plenipo && node watch.mjs
import { Proxy, buildCluster, buildHost, buildListener, buildRoute, kubernetes } from 'plenipo';

const { SERVICE = 'app-svc', NAMESPACE, PORT = '8080', ADMIN = '127.0.0.1:9901' } = process.env;

const proxy = new Proxy({
  admin: ADMIN,
  listeners: [buildListener({ port: Number(PORT), hosts: [buildHost(['app.local', '*'], [buildRoute('/', 'app')])] })],
  clusters: [buildCluster('app', [], { connectTimeout: '250ms' })],
});
await proxy.start();

const pods = kubernetes.watch({ service: SERVICE, namespace: NAMESPACE, port: 80 });
pods.on('stale', ({ reason }) => console.error(`out of touch, the last pods stay: ${reason}`));
const follow = proxy.follow(pods, { cluster: 'app' });

process.once('SIGTERM', () => proxy.stop());

const { reason, error } = await follow.done;
if (reason === 'failed') {
  console.error(error.message);
  await proxy.stop();
  process.exitCode = 1;
}
