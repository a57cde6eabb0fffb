// The PROXY protocol of a listener (versions 1 and 2, well and badly formed), and listener filters that take too long.
import { suite, req, router, TYPE } from '../lib/suite.mjs';

const pp = (fields = {}) => ({ name: 'envoy.filters.listener.proxy_protocol', typed_config: { '@type': `${TYPE}.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol`, stat_prefix: '${id}', ...fields } });
const inspector = { name: 'envoy.filters.listener.tls_inspector', typed_config: { '@type': `${TYPE}.extensions.filters.listener.tls_inspector.v3.TlsInspector` } };
const tls = f => [{ filters: [f], transport_socket: { name: 'envoy.transport_sockets.tls', typed_config: { '@type': `${TYPE}.extensions.transport_sockets.tls.v3.DownstreamTlsContext`, common_tls_context: { tls_certificates: [{ certificate_chain: { filename: '${certs}/server.crt' }, private_key: { filename: '${certs}/server.key' } }] } } } }];
const log = { log_format: { text_format_source: { inline_string: '%RESPONSE_CODE% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%\n' } } };
const hcm = { use_remote_address: true };
const stats = [/^proxy_proto\.ID\./, /downstream_pre_cx_timeout/, /filter_remote_close/];
const get = req('/');

const SIGNATURE = '\r\n\r\n\0\r\nQUIT\n';
const bytes = (...numbers) => String.fromCharCode(...numbers);
const V4 = bytes(1, 2, 3, 4, 5, 6, 7, 8, 0x04, 0x57, 0x08, 0xae);
const V6 = bytes(0x20, 1, 0xd, 0xb8, ...Array(11).fill(0), 1, 0x20, 1, 0xd, 0xb8, ...Array(11).fill(0), 2, 0x04, 0x57, 0x08, 0xae);
const two = (command, family, body) => SIGNATURE + bytes(command, family, body.length >> 8, body.length & 0xff) + body;
const one = line => `PROXY ${line}\r\n`;

const must = (name, ...send) => ({ name: `proxy_protocol: ${name}`, hcm, log, stats, listener: { listener_filters: [pp()] }, send });
const may = (name, ...send) => ({ name: `proxy_protocol: optional, ${name}`, hcm, log, stats, listener: { listener_filters: [pp({ allow_requests_without_proxy_protocol: true })] }, send });
const only = (name, fields, ...send) => ({ name: `proxy_protocol: ${name}`, hcm, log, stats, listener: { listener_filters: [pp(fields)] }, send });
const slow = (name, fields, ...send) => ({ name: `listener_filters_timeout: ${name}`, log: { log_format: { text_format_source: { inline_string: '%RESPONSE_CODE%\n' } } }, stats, listener: { listener_filters_timeout: '0.5s', ...fields }, send });

