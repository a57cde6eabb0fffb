// The same work for every peer: one listener, one route, one upstream, keep-alive on both sides, a request id, one log line a request.

/** Envoy's configuration, as JSON, for Envoy and for us. `tls` is { cert, key } as file names; `routes` is how many
 * routes there are, of which `lastRoute` is the last that is not for everything. */
export function envoyConfig({ port, upstream, log, tls, routes = 1 }) {
  return {
    static_resources: {
      listeners: [
        {
          name: 'bench',
          address: { socket_address: { address: '127.0.0.1', port_value: port } },
          filter_chains: [
            {
              filters: [
                {
                  name: 'envoy.filters.network.http_connection_manager',
                  typed_config: {
                    '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
                    stat_prefix: 'bench',
                    access_log: [
                      {
                        name: 'envoy.access_loggers.file',
                        typed_config: { '@type': 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog', path: log },
                      },
                    ],
                    route_config: {
                      name: 'local',
                      virtual_hosts: [{ name: 'all', domains: ['*'], routes: routeList(routes) }],
                    },
                    http_filters: [
                      { name: 'envoy.filters.http.router', typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' } },
                    ],
                  },
                },
              ],
              ...(tls && {
                transport_socket: {
                  name: 'envoy.transport_sockets.tls',
                  typed_config: {
                    '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext',
                    common_tls_context: {
                      alpn_protocols: ['h2', 'http/1.1'],
                      tls_certificates: [{ certificate_chain: { filename: tls.cert }, private_key: { filename: tls.key } }],
                    },
                  },
                },
              }),
            },
          ],
        },
      ],
      clusters: [cluster('app', upstream)],
    },
  };
}

/** The path of the last route but one of many. */
export const lastRoute = (routes) => `/api/v${(routes - 2) % 7}/resource-${routes - 2}`;

function routeList(count) {
  const route = { cluster: 'app' };
  const own = Array.from({ length: count - 1 }, (_, i) => ({ match: { [i % 2 ? 'path' : 'path_separated_prefix']: `/api/v${i % 7}/resource-${i}` }, route }));
  return [...own, { match: { prefix: '/' }, route }];
}

function cluster(name, port) {
  return {
    name,
    type: 'STATIC',
    connect_timeout: '1s',
    load_assignment: {
      cluster_name: name,
      endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: port } } } }] }],
    },
  };
}

/** The same with `count` clusters and as many virtual hosts, `svc-N.local`. */
export function largeConfig({ count, ...rest }) {
  const config = envoyConfig(rest);
  const manager = config.static_resources.listeners[0].filter_chains[0].filters[0].typed_config;
  const numbers = Array.from({ length: count }, (_, i) => i);
  config.static_resources.clusters = numbers.map((i) => cluster(`svc-${i}`, rest.upstream));
  manager.route_config.virtual_hosts = numbers.map((i) => ({
    name: `svc-${i}`,
    domains: [`svc-${i}.local`],
    routes: [{ match: { prefix: '/' }, route: { cluster: `svc-${i}` } }],
  }));
  return config;
}

/** nginx as the proxy. */
export function nginxProxy({ port, h2port, upstream, log, folder, tls }) {
  const listen = tls ? `listen 127.0.0.1:${port} ssl http2; ssl_certificate ${tls.cert}; ssl_certificate_key ${tls.key}; ssl_protocols TLSv1.2 TLSv1.3;` : '';
  const plain = (each, extra) => (tls ? '' : `listen 127.0.0.1:${each}${extra};`);
  return nginx(folder, `
    log_format line '[$time_iso8601] "$request" $status $request_length $body_bytes_sent $request_time "$http_user_agent" "$request_id" "$host" "$upstream_addr"';
    access_log ${log} line buffer=64k flush=1s;
    upstream app { server 127.0.0.1:${upstream}; keepalive 256; keepalive_requests 1000000000; }
    server {
      ${listen} ${plain(port, '')} ${plain(h2port, ' http2')}
      keepalive_requests 1000000000;
      location / {
        proxy_pass http://app;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $host;
        proxy_set_header X-Request-Id $request_id;
        proxy_set_header X-Forwarded-Proto $scheme;
      }
    }`);
}

/** nginx as the upstream: a 128-byte body for every request, 1 MiB for /mib, no log. */
export function nginxUpstream({ port, folder }) {
  return nginx(folder, `
    access_log off;
    server {
      listen 127.0.0.1:${port} backlog=4096;
      keepalive_requests 1000000000;
      default_type text/plain;
      location = /mib { root ${folder}; }
      location / { return 200 "${'x'.repeat(127)}\n"; }
    }`);
}

function nginx(folder, http) {
  return `
  daemon off; master_process off; worker_processes 1; pid ${folder}/nginx.pid; error_log ${folder}/error.log warn;
  worker_rlimit_nofile 65536;
  events { worker_connections 16384; }
  http {
    client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy; fastcgi_temp_path ${folder}/f; uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s;
    tcp_nodelay on; keepalive_timeout 300s;${http}
  }\n`;
}

/** HAProxy; it writes its log to its standard output, which is the log file. */
export function haproxy({ port, h2port, upstream, tls, folder }) {
  const bind = tls ? `bind 127.0.0.1:${port} ssl crt ${folder}/both.pem alpn h2,http/1.1` : `bind 127.0.0.1:${port}\n  bind 127.0.0.1:${h2port} proto h2`;
  return `
global
  nbthread 1
  maxconn 8192
  log stdout format raw daemon
defaults
  mode http
  log global
  option httplog
  timeout connect 1s
  timeout client 300s
  timeout server 15s
  timeout http-keep-alive 300s
frontend bench
  ${bind}
  unique-id-format %[uuid()]
  unique-id-header x-request-id
  http-request set-header x-forwarded-proto http
  default_backend app
backend app
  http-reuse always
  server one 127.0.0.1:${upstream}
`;
}
