// Transport sockets with TLS for clusters and listeners, as Envoy JSON.
'use strict';

const { existsSync } = require('node:fs');
const check = require('./check.js');
const { invalidArgument } = require('./errors.js');

/** Where Linux systems and macOS keep the certificates that they trust. */
const SYSTEM_BUNDLES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/ssl/cert.pem',
];

/** The transport socket of a cluster. Unless `insecure`, servers must show a certificate for `sni`. */
function upstreamTls(tls, endpoints, protocol) {
  const options = tls === true ? {} : check.options(check.object(tls, 'tls'), 'tls', ['sni', 'ca', 'cert', 'key', 'insecure']);
  if (options.insecure !== undefined) check.boolean(options.insecure, 'tls.insecure');
  const insecure = options.insecure === true;
  if (insecure && options.ca !== undefined) throw invalidArgument("tls.ca has no use beside 'insecure: true'");
  const sni = serverName(options.sni, endpoints);
  if (sni === undefined && !insecure) {
    throw invalidArgument("tls needs 'sni', the name on the servers' certificate, since the endpoints are not one host name; or 'insecure: true'");
  }
  const common = { alpn_protocols: [protocol === 'http2' ? 'h2' : 'http/1.1'] };
  const own = ownCertificate(options, 'tls', false);
  if (own) common.tls_certificates = [own];
  if (!insecure) {
    common.validation_context = {
      trusted_ca: options.ca === undefined ? systemBundle() : dataSource(options.ca, 'tls.ca'),
      match_typed_subject_alt_names: [{ san_type: 'DNS', matcher: { exact: sni } }],
    };
  }
  const context = { '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext' };
  if (sni !== undefined) context.sni = sni;
  context.common_tls_context = common;
  return { name: 'envoy.transport_sockets.tls', typed_config: context };
}

/** The transport socket of a listener. With `clientCa`, clients must show a certificate that it signed. */
function downstreamTls(tls) {
  check.options(check.object(tls, 'tls'), 'tls', ['cert', 'key', 'sni', 'clientCa']);
  const common = { alpn_protocols: ['h2', 'http/1.1'], tls_certificates: [ownCertificate(tls, 'tls', true)] };
  const context = { '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext', common_tls_context: common };
  if (tls.clientCa !== undefined) {
    common.validation_context = { trusted_ca: dataSource(tls.clientCa, 'tls.clientCa') };
    context.require_client_certificate = true;
  }
  return { name: 'envoy.transport_sockets.tls', typed_config: context };
}

function serverName(sni, endpoints) {
  if (sni !== undefined) return check.string(sni, 'tls.sni');
  const names = new Set(endpoints.map((each) => (each.name ? each.host.replace(/\.$/, '') : '')));
  return names.size === 1 ? [...names][0] || undefined : undefined;
}

function ownCertificate({ cert, key }, what, needed) {
  if (cert === undefined && key === undefined && !needed) return undefined;
  if (cert === undefined || key === undefined) throw invalidArgument(`${what}.cert and ${what}.key are needed together`);
  return { certificate_chain: dataSource(cert, `${what}.cert`), private_key: dataSource(key, `${what}.key`) };
}

/** PEM text stays inline, any other text is a file's name. Messages never show the value: it may be a key. */
function dataSource(value, what) {
  const text = value instanceof Uint8Array ? Buffer.from(value).toString('latin1') : value;
  if (typeof text !== 'string' || text === '') throw invalidArgument(`${what} must be PEM text, its bytes, or a file name`);
  if (text.includes('-----BEGIN ')) return { inline_string: text };
  if (typeof value !== 'string' || text.includes('\n')) throw invalidArgument(`${what} holds no PEM text`);
  return { filename: text };
}

function systemBundle() {
  const found = [process.env.SSL_CERT_FILE, ...SYSTEM_BUNDLES].find((file) => file && existsSync(file));
  if (found === undefined) throw invalidArgument("no file of trusted certificates was found on this system; give 'tls.ca', or 'insecure: true'");
  return { filename: found };
}

module.exports = { upstreamTls, downstreamTls };