export default [suite('proxy-protocol', [
  must('1 over IPv4', one('TCP4 1.2.3.4 5.6.7.8 1111 2222') + get),
  must('1 over IPv6', one('TCP6 2001:db8::1 2001:db8::2 1111 2222') + get),
  must('1 in pieces', 'PR', 50, 'OXY TCP4 1.2.3.4 5.6.7', 50, '.8 1111 2222\r', 50, `\n${get}`),
  must('1 and two requests', one('TCP4 1.2.3.4 5.6.7.8 1111 2222') + get, { res: 1 }, get),
  must('1 of nobody', one('UNKNOWN') + get),
  must('1 of nobody with words', one('UNKNOWN a b c d') + get),
  must('1 with ports of 0', one('TCP4 1.2.3.4 5.6.7.8 0 0') + get),
  must('1 with a space at the end', one('TCP4 1.2.3.4 5.6.7.8 1 2 ') + get),
  must('2 over IPv4', two(0x21, 0x11, V4) + get),
  must('2 over IPv6', two(0x21, 0x21, V6) + get),
  must('2 of a datagram', two(0x21, 0x12, V4) + get),
  must('2 in pieces', two(0x21, 0x11, V4).slice(0, 5), 50, two(0x21, 0x11, V4).slice(5, 20), 50, two(0x21, 0x11, V4).slice(20) + get),
  must('2 with values', two(0x21, 0x11, `${V4}\x01\0\x02h2`) + get),
  must('2 with a large value', two(0x21, 0x11, `${V4}\x04${bytes(0x0f, 0xa0)}${'x'.repeat(4000)}`) + get),
  must('2 of the balancer itself', two(0x20, 0x00, '') + get),
  must('2 of the balancer itself, with an address', two(0x20, 0x11, V4) + get),
  must('hostile: no header', get),
  must('hostile: lower case', `proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n${get}`),
  must('hostile: 1 with a bad address', one('TCP4 1.2.3 5.6.7.8 1 2') + get),
  must('hostile: 1 with an address of the other family', one('TCP4 2001:db8::1 2001:db8::2 1 2') + get),
  must('hostile: 1 with a leading zero', one('TCP4 1.2.3.04 5.6.7.8 1 2') + get),
  must('hostile: 1 with a port that is none', one('TCP4 1.2.3.4 5.6.7.8 70000 2') + get),
  must('hostile: 1 that ends in LF', `PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n${get}`),
  must('hostile: 1 without an end', `PROXY TCP4 ${'1'.repeat(200)}`),
  must('hostile: 1 with two spaces', one(' TCP4 1.2.3.4 5.6.7.8 1 2') + get),
  must('hostile: 1 with a word too many', one('TCP4 1.2.3.4 5.6.7.8 1 2 3') + get),
  must('hostile: 1 of broadcast', one('TCP4 255.255.255.255 5.6.7.8 1 2') + get),
  must('hostile: 1 to multicast', one('TCP4 1.2.3.4 224.0.0.1 1 2') + get),
  must('hostile: 2 that is too short for its family', two(0x21, 0x11, V4.slice(0, 8)) + get),
  must('hostile: 2 with a value that is cut off', two(0x21, 0x11, `${V4}\x01\xff\xffh2`) + get),
  must('hostile: 2 of another version', two(0x31, 0x11, V4) + get),
  must('hostile: 2 with an unknown command', two(0x22, 0x11, V4) + get),
  must('hostile: 2 of no family', two(0x21, 0x00, '') + get),
  must('hostile: 2 of a Unix socket', two(0x21, 0x31, '\0'.repeat(216)) + get),
  must('hostile: 2 from anywhere', two(0x21, 0x11, bytes(0, 0, 0, 0) + V4.slice(4)) + get),
  may('none', get),
  may('none, and the first bytes could be one', 'PR', 50, 'OPFIND / HTTP/1.1\r\nHost: a.test\r\n\r\n'),
  may('one', one('TCP4 1.2.3.4 5.6.7.8 1111 2222') + get),
  may('hostile: a broken one', one('TCP4 1.2.3 5.6.7.8 1 2') + get),
  only('disallowed_versions V2, version 1 comes', { disallowed_versions: ['V2'] }, one('TCP4 1.2.3.4 5.6.7.8 1111 2222') + get),
  only('hostile: disallowed_versions V2, version 2 comes', { disallowed_versions: ['V2'] }, two(0x21, 0x11, V4) + get),
  only('disallowed_versions V1 and optional, version 1 comes', { disallowed_versions: ['V1'], allow_requests_without_proxy_protocol: true }, one('TCP4 1.2.3.4 5.6.7.8 1111 2222') + get),
  { name: 'proxy_protocol: the source decides which filter chain', log, hcm, listener: { listener_filters: [pp()] },
    chains: f => [{ filter_chain_match: { source_prefix_ranges: [{ address_prefix: '1.2.3.0', prefix_len: 24 }], destination_port: 2222 }, filters: [f] },
      { filters: [{ ...f, typed_config: { ...f.typed_config, route_config: { name: 'x', virtual_hosts: [{ name: 'v', domains: ['*'], routes: [{ match: { prefix: '/' }, direct_response: { status: 403 } }] }] } } }] }],
    send: [one('TCP4 1.2.3.4 5.6.7.8 1111 2222') + get, { res: 1 }] },
  { name: 'refused: proxy_protocol rules', unsupported: 'rules', listener: { listener_filters: [pp({ rules: [{ tlv_type: 2, on_tlv_present: { key: 'k' } }] })] }, send: [one('TCP4 1.2.3.4 5.6.7.8 1111 2222') + get] },
  slow('nothing comes', { listener_filters: [inspector] }, 900, get),
  slow('half a header comes', { listener_filters: [pp()] }, 'PROXY TCP4', 900, ' 1.2.3.4'),
  slow('continue, nothing came', { listener_filters: [inspector], continue_on_listener_filters_timeout: true }, 900, get),
  slow('hostile: continue after half a header', { listener_filters: [pp({ allow_requests_without_proxy_protocol: true })], continue_on_listener_filters_timeout: true }, 'GE', 10, 'T / HTTP/1.1\r\n', 900, 'Host: a.test\r\n\r\n'),
])];
