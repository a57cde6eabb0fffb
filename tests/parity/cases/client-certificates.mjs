// x-forwarded-client-cert: what is told of a client's certificate, and what a client may say of it.
import { suite, req, TYPE } from '../lib/suite.mjs';
import { h2request } from '../lib/h2.mjs';
import fs from 'node:fs';
import { fileURLToPath } from 'node:url';

const file = name => fs.readFileSync(fileURLToPath(new URL(`../certs/${name}`, import.meta.url)));
const person = name => ({ key: file(`${name}.key`), cert: file(`${name}.crt`) });
const identity = name => ({ certificate_chain: { filename: `\${certs}/${name}.crt` }, private_key: { filename: `\${certs}/${name}.key` } });
const mutual = ({ server = 'people-server', ca = 'people-ca', required = false } = {}) => ({ chains: f => [{ filters: [f], transport_socket: { name: 'envoy.transport_sockets.tls', typed_config: { '@type': `${TYPE}.extensions.transport_sockets.tls.v3.DownstreamTlsContext`,
  require_client_certificate: required, common_tls_context: { tls_certificates: [identity(server)], alpn_protocols: ['h2', 'http/1.1'], ...(ca && { validation_context: { trusted_ca: { filename: `\${certs}/${ca}.crt` } } }) } } } }] });
/** Requests over one connection of `who`, each with its headers. */
const ask = (who, ...requests) => async ctx => {
  const c = await ctx.connect('main', { tls: { servername: 'a.test', ALPNProtocols: ['http/1.1'], ...(who && person(who)) } });
  for (const [i, headers] of requests.entries()) { c.write(req(`/${i}`, headers.map(h => `${h}\r\n`).join(''))); await c.response(); }
};
const askH2 = (who, ...requests) => async ctx => { const s = await ctx.h2('main', { tls: { servername: 'a.test', ...(who && person(who)) } }); const out = []; for (const h of requests) out.push(await h2request(s, h)); return out; };
const forward = (forward_client_cert_details, set_current_client_cert_details) => ({ forward_client_cert_details, ...(set_current_client_cert_details && { set_current_client_cert_details }) });
const all = { subject: true, cert: true, chain: true, dns: true, uri: true };
const X = value => [`X-Forwarded-Client-Cert: ${value}`];
const INJECTED = [X('By=spiffe://evil;Hash=00;Subject="/CN=admin";URI=spiffe://admin'), X('a"b;c="d\\",e'), X('x,y;z'), [...X('one=1'), ...X('two=2')], X('')];
const of = (name, options, who, requests, hcm, extra) => ({ name, ...mutual(options), hcm, client: ask(who, ...requests), ...extra });

