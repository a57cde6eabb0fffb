// Endpoint addresses: `10.0.0.1:80`, `[::1]:80`, `::1`, `app.local:80`, or an object with the port and weight apart.
'use strict';

const { isIP } = require('node:net');
const check = require('./check.js');
const { invalidArgument } = require('./errors.js');

/** A DNS name as resolvers take it; a trailing dot and underscores occur in real service names. */
const HOST = /^(?=.{1,254}$)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*\.?$/i;

/** What `kubernetes` knows about an endpoint beside its address; it does not matter to the proxy. */
const KNOWN_BESIDE = ['zone', 'node', 'hostname', 'terminating'];

/** The largest weight that Envoy takes for one endpoint. */
const MAX_WEIGHT = 4_294_967_295;

/**
 * Reads one endpoint into `{ host, port, weight, name }`; `name` tells whether the host is a DNS name.
 * `defaultPort` is used where the address has none.
 */
function parseEndpoint(value, what, defaultPort) {
  let text = value;
  let port;
  let weight;
  if (check.isPlainObject(value)) {
    check.options(value, what, ['address', 'port', 'weight', ...KNOWN_BESIDE]);
    text = value.address;
    port = value.port;
    weight = value.weight;
    what = `${what}.address`;
  }
  if (typeof text !== 'string') {
    throw invalidArgument(`${what} must be a string such as '10.0.0.1:80' or an object with an 'address', got ${check.show(value)}`);
  }
  const address = splitHostPort(text, what);
  if (port !== undefined) {
    check.integer(port, `${what.replace(/\.address$/, '')}.port`, 1, 65_535);
    if (address.port !== undefined && address.port !== port) {
      throw invalidArgument(`${what} names port ${address.port}, but the port beside it is ${port}`);
    }
  }
  if (weight !== undefined) check.integer(weight, `${what.replace(/\.address$/, '')}.weight`, 1, MAX_WEIGHT);
  const found = port ?? address.port ?? defaultPort;
  if (found === undefined) throw invalidArgument(`${what} has no port: write ${check.show(`${bracketed(address.host)}:80`)}, or give 'port'`);
  if (found === 0) throw invalidArgument(`${what} must not name port 0`);
  return { host: address.host, port: found, weight, name: isIP(address.host) === 0 };
}

/** Splits `host:port`, `[v6]:port`, a bare host or a bare IPv6 address; port 0 is left to the caller to judge. */
function splitHostPort(text, what) {
  const wrong = (why) => invalidArgument(`${what} ${why}, got ${check.show(text)}`);
  if (text.includes('://')) throw wrong('must be an address without a scheme');
  if (text.startsWith('unix:') || text.startsWith('/')) throw wrong('must be a network address; Unix sockets are not supported');
  let host = text;
  let port;
  const bracket = /^\[([^\]]*)\](?::(.*))?$/.exec(text);
  if (bracket) {
    [, host, port] = bracket;
    if (isIP(host) !== 6) throw wrong('must have an IPv6 address between its brackets');
  } else if (isIP(text) !== 6) {
    const colon = text.lastIndexOf(':');
    if (colon >= 0) {
      host = text.slice(0, colon);
      port = text.slice(colon + 1);
    }
    // A name of digits and dots only is a mistyped IPv4 address, which would otherwise be asked of a DNS server.
    if (isIP(host) === 0 && (!HOST.test(host) || /^[\d.]+$/.test(host))) {
      throw wrong('must be an IPv4 or IPv6 address or a host name, with a port or without');
    }
  }
  if (host.includes('%')) throw wrong('must not have an IPv6 zone');
  if (port !== undefined) {
    if (!/^\d{1,5}$/.test(port) || Number(port) > 65_535) throw wrong('must have a port from 1 to 65535');
    port = Number(port);
  }
  return { host, port };
}

/** A host as it stands before a colon and a port. */
function bracketed(host) {
  return host.includes(':') ? `[${host}]` : host;
}

module.exports = { parseEndpoint, splitHostPort, bracketed };
