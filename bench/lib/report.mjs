// Prints what the bench measured as tables, and how it compares with the targets.
import { table } from '../../examples/quickstart/table.mjs';

const US = 'plenipo';
const MB = 1e6;

const ratio = (ours, theirs) => (ours !== undefined && theirs !== undefined ? `${(ours / theirs).toFixed(2)}x` : '');

/** Peers in order of their CPU time, those that failed last. `core %` well under 100 means that the proxy was not the bottleneck, or not alone. */
export function printLoad(title, results) {
  const ours = results[US]?.cpuMicros;
  const rows = Object.entries(results)
    .sort(([, a], [, b]) => (a.cpuMicros ?? Infinity) - (b.cpuMicros ?? Infinity))
    .map(([name, each]) =>
      each.error
        ? [name, 'failed', '', '', '', '', '', '']
        : [name, each.requestsPerSecond.toFixed(0), each.cpuMicros.toFixed(2), `${each.p50.toFixed(2)}`, `${each.p99.toFixed(2)}`, (each.rss / MB).toFixed(1), (each.busy * 100).toFixed(0), name === US ? '' : ratio(ours, each.cpuMicros)],
    );
  console.log(`\n${title}`);
  console.log(table(['peer', 'requests/s', 'CPU us/request', 'p50 ms', 'p99 ms', 'memory MB', 'core %', 'plenipo uses'], rows));
}

export function printIdle(results) {
  const rows = Object.entries(results).map(([name, each]) => (each.error ? [name, 'failed', ''] : [name, each.bytes.toFixed(0), (each.before / MB).toFixed(1)]));
  console.log('\nMemory of one idle kept-alive connection that has had one request');
  console.log(table(['peer', 'bytes', 'memory MB without'], rows));
}

export function printLarge(results, count) {
  const rows = Object.entries(results).map(([name, each]) => (each.error ? [name, 'failed', '', ''] : [name, each.seconds.toFixed(2), (each.peak / MB).toFixed(1), (each.rss / MB).toFixed(1)]));
  console.log(`\n${count} clusters and ${count} virtual hosts from a JSON file`);
  console.log(table(['peer', 'start to first 200, s', 'peak memory MB', 'memory MB after'], rows));
}

/** A row a kind, a column a size of the table. */
export function printLookups(results) {
  const sizes = Object.keys(Object.values(results)[0]);
  console.log('\nThe choice of a route among so many routes of one virtual host, or virtual hosts: ns a lookup');
  console.log(table(['kind', ...sizes], Object.entries(results).map(([kind, bySize]) => [kind, ...sizes.map((size) => bySize[size])])));
}

/** The targets, and whether this run met them. */
export function printTargets({ h1, h2, mib, routes, idle, large, lookups }) {
  const rows = [];
  const target = (what, measured, limit, show) => {
    if (measured !== undefined && limit !== undefined && !Number.isNaN(measured)) rows.push([what, show(measured), show(limit), measured <= limit ? 'met' : 'not met']);
  };
  const us = (value) => `${value.toFixed(2)} us`;
  target("HTTP/1.1: CPU a request, at most 0.5x Envoy's", h1?.[US]?.cpuMicros, h1?.Envoy?.cpuMicros && h1.Envoy.cpuMicros * 0.5, us);
  target("HTTP/1.1: CPU a request, at most 1.1x nginx's", h1?.[US]?.cpuMicros, h1?.nginx?.cpuMicros && h1.nginx.cpuMicros * 1.1, us);
  target("HTTP/2 in, HTTP/1.1 out: CPU a request, at most 0.55x Envoy's", h2?.[US]?.cpuMicros, h2?.Envoy?.cpuMicros && h2.Envoy.cpuMicros * 0.55, us);
  target("1 MiB bodies: CPU a request, at most Envoy's", mib?.[US]?.cpuMicros, mib?.Envoy?.cpuMicros, us);
  target('10,000 routes: CPU a request, at most 1.1x of one route', routes?.[US]?.cpuMicros, h1?.[US]?.cpuMicros && h1[US].cpuMicros * 1.1, us);
  target('an idle connection, at most 4 KB', idle?.[US]?.bytes, 4096, (value) => `${value.toFixed(0)} bytes`);
  target("large: start to first 200, at most a fifth of Envoy's", large?.[US]?.seconds, large?.Envoy?.seconds && large.Envoy.seconds / 5, (value) => `${value.toFixed(2)} s`);
  target("large: peak memory, at most a fifth of Envoy's", large?.[US]?.peak, large?.Envoy?.peak && large.Envoy.peak / 5, (value) => `${(value / MB).toFixed(1)} MB`);
  for (const kind of ['exact', 'prefix']) target(`10,000 routes: a lookup (${kind}), at most 2 us`, lookups?.[kind][10000] / 1000, 2, us);
  if (rows.length === 0) return;
  console.log('\nTargets');
  console.log(table(['target', 'measured', 'limit', ''], rows));
}
