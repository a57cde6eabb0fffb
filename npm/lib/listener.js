// buildListener: an Envoy Listener with one HTTP connection manager, as plain JSON.
'use strict';

const { isIP } = require('node:net');
const check = require('./check.js');
const { invalidArgument } = require('./errors.js');
const { downstreamTls } = require('./tls.js');
const { merge } = require('./merge.js');

const OPTIONS = ['name', 'address', 'port', 'hosts', 'tls', 'filters', 'accessLog', 'envoy'];
const TYPE = 'type.googleapis.com/';

/** `buildListener(spec)`. */
function buildListener(spec) {
  check.options(check.object(spec, 'the listener'), 'the listener', OPTIONS);
  const port = check.integer(spec.port, 'port', 0, 65_535);
  const address = spec.address ?? '0.0.0.0';
  if (typeof address !== 'string' || isIP(address) === 0) {
    throw invalidArgument(`address must be an IPv4 or IPv6 address, got ${check.show(address)}`);
  }
  const name = spec.name === undefined ? `${address}_${port}` : check.string(spec.name, 'name');
  const listener = { name, address: { socket_address: { address, port_value: port } } };
  const chain = { filters: [connectionManager(name, spec)] };
  if (spec.tls !== undefined) {
    chain.transport_socket = downstreamTls(spec.tls);
    const names = serverNames(spec.tls.sni);
    if (names) {
      chain.filter_chain_match = { server_names: names };
      listener.listener_filters = [
        {
          name: 'envoy.filters.listener.tls_inspector',
          typed_config: { '@type': `${TYPE}envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector` },
        },
      ];
    }
  }
  listener.filter_chains = [chain];
  if (spec.envoy === undefined) return listener;
  return merge(listener, check.toJson(check.object(spec.envoy, 'envoy'), 'envoy'));
}

function connectionManager(name, spec) {
  const hosts = check.array(spec.hosts, 'hosts').map((each, index) => check.toJson(check.object(each, `hosts[${index}]`), `hosts[${index}]`));
  const filters = check.array(spec.filters ?? [], 'filters').map((each, index) => {
    check.object(each, `filters[${index}]`);
    check.string(each.name, `filters[${index}].name`);
    return check.toJson(each, `filters[${index}]`);
  });
  const manager = {
    '@type': `${TYPE}envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: name,
    codec_type: 'AUTO',
    route_config: { name, virtual_hosts: hosts },
    http_filters: [
      ...filters,
      { name: 'envoy.filters.http.router', typed_config: { '@type': `${TYPE}envoy.extensions.filters.http.router.v3.Router` } },
    ],
  };
  if (spec.accessLog !== undefined && spec.accessLog !== false) manager.access_log = [accessLog(spec.accessLog)];
  return { name: 'envoy.filters.network.http_connection_manager', typed_config: manager };
}

/** True logs to the standard output, a string to the file of that name, both in Envoy's default format. */
function accessLog(value) {
  if (value === true) {
    return {
      name: 'envoy.access_loggers.stdout',
      typed_config: { '@type': `${TYPE}envoy.extensions.access_loggers.stream.v3.StdoutAccessLog` },
    };
  }
  if (typeof value !== 'string' || value === '') throw invalidArgument(`accessLog must be true, false or a file name, got ${check.show(value)}`);
  return {
    name: 'envoy.access_loggers.file',
    typed_config: { '@type': `${TYPE}envoy.extensions.access_loggers.file.v3.FileAccessLog`, path: value },
  };
}

function serverNames(value) {
  if (value === undefined) return undefined;
  const names = check.array(value, 'tls.sni').map((each, index) => check.string(each, `tls.sni[${index}]`));
  if (names.length === 0) throw invalidArgument('tls.sni must not be empty');
  return names;
}

module.exports = { buildListener };