export default suite('client-certificates', [
  // the five ways
  of('SANITIZE: with a certificate', {}, 'jane', [[], ...INJECTED], forward('SANITIZE', all)),
  of('SANITIZE: without one', {}, null, [X('Hash=1')], forward('SANITIZE')),
  of('FORWARD_ONLY: with a certificate', {}, 'jane', [[], ...INJECTED], forward('FORWARD_ONLY', all)),
  of('FORWARD_ONLY: without one', {}, null, [X('Hash=1'), []], forward('FORWARD_ONLY')),
  { name: 'FORWARD_ONLY: clear text', hcm: forward('FORWARD_ONLY'), send: [req('/', 'X-Forwarded-Client-Cert: Hash=1\r\n')] },
  of('APPEND_FORWARD: with a certificate', {}, 'jane', [[], ...INJECTED], forward('APPEND_FORWARD')),
  of('APPEND_FORWARD: all details', {}, 'jane', [[], X('Hash=1')], forward('APPEND_FORWARD', all)),
  of('APPEND_FORWARD: without one', {}, null, [X('Hash=1'), []], forward('APPEND_FORWARD', all)),
  { name: 'APPEND_FORWARD: clear text', hcm: forward('APPEND_FORWARD', all), send: [req('/', 'X-Forwarded-Client-Cert: Hash=1\r\n')] },
  of('SANITIZE_SET: with a certificate', {}, 'jane', [[], ...INJECTED], forward('SANITIZE_SET')),
  of('SANITIZE_SET: without one', {}, null, [X('Hash=1'), []], forward('SANITIZE_SET', all)),
  of('ALWAYS_FORWARD_ONLY: with a certificate', {}, 'jane', [[], ...INJECTED], forward('ALWAYS_FORWARD_ONLY', all)),
  of('ALWAYS_FORWARD_ONLY: without one', {}, null, INJECTED, forward('ALWAYS_FORWARD_ONLY')),
  { name: 'ALWAYS_FORWARD_ONLY: clear text', hcm: forward('ALWAYS_FORWARD_ONLY'), send: [req('/', 'X-Forwarded-Client-Cert: Hash=1;URI=spiffe://admin\r\n')] },

  // the details
  of('details: subject, quoted', {}, 'jane', [[]], forward('SANITIZE_SET', { subject: true })),
  of('details: an empty subject', {}, 'nobody', [[]], forward('SANITIZE_SET', { subject: true, uri: true, dns: true })),
  of('details: subject false', {}, 'jane', [[]], forward('SANITIZE_SET', { subject: false })),
  of('details: cert', {}, 'jane', [[]], forward('SANITIZE_SET', { cert: true })),
  of('details: chain', {}, 'jane', [[]], forward('SANITIZE_SET', { chain: true })),
  of('details: dns', {}, 'jane', [[]], forward('SANITIZE_SET', { dns: true })),
  of('details: uri', {}, 'jane', [[]], forward('SANITIZE_SET', { uri: true })),
  of('details: all in their order', {}, 'jane', [[]], forward('SANITIZE_SET', all)),
  of('details: issuer', {}, 'jane', [[]], forward('SANITIZE_SET', { issuer: true, subject: true })),
  of('details: a certificate that says little', {}, 'nobody', [[]], forward('SANITIZE_SET', { ...all, issuer: true })),
  of('details: By is the server\'s', { server: 'server' }, 'jane', [[]], forward('SANITIZE_SET')),
  of('details: JSON', {}, 'jane', [[], X('Hash=1')], forward('SANITIZE_SET', { ...all, issuer: true, format: 'JSON' })),
  of('details: JSON appended', {}, 'jane', [[], X('Hash=1')], forward('APPEND_FORWARD', { subject: true, format: 'JSON' })),
  of('details: JSON appended to JSON', {}, 'jane', [X('[{"hash":"1"}]'), X('[]'), X('[{"hash":"1"},{"a":[1]}]'), X('{}'), X('[{"hash":"1"'), X('[1]'), X(' [ {"hash":"1"} ] '), X('[{"x":"a]"}]x'), X('[1, 2.50, 1e3, "\\u00e4\\/", null ]'), [...X('[1]'), ...X('[2]')], X('')], forward('APPEND_FORWARD', { format: 'JSON' })),
  of('details: text appended to JSON', {}, 'jane', [X('[{"hash":"1"}]')], forward('APPEND_FORWARD', { dns: true })),
  of('details: JSON of a certificate that says little', { server: 'server' }, 'nobody', [[]], forward('SANITIZE_SET', { ...all, issuer: true, format: 'JSON' })),
  { name: 'details: over HTTP/2', ...mutual(), hcm: forward('APPEND_FORWARD', { subject: true, dns: true, uri: true }), client: askH2('jane', {}, { 'x-forwarded-client-cert': 'Hash=1' }, { 'x-forwarded-client-cert': ['a=1', 'b=2'] }) },
  { name: 'details: SANITIZE_SET over HTTP/2', ...mutual({ required: true }), hcm: forward('SANITIZE_SET', all), client: askH2('jane', {}, { 'x-forwarded-client-cert': ['a=1', 'b=2'] }) },
  of('details: hostile, names that would begin headers', { ca: 'eve' }, 'eve', [[]], forward('SANITIZE_SET', { uri: true, dns: true }), { differs: { id: 'certificate-names', envoy: t => t.includes('503 Service Unavailable') && t.includes('upstream u: no connection'), plenipo: t => t.includes(';URI=spiffe://people/eve%0D%0Ax-evil: 1;DNS=eve.test%0Ax\n') } }),
  of('details: a certificate nobody asked for', { ca: null }, 'jane', [X('Hash=1'), []], forward('SANITIZE_SET', all)),
]);
