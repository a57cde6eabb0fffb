// buildCluster: an Envoy Cluster as plain JSON from a name, addresses and a few options.
'use strict';

const check = require('./check.js');
const { parseEndpoint } = require('./address.js');
const { envoyDuration } = require('./duration.js');
const { invalidArgument } = require('./errors.js');
const { upstreamTls } = require('./tls.js');
const { merge } = require('./merge.js');

const OPTIONS = ['port', 'type', 'lb', 'protocol', 'tls', 'connectTimeout', 'limits', 'envoy'];
const TYPES = ['STATIC', 'STRICT_DNS', 'LOGICAL_DNS'];
const POLICIES = ['round_robin', 'least_request', 'random'];
const PROTOCOLS = ['http1', 'http2'];
const LIMITS = {
  connections: 'max_connections',
  pending: 'max_pending_requests',
  requests: 'max_requests',
  retries: 'max_retries',
};

/** `buildCluster(name, endpoints, options)` or `buildCluster(spec)`. */
function buildCluster(nameOrSpec, endpoints, options) {
  if (typeof nameOrSpec === 'string') {
    return fromSpec({ ...check.options(options, 'options', OPTIONS), name: nameOrSpec, endpoints: check.array(endpoints, 'endpoints') });
  }
  check.options(check.object(nameOrSpec, 'the cluster'), 'the cluster', ['name', 'endpoints', ...OPTIONS]);
  if (endpoints !== undefined || options !== undefined) throw invalidArgument('a cluster given as one object takes no further arguments');
  return fromSpec(nameOrSpec);
}

function fromSpec(spec) {
  const name = check.string(spec.name, 'the cluster name');
  if (spec.port !== undefined) check.integer(spec.port, 'port', 1, 65_535);
  const endpoints = check
    .array(spec.endpoints ?? [], 'endpoints')
    .map((each, index) => parseEndpoint(each, `endpoints[${index}]`, spec.port));
  const type = clusterType(spec.type, endpoints);
  const cluster = { name, type };
  if (spec.connectTimeout !== undefined) cluster.connect_timeout = envoyDuration(spec.connectTimeout, 'connectTimeout');
  cluster.lb_policy = check.oneOf(spec.lb ?? 'round_robin', 'lb', POLICIES).toUpperCase();
  cluster.load_assignment = loadAssignment(name, endpoints);
  if (spec.limits !== undefined) cluster.circuit_breakers = { thresholds: [thresholds(spec.limits)] };
  if (spec.protocol !== undefined) cluster.typed_extension_protocol_options = protocolOptions(spec.protocol);
  if (spec.tls !== undefined && spec.tls !== false) cluster.transport_socket = upstreamTls(spec.tls, endpoints, spec.protocol);
  if (spec.envoy === undefined) return cluster;
  return merge(cluster, check.toJson(check.object(spec.envoy, 'envoy'), 'envoy'));
}

/** Addresses alone need no resolver; one host name is enough to need it. */
function clusterType(type, endpoints) {
  const named = endpoints.find((each) => each.name);
  if (type === undefined) return named ? 'STRICT_DNS' : 'STATIC';
  check.oneOf(type, 'type', TYPES);
  if (type === 'STATIC' && named) throw invalidArgument(`a STATIC cluster takes IP addresses only, got ${check.show(named.host)}`);
  if (type === 'LOGICAL_DNS' && endpoints.length !== 1) {
    throw invalidArgument(`a LOGICAL_DNS cluster has exactly one endpoint, got ${endpoints.length}`);
  }
  return type;
}

function loadAssignment(name, endpoints) {
  const assignment = { cluster_name: name };
  if (endpoints.length > 0) {
    assignment.endpoints = [{ lb_endpoints: endpoints.map(lbEndpoint) }];
  }
  return assignment;
}

function lbEndpoint({ host, port, weight }) {
  const endpoint = { endpoint: { address: { socket_address: { address: host, port_value: port } } } };
  if (weight !== undefined) endpoint.load_balancing_weight = weight;
  return endpoint;
}

function thresholds(limits) {
  check.options(check.object(limits, 'limits'), 'limits', Object.keys(LIMITS));
  const result = {};
  for (const [key, field] of Object.entries(LIMITS)) {
    if (limits[key] !== undefined) result[field] = check.integer(limits[key], `limits.${key}`, 0, 4_294_967_295);
  }
  return result;
}

function protocolOptions(protocol) {
  check.oneOf(protocol, 'protocol', PROTOCOLS);
  return {
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
      '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
      explicit_http_config: protocol === 'http2' ? { http2_protocol_options: {} } : { http_protocol_options: {} },
    },
  };
}

module.exports = { buildCluster };
