// Who the client is: use_remote_address, x-forwarded-for, the extensions that detect its address, and what counts as internal.
import { suite, req, TYPE } from '../lib/suite.mjs';
import { h2request } from '../lib/h2.mjs';

const edge = { use_remote_address: true };
const xff = (config = {}) => ({ name: 'xff', typed_config: { '@type': `${TYPE}.extensions.http.original_ip_detection.xff.v3.XffConfig`, ...config } });
const custom = (config = {}) => ({ name: 'custom', typed_config: { '@type': `${TYPE}.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig`, header_name: 'x-real-ip', ...config } });
const by = (...extensions) => ({ original_ip_detection_extensions: extensions });
const cidr = (address_prefix, prefix_len) => ({ address_prefix, prefix_len });
const internal = (...cidr_ranges) => ({ internal_address_config: { cidr_ranges } });
const tens = internal(cidr('10.0.0.0', 8));
const local = internal(cidr('127.0.0.0', 8));
const trusted = (...cidrs) => ({ xff_trusted_cidrs: { cidrs } });
const loopback = cidr('127.0.0.0', 8);
const W = { log: { log_format: { text_format_source: { inline_string: '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n' } } } };
/** One connection with a request for each of `headers`. */
const each = (...headers) => headers.flatMap((h, i) => [req(`/${i}`, h.map(l => `${l}\r\n`).join('')), { res: 1 }]).slice(0, -1);
const h2each = (...headers) => async ctx => { const s = await ctx.h2(); const out = []; for (const h of headers) out.push(await h2request(s, h)); return out; };
const F = value => [`X-Forwarded-For: ${value}`];
const CONTROL = ['x-envoy-retry-on: 5xx', 'x-envoy-max-retries: 7', 'x-envoy-internal: true', 'x-envoy-external-address: 6.6.6.6', 'x-envoy-original-path: /o', 'x-envoy-decorator-operation: op', 'x-envoy-downstream-service-cluster: c'];

