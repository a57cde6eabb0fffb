// Absolute URLs whose scheme is not the connection's.
import { suite, TYPE } from '../lib/suite.mjs';

const log = { log: { log_format: { text_format_source: { inline_string: '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n' } } } };
const edge = { hcm: { use_remote_address: true } };
const get = (url, more = '') => [`GET ${url} HTTP/1.1\r\nHost: h.test\r\n${more}\r\n`];
const down = { name: 'envoy.transport_sockets.tls', typed_config: { '@type': `${TYPE}.extensions.transport_sockets.tls.v3.DownstreamTlsContext`, common_tls_context: { tls_certificates: [{ certificate_chain: { filename: '${certs}/server.crt' }, private_key: { filename: '${certs}/server.key' } }] } } };
const overTls = { listener: {}, chains: f => [{ filters: [f], transport_socket: down }] };
const tlsGet = url => async ctx => { const c = await ctx.connect('main', { tls: {} }); c.write(get(url)[0]); await c.response(); };

export default suite('https-urls', [
  { name: 'scheme of a URL: https over clear text', ...edge, ...log, send: get('https://h.test/') },
  { name: 'scheme of a URL: https over clear text, in capitals', ...edge, ...log, send: get('HTTPS://h.test/') },
  { name: 'scheme of a URL: https over clear text, where x-forwarded-proto says https', ...edge, ...log, send: get('https://h.test/', 'X-Forwarded-Proto: https\r\n') },
  { name: 'scheme of a URL: https over clear text behind a trusted hop', hcm: { use_remote_address: true, xff_num_trusted_hops: 1 }, ...log, send: get('https://h.test/', 'X-Forwarded-Proto: https\r\n') },
  { name: 'scheme of a URL: https over clear text behind a trusted hop that says nothing', hcm: { use_remote_address: true, xff_num_trusted_hops: 1 }, ...log, send: get('https://h.test/') },
  { name: 'scheme of a URL: https over clear text inside', ...log, send: get('https://h.test/') },
  { name: 'scheme of a URL: https over clear text inside, where x-forwarded-proto says http', ...log, send: get('https://h.test/', 'X-Forwarded-Proto: http\r\n') },
  { name: 'scheme of a URL: http over clear text', ...edge, ...log, send: get('http://h.test/') },
  { name: 'scheme of a URL: https over TLS', ...edge, ...log, ...overTls, client: tlsGet('https://h.test/') },
  { name: 'scheme of a URL: http over TLS', ...edge, ...log, ...overTls, client: tlsGet('http://h.test/') },
]);
