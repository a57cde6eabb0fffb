// A real kube-apiserver with its controllers for one test file, and what the tests do with it as admin.
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import https from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import * as k8s from '@kubernetes/client-node';

const recipe = fileURLToPath(new URL('..', import.meta.url));
const execute = promisify(execFile);

/** Repeats `body` until it gives something true; its last error is told when `ms` are over. */
export async function until(what, body, ms = 20_000) {
  const end = Date.now() + ms;
  for (;;) {
    let last;
    try {
      const value = await body();
      if (value) return value;
    } catch (error) {
      last = error;
    }
    if (Date.now() > end) throw new Error(`${what}: not within ${ms / 1_000} s${last ? `: ${last.message}` : ''}`);
    await sleep(50);
  }
}

export class ApiServer {
  static async start() {
    const { stdout } = await execute(join(recipe, 'ensure.sh'), { maxBuffer: 1 << 24 });
    const folder = await mkdtemp(join(tmpdir(), 'plenipo-kubernetes-'));
    const run = join(folder, 'run');
    const env = { ...process.env, RUN: run, BIN: stdout.trim(), OWNER: String(process.pid) };
    await execute(join(recipe, 'start.sh'), { env });
    return new ApiServer(folder, run, await readFile(join(run, 'admin.kubeconfig'), 'utf8'));
  }

  constructor(folder, run, kubeconfig) {
    this.folder = folder;
    this.run = run;
    this.config = new k8s.KubeConfig();
    this.config.loadFromString(kubeconfig);
    this.core = this.config.makeApiClient(k8s.CoreV1Api);
    this.discovery = this.config.makeApiClient(k8s.DiscoveryV1Api);
  }

  get url() {
    return this.config.getCurrentCluster().server;
  }

  async stop() {
    await execute(join(recipe, 'stop.sh'), { env: { ...process.env, RUN: this.run } });
    await rm(this.folder, { recursive: true, force: true });
  }

  /** kill -9 of kube-apiserver; etcd keeps the data. */
  async kill() {
    process.kill(Number(await readFile(join(this.run, 'kube-apiserver.pid'), 'utf8')), 'SIGKILL');
  }

  /** Starts it again and waits until it is ready. */
  async restart() {
    const script = 'setsid bash kube-apiserver.cmd >> kube-apiserver.log 2>&1 < /dev/null & echo $! > kube-apiserver.pid';
    await execute('bash', ['-c', script], { cwd: this.run });
    await until('the API server to be back', () => this.core.listNamespacedService({ namespace: 'default' }));
  }

  /** One request as admin, with nothing between us and the server; gives the parsed answer. */
  async request(method, path, body) {
    const { ca, headers } = await this.#credentials();
    return new Promise((resolve, reject) => {
      const json = body && JSON.stringify(body);
      const options = { method, ca, headers: { ...headers, 'content-type': 'application/json' }, agent: false };
      const request = https.request(`${this.url}${path}`, options, (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (data) => (text += data));
        response.once('end', () => {
          if (response.statusCode < 300) resolve(JSON.parse(text));
          else reject(new Error(`${method} ${path}: ${response.statusCode} ${text}`));
        });
      });
      request.once('error', reject);
      request.end(json);
    });
  }

  async #credentials() {
    const ca = Buffer.from(this.config.getCurrentCluster().caData, 'base64');
    return { ca, headers: { authorization: `Bearer ${this.config.getCurrentUser().token}` } };
  }

  /** Creates every object of a manifest, in `namespace` unless it names one; unknown fields are refused. Gives what was created. */
  async create(file, namespace = 'default') {
    const created = [];
    for (const object of k8s.loadAllYaml(await readFile(file, 'utf8'))) {
      const group = object.apiVersion.includes('/') ? 'apis' : 'api';
      const plural = `${object.kind.toLowerCase()}s`;
      const path = `/${group}/${object.apiVersion}/namespaces/${object.metadata.namespace ?? namespace}/${plural}`;
      created.push(await this.request('POST', `${path}?fieldValidation=Strict`, object));
    }
    return created;
  }

  /** A kubeconfig of a service account's fresh token, as a file of its own. */
  async kubeconfigOf(account, namespace = 'default') {
    const cluster = this.config.getCurrentCluster();
    const user = { name: account, token: await this.tokenOf(account, namespace) };
    const config = new k8s.KubeConfig();
    config.loadFromOptions({
      clusters: [cluster],
      users: [user],
      contexts: [{ name: 'test', cluster: cluster.name, user: account, namespace }],
      currentContext: 'test',
    });
    const file = join(this.folder, `${account}.kubeconfig`);
    await writeFile(file, config.exportConfig(), { mode: 0o600 });
    return file;
  }

  async tokenOf(account, namespace = 'default') {
    const body = { spec: { expirationSeconds: 3600, audiences: [] } };
    const answer = await this.core.createNamespacedServiceAccountToken({ name: account, namespace, body });
    return answer.status.token;
  }

  /** Writes what a pod of this account would find at /var/run/secrets/kubernetes.io/serviceaccount; gives the folder. */
  async accountFolder(account, where, namespace = 'default') {
    const folder = where ?? (await mkdtemp(join(this.folder, 'account-')));
    await writeFile(join(folder, 'token'), await this.tokenOf(account, namespace));
    await writeFile(join(folder, 'namespace'), namespace);
    await writeFile(join(folder, 'ca.crt'), Buffer.from(this.config.getCurrentCluster().caData, 'base64'));
    return folder;
  }

  /** The addresses of a Service's endpoints as the API's slices have them, the ready ones. */
  async ready(service, namespace = 'default') {
    const labelSelector = `kubernetes.io/service-name=${service}`;
    const { items } = await this.discovery.listNamespacedEndpointSlice({ namespace, labelSelector });
    const endpoints = items.filter((slice) => slice.addressType === 'IPv4').flatMap((slice) => slice.endpoints ?? []);
    return endpoints.filter((each) => each.conditions?.ready !== false).map((each) => each.addresses[0]);
  }
}