export default suite('client-address', [
  // x-forwarded-for
  { name: 'xff: the last address is the client', ...W, send: each(F('1.1.1.1, 2.2.2.2'), F('2001:db8::1'), F('::ffff:1.2.3.4'), F('1.2.3.4 , 5.6.7.8 ')) },
  { name: 'xff: what is no address', ...W, send: each(F('1.2.3.4:80'), F('[2001:db8::1]'), F('[2001:db8::1]:443'), F('a, b'), F('1.2.3.4,'), F(','), F(' '), F('1.2.3'), F('010.0.0.1'), F('2001:DB8:0::1'), F('1.2.3.4, unix:/x')) },
  { name: 'xff: an address with a zone', ...W, send: each(F('fe80::1%lo')), differs: { id: 'xff-zone', envoy: t => t.includes('fe80::1%1 127.0.0.1 200'), plenipo: t => t.includes('127.0.0.1 127.0.0.1 200') } },
  { name: 'xff: over HTTP/2', ...W, hcm: edge, client: h2each({ 'x-forwarded-for': '1.1.1.1' }, { 'x-forwarded-for': ['1.1.1.1', '2.2.2.2'] }, {}) },
  { name: 'xff: trusted hops without use_remote_address', ...W, hcm: { xff_num_trusted_hops: 1 }, send: each(F('1.1.1.1, 2.2.2.2, 3.3.3.3'), F('1.1.1.1'), [], F('1.1.1.1, x'), F('1.1.1.1,')) },
  { name: 'xff: trusted hops at the edge, forged chains', ...W, hcm: { ...edge, xff_num_trusted_hops: 2 }, send: each(F('1.1.1.1, 2.2.2.2, 3.3.3.3'), F('9.9.9.9'), F('6.6.6.6, 10.0.0.1, garbage'), F('6.6.6.6, garbage, 10.0.0.1'), F('::ffff:1.2.3.4, 9.9.9.9'), []) },
  { name: 'xff: more hops than there are addresses', ...W, hcm: { ...edge, xff_num_trusted_hops: 300 }, send: each(F('1.1.1.1, 2.2.2.2'), []) },
  { name: 'xff: skip_xff_append with trusted hops', ...W, hcm: { ...edge, xff_num_trusted_hops: 1, skip_xff_append: true }, send: each(F('1.1.1.1, 2.2.2.2'), []) },
  { name: 'xff: skip_xff_append without use_remote_address', ...W, hcm: { skip_xff_append: true }, send: each(F('1.1.1.1'), []) },
  { name: 'xff: IPv4 as IPv4-mapped IPv6', ...W, hcm: { ...edge, represent_ipv4_remote_address_as_ipv4_mapped_ipv6: true }, send: each(F('1.1.1.1'), []) },
  { name: 'xff: IPv4 as IPv4-mapped IPv6 without use_remote_address', ...W, hcm: { represent_ipv4_remote_address_as_ipv4_mapped_ipv6: true }, send: each(F('1.1.1.1'), []) },
  { name: 'xff: IPv4 as IPv4-mapped IPv6 and internal ranges', ...W, hcm: { ...edge, ...local, represent_ipv4_remote_address_as_ipv4_mapped_ipv6: true }, send: each([], CONTROL) },
  { name: 'xff: a very long chain', ...W, hcm: edge, send: each(F(Array.from({ length: 300 }, (_, i) => `10.0.${i >> 8}.${i & 255}`).join(', '))) },

  // original_ip_detection_extensions
  { name: 'detection: xff with hops', ...W, hcm: by(xff({ xff_num_trusted_hops: 1 })), send: each(F('1.1.1.1, 2.2.2.2'), F('1.1.1.1'), []) },
  { name: 'detection: xff that appends', ...W, hcm: by(xff({ skip_xff_append: false })), send: each(F('1.1.1.1, 2.2.2.2'), F('garbage'), []) },
  { name: 'detection: xff that appends, the manager\'s skip_xff_append on', ...W, hcm: { skip_xff_append: true, ...by(xff({ skip_xff_append: false })) }, send: each(F('1.1.1.1'), []) },
  { name: 'detection: xff that appends an IPv4-mapped address', ...W, hcm: { represent_ipv4_remote_address_as_ipv4_mapped_ipv6: true, ...by(xff({ skip_xff_append: false })) }, send: each(F('1.1.1.1')) },
  { name: 'detection: xff with trusted ranges', ...W, hcm: by(xff(trusted(loopback, cidr('10.0.0.0', 8), cidr('2001:db8::', 32)))), send: each(F('1.1.1.1, 10.0.0.1'), F('1.1.1.1, 2.2.2.2, 10.1.1.1, 10.2.2.2'), F('10.0.0.1, 10.0.0.2'), F('10.0.0.1'), F('5.5.5.5'), F('1.1.1.1, 2001:db8::5'), F('1.1.1.1, ::ffff:10.0.0.1'), []) },
  { name: 'detection: trusted ranges and forged chains', ...W, hcm: by(xff(trusted(loopback, cidr('10.0.0.0', 8)))), send: each(F('6.6.6.6, 10.0.0.1, garbage'), F('garbage, 10.0.0.1'), F('6.6.6.6,,10.0.0.1'), F(',10.0.0.1'), F('10.0.0.1,'), F(',')) },
  { name: 'detection: trusted ranges that append', ...W, hcm: by(xff({ ...trusted(loopback, cidr('10.0.0.0', 8)), skip_xff_append: false })), send: each(F('1.1.1.1, 10.0.0.1'), F('10.0.0.1')) },
  { name: 'detection: a peer outside the trusted ranges', ...W, hcm: by(xff({ ...trusted(cidr('10.0.0.0', 8)), skip_xff_append: false })), send: each(F('1.1.1.1, 10.0.0.1'), []) },
  { name: 'detection: a peer outside the trusted ranges, nothing said of appending', ...W, hcm: by(xff(trusted(cidr('10.0.0.0', 8)))), send: each(F('1.1.1.1, 10.0.0.1'), []) },
  { name: 'detection: two that append', ...W, hcm: by(xff({ skip_xff_append: false, xff_num_trusted_hops: 3 }), xff({ skip_xff_append: false })), send: each(F('1.1.1.1, 2.2.2.2'), []) },
  { name: 'detection: a single untrusted address and internal ranges', ...W, hcm: { ...tens, ...by(xff(trusted(loopback))) }, send: each(F('10.0.0.1'), F('10.0.0.2, 127.0.0.1')) },
  { name: 'detection: a single trusted address counts as internal', ...W, hcm: { ...tens, ...by(xff(trusted(loopback, cidr('10.0.0.0', 8)))) }, send: each([...F('10.0.0.1'), ...CONTROL], [...F('10.9.9.9, 10.0.0.1'), ...CONTROL], [...F('1.1.1.1, 10.0.0.1'), ...CONTROL]) },
  { name: 'detection: an empty list of ranges', ...W, hcm: by(xff({ xff_trusted_cidrs: {} })), send: each(F('1.1.1.1, 2.2.2.2'), []) },
  { name: 'detection: custom header', ...W, hcm: by(custom()), send: each(['X-Real-Ip: 7.7.7.7'], ['X-Real-Ip: 2001:db8::7'], ['X-Real-Ip: x'], ['X-Real-Ip: 7.7.7.7:80'], ['X-Real-Ip: 7.7.7.7, 8.8.8.8'], ['X-Real-Ip: 7.7.7.7', 'X-Real-Ip: 8.8.8.8'], ['X-Real-Ip:'], []) },
  { name: 'detection: custom header over HTTP/2', ...W, hcm: by(custom()), client: h2each({ 'x-real-ip': '7.7.7.7' }, { 'x-real-ip': ['7.7.7.7', '8.8.8.8'] }, {}) },
  { name: 'detection: custom header rejects with 403', ...W, stats: [/rejected_via_ip_detection/], hcm: by(custom({ reject_with_status: { code: 'Forbidden' } })), send: each(['X-Real-Ip: 7.7.7.7'], []) },
  { name: 'detection: custom header rejects with another status', ...W, hcm: by(custom({ reject_with_status: { code: 'ServiceUnavailable' } })), send: each(['X-Real-Ip: nobody']) },
  { name: 'detection: a rejection that is no error', ...W, hcm: by(custom({ reject_with_status: { code: 'OK' } })), send: each([]) },
  { name: 'detection: custom header rejects over HTTP/2', ...W, stats: [/rejected_via_ip_detection/], hcm: by(custom({ reject_with_status: { code: 'Unauthorized' } })), client: h2each({}, { 'x-real-ip': '7.7.7.7' }, { ':method': 'POST', 'content-type': 'application/grpc' }) },
  { name: 'detection: custom header that is trusted', ...W, hcm: { ...tens, ...by(custom({ allow_extension_to_set_address_as_trusted: true })) }, send: each(['X-Real-Ip: 10.1.1.1', ...CONTROL], ['X-Real-Ip: 7.7.7.7', ...CONTROL]) },
  { name: 'detection: custom header that is not trusted', ...W, hcm: { ...tens, ...by(custom()) }, send: each(['X-Real-Ip: 10.1.1.1', ...CONTROL]) },
  { name: 'detection: the first that finds an address wins', ...W, hcm: by(custom(), xff({ xff_num_trusted_hops: 1 }), custom({ header_name: 'x-last', reject_with_status: { code: 'Forbidden' } })), send: each(['X-Real-Ip: 7.7.7.7', ...F('1.1.1.1, 2.2.2.2')], F('1.1.1.1, 2.2.2.2'), ['X-Last: 3.3.3.3'], []) },
  { name: 'detection: the header is the host', ...W, hcm: by(custom({ header_name: 'host' })), send: ['GET / HTTP/1.1\r\nHost: 7.7.7.7\r\n\r\n'] },

  // internal_address_config
  { name: 'internal: a range and the edge', ...W, hcm: { ...edge, ...local }, send: each(CONTROL, [...F('1.1.1.1'), ...CONTROL]) },
  { name: 'internal: a range and a lone x-forwarded-for', ...W, hcm: tens, send: each([...F('10.1.1.1'), ...CONTROL], [...F('11.1.1.1'), ...CONTROL], [...F('10.1.1.1, 10.2.2.2'), ...CONTROL], CONTROL) },
  { name: 'internal: no configuration, no address is internal', ...W, send: each([...F('10.1.1.1'), ...CONTROL], [...F('127.0.0.1'), ...CONTROL], [...F('fd00::1'), ...CONTROL]) },
  { name: 'internal: an empty configuration', ...W, hcm: { internal_address_config: {} }, send: each([...F('10.1.1.1')], F('127.0.0.1'), F('127.0.0.2'), F('172.16.0.1'), F('172.32.0.1'), F('192.168.1.1'), F('169.254.1.1'), F('fd00::1'), F('fc00::1'), F('::1'), F('::2'), F('fe80::1'), F('8.8.8.8'), F('::ffff:10.0.0.1')) },
  { name: 'internal: IPv6 ranges', ...W, hcm: internal(cidr('2001:db8::', 32), cidr('10.0.0.1', 32)), send: each(F('2001:db8:1::1'), F('2001:db9::1'), F('10.0.0.1'), F('10.0.0.2'), F('::ffff:10.0.0.1')) },
  { name: 'internal: a range without a length', ...W, hcm: internal({ address_prefix: '10.0.0.1' }), send: each(F('10.0.0.1'), F('8.8.8.8')) },
  { name: 'internal: a range of length 0', ...W, hcm: internal(cidr('10.0.0.0', 0)), send: each(F('8.8.8.8'), F('2001:db8::1')) },
  { name: 'internal: trusted hops at the edge are never internal', ...W, hcm: { ...edge, ...internal(cidr('0.0.0.0', 0)), xff_num_trusted_hops: 1 }, send: each([...F('10.0.0.1'), ...CONTROL], CONTROL) },
  { name: 'internal: over HTTP/2', ...W, hcm: { ...edge, ...local }, client: h2each({ 'x-envoy-retry-on': '5xx', 'x-envoy-internal': 'false' }, { 'x-envoy-retry-on': '5xx', 'x-forwarded-for': '10.0.0.1' }) },
  { name: 'internal: internal_only_headers', ...W, hcm: { ...edge, ...local }, routeConfig: { name: 'r', internal_only_headers: ['x-secret', 'X-Inner'], virtual_hosts: [{ name: 'v', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: '$u' } }] }] }, send: each(['x-secret: 1', 'x-inner: 2'], [...F('1.1.1.1'), 'x-secret: 1', 'X-Secret: 3', 'x-inner: 2']) },

  // ports and proto
  { name: 'port: append_x_forwarded_port', hcm: { append_x_forwarded_port: true }, viewUpstream: portless, send: each([], ['X-Forwarded-Port: 99'], ['X-Forwarded-Proto: https']) },
  { name: 'port: append_x_forwarded_port at the edge', hcm: { ...edge, append_x_forwarded_port: true }, viewUpstream: portless, send: each([], ['X-Forwarded-Port: 99'], ['X-Forwarded-Port: 1', 'X-Forwarded-Port: 2']) },
  { name: 'port: append_x_forwarded_port behind a trusted hop', hcm: { ...edge, xff_num_trusted_hops: 1, append_x_forwarded_port: true }, viewUpstream: portless, send: each([], ['X-Forwarded-Port: 99'], ['X-Forwarded-Proto: https', 'X-Forwarded-Port: 8']) },
  { name: 'proto: behind a trusted hop', hcm: { ...edge, xff_num_trusted_hops: 1 }, send: each([], ['X-Forwarded-Proto: https'], ['X-Forwarded-Proto: https', 'X-Forwarded-Proto: http'], ['X-Forwarded-Proto: HTTPS'], ['X-Forwarded-Proto:']) },

  // what must be refused
  { name: 'refused: extensions and use_remote_address', refused: 'original_ip_detection_extensions', hcm: { ...edge, ...by(xff()) } },
  { name: 'refused: extensions and xff_num_trusted_hops', refused: 'original_ip_detection_extensions', hcm: { xff_num_trusted_hops: 1, ...by(xff()) } },
  { name: 'refused: hops and ranges', refused: 'xff_num_trusted_hops', hcm: by(xff({ xff_num_trusted_hops: 1, ...trusted(loopback) })) },
  { name: 'refused: an internal range that is none', refused: 'address_prefix', hcm: internal(cidr('nowhere', 8)) },
  { name: 'refused: a custom header that is none', refused: 'header_name', hcm: by(custom({ header_name: 'a b' })) },
]);

/** The port that the proxy listens on is its own. */
function portless(saw) { return saw.map(w => ({ ...w, bytes: w.bytes.replace(/(x-forwarded-port: (?:.*,)?)\d{4,5}/g, '$1<port>') })); }
