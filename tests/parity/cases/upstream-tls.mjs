// Which versions of TLS hosts are offered.
import { suite, req, tlsRaw, TYPE } from '../lib/suite.mjs';
import { replies, ok } from '../lib/raw.mjs';

const params = tls_params => ({ transport_socket: { name: 'envoy.transport_sockets.tls', typed_config: { '@type': `${TYPE}.extensions.transport_sockets.tls.v3.UpstreamTlsContext`, ...(tls_params && { common_tls_context: { tls_params } }) } } });
const log = { log: { log_format: { text_format_source: { inline_string: '%RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_TLS_VERSION%\n' } } } };
const host = options => ({ u: tlsRaw(replies(ok()), options) });
/** What a failed handshake is called is the TLS library's business. */
const fails = { view: t => t.split('\r\n')[0], viewUpstream: () => [] };

export default suite('upstream-tls', [
  { name: 'TLS versions: at most 1.2 by default', clusters: { u: params() }, upstreams: host(), send: [req('/')], ...log },
  { name: 'TLS versions: TLS_AUTO is the default', clusters: { u: params({ tls_maximum_protocol_version: 'TLS_AUTO' }) }, upstreams: host(), send: [req('/')], ...log },
  { name: 'TLS versions: 1.3 where the maximum says so', clusters: { u: params({ tls_maximum_protocol_version: 'TLSv1_3' }) }, upstreams: host(), send: [req('/')], ...log },
  { name: 'TLS versions: 1.3 allowed, the host knows 1.2 only', clusters: { u: params({ tls_maximum_protocol_version: 'TLSv1_3' }) }, upstreams: host({ maxVersion: 'TLSv1.2' }), send: [req('/')], ...log },
  { name: 'TLS versions: 1.3 only', clusters: { u: params({ tls_minimum_protocol_version: 'TLSv1_3', tls_maximum_protocol_version: 'TLSv1_3' }) }, upstreams: host(), send: [req('/')], ...log },
  { name: 'TLS versions: a host that insists on 1.3', clusters: { u: params() }, upstreams: host({ minVersion: 'TLSv1.3' }), send: [req('/')], ...log, ...fails },
  { name: 'TLS versions: a minimum of 1.3 beyond the default maximum', clusters: { u: params({ tls_minimum_protocol_version: 'TLSv1_3' }) }, upstreams: host(), send: [req('/')], ...log, ...fails,
    differs: { id: 'tls-minimum-13', envoy: t => t.includes('503') && !t.includes('TLSv1'), plenipo: t => t.includes('200 - TLSv1.3') } },
]);
