// The peers: how each is configured and started. All are given the same ports, upstream and log file.
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { envoyConfig, haproxy, nginxProxy } from './config.mjs';
import { pinned } from './process.mjs';

const script = (name) => fileURLToPath(new URL(`../peers/${name}`, import.meta.url));

/** Writes Envoy's JSON where one of the two that read it will find it. */
function writeConfig({ folder, config, ...rest }) {
  const file = join(folder, 'envoy.json');
  writeFileSync(file, JSON.stringify(config ?? envoyConfig(rest)));
  return file;
}

/**
 * Each peer: `h2` and `tls`, whether it takes HTTP/2 and TLS; `large`, whether it takes Envoy's configuration with 10,000 clusters;
 * `start(job)`, which returns the child. A job has core, folder, port, h2port, upstream, log, output, tls, and config for `large`.
 */
export function peers({ program, packageFolder, envoy }) {
  return {
    plenipo: {
      what: 'the native program, one worker',
      h2: true,
      tls: true,
      large: true,
      start: (job) => pinned(job.core, program, ['run', '-c', writeConfig(job), '--concurrency', '1', '-l', 'error'], job),
      port: (job) => job.port,
    },
    'plenipo in Node': {
      what: 'embedded in a Node process, one worker',
      h2: true,
      tls: true,
      large: true,
      start: (job) => pinned(job.core, process.execPath, [script('embedded.mjs'), writeConfig(job)], { ...job, cwd: packageFolder }),
      port: (job) => job.port,
    },
    Envoy: {
      what: 'Envoy 1.40.0, --concurrency 1',
      h2: true,
      tls: true,
      large: true,
      start: (job) => pinned(job.core, envoy, ['-c', writeConfig(job), '--concurrency', '1', '-l', 'error', '--use-dynamic-base-id'], job),
      port: (job) => job.port,
    },
    nginx: {
      what: 'Debian nginx, one process',
      h2: true,
      tls: true,
      start(job) {
        const file = join(job.folder, 'nginx.conf');
        writeFileSync(file, nginxProxy(job));
        return pinned(job.core, 'nginx', ['-p', job.folder, '-c', file], job);
      },
      stop: 'SIGTERM',
      port: (job, h2) => (h2 ? job.h2port : job.port),
    },
    HAProxy: {
      what: 'Debian HAProxy, one thread',
      h2: true,
      tls: true,
      start(job) {
        const file = join(job.folder, 'haproxy.cfg');
        writeFileSync(file, haproxy(job));
        return pinned(job.core, 'haproxy', ['-db', '-f', file], { ...job, output: job.log });
      },
      port: (job, h2) => (h2 ? job.h2port : job.port),
    },
    'http-proxy': {
      what: 'http-proxy 1.18 in Node',
      start: (job) => pinned(job.core, process.execPath, [script('http-proxy.mjs'), String(job.port), String(job.upstream), job.log], job),
      port: (job) => job.port,
    },
    'fast-proxy': {
      what: 'fast-proxy 2.2 in Node',
      start: (job) => pinned(job.core, process.execPath, [script('fast-proxy.mjs'), String(job.port), String(job.upstream), job.log], job),
      port: (job) => job.port,
    },
  };
}

/** Lays the package out as npm installs it, with an optimised addon: what `plenipo in Node` runs. */
export function layPackage(folder, { root, addon, platform }) {
  const main = join(folder, 'node_modules', 'plenipo');
  const native = join(folder, 'node_modules', '@plenipo', platform);
  mkdirSync(join(main, 'npm'), { recursive: true });
  mkdirSync(native, { recursive: true });
  cpSync(join(root, 'package.json'), join(main, 'package.json'));
  cpSync(join(root, 'npm', 'lib'), join(main, 'npm', 'lib'), { recursive: true });
  cpSync(join(root, 'npm', 'platforms', platform, 'package.json'), join(native, 'package.json'));
  cpSync(addon, join(native, `plenipo.${platform}.node`));
  return folder;
}
