// The embedded default of the quickstart: upstream services and a stand-in for the Kubernetes API, each in a process of its own.
import { fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const SERVICE = 'app';
const NAMESPACE = 'default';

/** Starts one of this folder's programs and waits until it says which port it has. */
async function program(file, args, env = {}) {
  const child = fork(fileURLToPath(new URL(file, import.meta.url)), args, {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const early = once(child, 'exit').then(([code]) => Promise.reject(new Error(`${file} ended with status ${code} before it listened`)));
  const [{ port }] = await Promise.race([once(child, 'message'), early]);
  early.catch(() => {});
  return { child, port };
}

/** Ends a child and waits until it is gone; after 3 s it is killed. */
async function end(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), 3_000);
  await gone;
  clearTimeout(timer);
}

/** The slice that announces one upstream. Each has a port of its own, as all are on this machine's loopback. */
function slice({ name, port }) {
  return {
    metadata: { name: `${SERVICE}-${name}`, labels: { 'kubernetes.io/service-name': SERVICE } },
    addressType: 'IPv4',
    endpoints: [{ addresses: ['127.0.0.1'], conditions: { ready: true, serving: true, terminating: false } }],
    ports: [{ name: 'http', protocol: 'TCP', port }],
  };
}

/** Starts everything with `count` upstreams behind the Service `app`. */
export async function startEmbedded(count) {
  const folder = await mkdtemp(join(tmpdir(), 'plenipo-quickstart-'));
  const token = randomBytes(16).toString('hex');
  const children = [];
  const upstreams = [];

  const api = await program('kubernetes-stand-in.mjs', [], { STAND_IN_TOKEN: token });
  children.push(api.child);
  const server = `http://127.0.0.1:${api.port}`;

  async function request(method, path, body) {
    const response = await fetch(`${server}${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: body && JSON.stringify(body),
    });
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
  }
  const slices = `/apis/discovery.k8s.io/v1/namespaces/${NAMESPACE}/endpointslices`;

  async function startUpstream() {
    const name = `upstream-${upstreams.length + 1}`;
    const { child, port } = await program('upstream.mjs', [name]);
    const upstream = { name, port, address: `127.0.0.1:${port}`, child };
    children.push(child);
    upstreams.push(upstream);
    return upstream;
  }

  // A plain kubeconfig, as kubectl would use; only its owner may read it, as it holds the token.
  const kubeconfig = join(folder, 'kubeconfig.json');
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'stand-in',
    clusters: [{ name: 'stand-in', cluster: { server } }],
    users: [{ name: 'quickstart', user: { token } }],
    contexts: [{ name: 'stand-in', context: { cluster: 'stand-in', user: 'quickstart', namespace: NAMESPACE } }],
  };
  await writeFile(kubeconfig, JSON.stringify(config, null, 2), { mode: 0o600 });

  await request('POST', `/api/v1/namespaces/${NAMESPACE}/services`, {
    metadata: { name: SERVICE },
    spec: {
      type: 'ClusterIP',
      clusterIP: '10.96.0.10',
      clusterIPs: ['10.96.0.10'],
      ipFamilies: ['IPv4'],
      ipFamilyPolicy: 'SingleStack',
      selector: { app: SERVICE },
      ports: [{ name: 'http', protocol: 'TCP', port: 80, targetPort: 'http' }],
    },
  });
  for (let i = 0; i < count; i += 1) await request('POST', slices, slice(await startUpstream()));

  return {
    server,
    kubeconfig,
    service: SERVICE,
    namespace: NAMESPACE,
    upstreams,
    /** Starts another upstream and lets the API say that it took over from `old`, which goes on running. */
    async move(old) {
      const fresh = await startUpstream();
      await request('POST', slices, slice(fresh));
      await request('DELETE', `${slices}/${SERVICE}-${old.name}`);
      return fresh;
    },
    /** Ends one upstream, as a pod's deletion does. */
    async retire(upstream) {
      await end(upstream.child);
    },
    async stop() {
      await Promise.all(children.map(end));
      await rm(folder, { recursive: true, force: true });
    },
  };
}
