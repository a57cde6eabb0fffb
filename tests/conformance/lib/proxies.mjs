// Starts plenipo, or real Envoy for comparison, on a configuration of its own, in a folder of its own.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { freePort } from '../../parity/lib/ports.mjs';
import { programs, startProxy, stopProxy } from '../../parity/lib/proxy.mjs';
import { toYaml } from '../../parity/lib/yaml.mjs';

/** Which proxy the suites test: `PROXY=envoy node --test tests/conformance` tells what real Envoy does. */
export const subject = process.env.PROXY === 'envoy' ? 'envoy' : 'plenipo';

const certs = path.resolve(import.meta.dirname, '..', '..', 'parity', 'certs');
const types = { manager: 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager', router: 'envoy.extensions.filters.http.router.v3.Router',
  tls: 'envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext', options: 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions', file: 'envoy.extensions.access_loggers.file.v3.FileAccessLog' };
const TEST_CERTIFICATE = { certificate_chain: { filename: path.join(certs, 'server.crt') }, private_key: { filename: path.join(certs, 'server.key') } };
export const any = (type, fields = {}) => ({ '@type': `type.googleapis.com/${type}`, ...fields });

/**
 * One listener for HTTP. `manager` fields are the connection manager's, `cluster` the one that all requests go to unless `manager` has its own routes,
 * `tls` makes it a TLS listener that offers these ALPN names, with the parity tests' certificate unless it is given another one.
 */
export function listener(name, port, { cluster, tls, certificate = TEST_CERTIFICATE, manager = {}, filters = [], log } = {}) {
  return {
    name, address: address(port),
    filter_chains: [{
      filters: [{ name: 'http', typed_config: any(types.manager, {
        stat_prefix: name,
        route_config: { virtual_hosts: [{ name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster, timeout: '0s' } }] }] },
        http_filters: [...filters, { name: 'router', typed_config: any(types.router) }],
        ...(log && { access_log: [{ name: 'file', typed_config: any(types.file, log) }] }),
        ...manager,
      }) }],
      ...(tls && { transport_socket: { name: 'tls', typed_config: any(types.tls, { common_tls_context: {
        alpn_protocols: tls,
        tls_certificates: [certificate],
      } }) } }),
    }],
  };
}

/** A cluster of one host on 127.0.0.1; `http2` speaks HTTP/2 to it. */
export function cluster(name, port, { http2 = false, fields = {} } = {}) {
  return {
    name, type: 'STATIC', connect_timeout: '5s',
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint: { address: address(port) } }] }] },
    ...(http2 && { typed_extension_protocol_options: { 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': any(types.options, { explicit_http_config: { http2_protocol_options: {} } }) } }),
    ...fields,
  };
}

const address = (port) => ({ socket_address: { address: '127.0.0.1', port_value: port } });

/** Runs `body(proxy)` with the subject under test on these listeners and clusters; `proxy.folder` is a folder that lives as long. */
export async function withProxy({ listeners, clusters }, body) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'plenipo-conformance-'));
  const file = path.join(folder, 'proxy.yaml');
  fs.writeFileSync(file, toYaml({ admin: { address: address(0) }, static_resources: { listeners: listeners(folder), clusters } }));
  const proxy = await startProxy(subject, programs()[subject], file, folder);
  try {
    return await body({ ...proxy, folder });
  } finally {
    await stopProxy(proxy);
    fs.rmSync(folder, { recursive: true });
  }
}

export { freePort };
