// Pods without a kubelet: their objects in the API server, their programs in a network namespace of their own, 192.168.231.0/24.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { run } from './namespace.mjs';
import { until } from './apiserver.mjs';

const backend = fileURLToPath(new URL('backend.mjs', import.meta.url));
const OURS = '192.168.231.1';
// Keeps the route when the pods' own addresses come and go.
const THEIRS = '192.168.231.254';

/** The pods' side of the network; call it once, inside the test file's namespace. */
export class Pods {
  static async start(api) {
    const holder = spawn('setpriv', ['--pdeathsig', 'KILL', 'unshare', '-n', 'sleep', '3600'], { stdio: 'ignore' });
    const pods = new Pods(api, holder);
    const own = run('readlink', '/proc/self/ns/net');
    await until('a network namespace for pods', () => run('readlink', `/proc/${holder.pid}/ns/net`) !== own);
    run('ip', 'link', 'add', 'pods', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', String(holder.pid));
    run('ip', 'addr', 'add', `${OURS}/24`, 'dev', 'pods');
    run('ip', 'link', 'set', 'pods', 'up');
    pods.#inside('ip', 'addr', 'add', `${THEIRS}/24`, 'dev', 'eth0');
    pods.#inside('ip', 'link', 'set', 'lo', 'up');
    pods.#inside('ip', 'link', 'set', 'eth0', 'up');
    if (api) await api.core.createNode({ body: { metadata: { name: 'node-1', labels: { 'topology.kubernetes.io/zone': 'zone-a' } } } });
    return pods;
  }

  #api;
  #holder;
  #running = new Map();

  constructor(api, holder) {
    this.#api = api;
    this.#holder = holder;
  }

  #inside(command, ...args) {
    return run('nsenter', '-t', String(this.#holder.pid), '-n', command, ...args);
  }

  /** A program that answers with its name at an address, `http1` or `http2` (prior knowledge). */
  async program(name, address, port, protocol = 'http1') {
    this.#inside('ip', 'addr', 'add', `${address}/32`, 'dev', 'eth0');
    const args = ['--pdeathsig', 'KILL', 'nsenter', '-t', String(this.#holder.pid), '-n', process.execPath, backend, name, address, String(port), protocol];
    const child = spawn('setpriv', args, { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#running.set(name, { child, address });
    await Promise.race([
      once(child.stdout, 'data'),
      once(child, 'exit').then(() => Promise.reject(new Error(`the backend ${name} did not start`))),
    ]);
    return address;
  }

  /** Ends a program at once, as SIGKILL does, and takes its address away. */
  async kill(name) {
    const { child, address } = this.#running.get(name);
    this.#running.delete(name);
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
    this.#inside('ip', 'addr', 'del', `${address}/32`, 'dev', 'eth0');
  }

  /** A pod with its program: made, started, ready. */
  async pod(name, address, { port = 80, protocol = 'http1', app = 'app', namespace = 'default' } = {}) {
    await this.program(name, address, port, protocol);
    const body = {
      metadata: { name, labels: { app } },
      spec: {
        nodeName: 'node-1',
        containers: [{ name: 'app', image: 'none', ports: [{ name: 'http', containerPort: port }] }],
      },
    };
    await this.#api.core.createNamespacedPod({ namespace, body });
    const status = {
      phase: 'Running',
      podIP: address,
      podIPs: [{ ip: address }],
      conditions: [{ type: 'Ready', status: 'True' }],
    };
    const patch = [{ op: 'add', path: '/status', value: status }];
    await this.#api.core.patchNamespacedPodStatus({ name, namespace, body: patch });
  }

  /** Deletes a pod as `kubectl delete` does: it is terminating, and its program runs on until `kill`. */
  async remove(name, namespace = 'default') {
    await this.#api.core.deleteNamespacedPod({ name, namespace });
  }

  /** Ends everything, also pods' objects. */
  async clear(namespace = 'default') {
    for (const name of [...this.#running.keys()]) await this.kill(name);
    if (!this.#api) return;
    const { items } = await this.#api.core.listNamespacedPod({ namespace });
    for (const { metadata } of items) await this.#api.core.deleteNamespacedPod({ name: metadata.name, namespace, gracePeriodSeconds: 0 });
  }

  async stop() {
    for (const name of [...this.#running.keys()]) await this.kill(name);
    this.#holder.kill('SIGKILL');
  }
}
