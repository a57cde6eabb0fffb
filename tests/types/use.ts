// Compiled, never run: the API as a program uses it, and what must not compile.
import {
  Proxy,
  ConfigError,
  ProxyError,
  buildCluster,
  buildHost,
  buildListener,
  buildRoute,
  kubernetes,
  loadConfig,
  validate,
  type ApplyResult,
  type BoundAddress,
  type ClusterOptions,
  type Config,
  type ConfigIssue,
  type Duration,
  type Endpoint,
  type Envoy,
  type ErrorCode,
  type Follow,
  type FollowEnd,
  type ServiceSnapshot,
  type ServiceWatch,
} from 'plenipo';

const endpoints: Endpoint[] = ['10.0.0.1', { address: '10.0.0.2', port: 81, weight: 2 }];
const options: ClusterOptions = { port: 80, lb: 'round_robin', connectTimeout: '250ms' };
const app: Envoy<'Cluster'> = buildCluster('app', endpoints, options);
const duration: Duration = '1.5h';

export async function main(signal: AbortSignal): Promise<void> {
  const config: Config = {
    admin: 9901,
    listeners: [
      buildListener({
        port: 8080,
        hosts: [
          buildHost('app.local', [buildRoute('/', app, { timeout: false, retry: { attempts: 2, on: ['5xx'], perTry: duration } })]),
          buildHost(['*'], [buildRoute({ regex: /a/, headers: { a: /b/, c: true } }, { respond: 404 })]),
        ],
      }),
    ],
    clusters: [app, buildCluster({ name: 'b', endpoints: ['a.b:80'], tls: { sni: 'a.b', ca: Buffer.from('') } }), { name: 'written', connectTimeout: '1s' }],
  };
  await using proxy = new Proxy(config, { concurrency: 1 });
  const same: Proxy = await proxy.start({ signal });
  const addresses: readonly BoundAddress[] = same.addresses;
  proxy.on('applied', (result: ApplyResult) => console.log(result.version, result.added.length));
  proxy.on('error', (error) => console.error(error.code satisfies ErrorCode));
  proxy.on('stale', ({ source, staleMs, reason }) => console.log(source.length, staleMs.toFixed(), reason.length));
  const watch: ServiceWatch = kubernetes.watch({ service: 'app', port: 'http' }, { debounce: 10, signal }).unref();
  const follow: Follow = proxy.follow(watch, { cluster: 'app', signal });
  const end: FollowEnd = await follow.done;
  if (end.reason === 'failed') console.error(end.error.message);
  for await (const snapshot of watch) {
    const found: ServiceSnapshot = snapshot;
    await proxy.setEndpoints('app', found.endpoints);
    buildCluster('app', found.endpoints);
  }
  try {
    await proxy.apply({ clusters: [app] }, { ifVersion: proxy.version, replace: true, dryRun: true, signal });
  } catch (error) {
    if (error instanceof ConfigError) console.error(error.format({ color: true }), error.issues[0]?.path);
    else if (error instanceof ProxyError) console.error(error.code, error.details);
  }
  await proxy.remove('cluster', 'a', 'b');
  const one: number | undefined = proxy.stats(/^cluster\./)['cluster.app.upstream_rq_total'];
  const issues: ConfigIssue[] = validate(await loadConfig('envoy.yaml'));
  const { completed, reset } = await proxy.drain({ timeout: '5s' });
  await proxy.stop({ grace: 0 });
  console.log(addresses.length, one, issues.length, completed + reset, proxy.prometheus().length, proxy.dump().clusters.length);
}

// @ts-expect-error a cluster is no listener
export const wrongKind: Config = { listeners: [app as Envoy<'Cluster'>] };
// @ts-expect-error no such balancer
buildCluster('app', [], { lb: 'maglev' });
// @ts-expect-error no such unit
buildCluster('app', [], { connectTimeout: '1d' });
// @ts-expect-error endpoints are needed
buildCluster('app');
// @ts-expect-error retries need a number
buildRoute('/', 'app', { retry: {} });
// @ts-expect-error errors are not made by callers
new ProxyError('ERR_PLENIPO_BIND', 'x');
// @ts-expect-error states are read only
new Proxy().state = 'live';
// @ts-expect-error no such event
new Proxy().on('health', () => {});
// @ts-expect-error what is not implemented is not there
new Proxy().explain('http://a/');
