// Http1ProtocolOptions of both sides, and what the connection manager and clusters say of HTTP/1 connections.
import { suite, req, TYPE } from '../lib/suite.mjs';
import { replies, ok, sleep } from '../lib/raw.mjs';

const H = { log: { log_format: { text_format_source: { inline_string: '%PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n' } } } };
const OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
const hcm = (o, more = {}) => ({ hcm: { http_protocol_options: o, ...more } });
const up = (o, common) => ({ u: { typed_extension_protocol_options: { [OPTIONS]: { '@type': `type.googleapis.com/${OPTIONS}`, explicit_http_config: { http_protocol_options: o }, ...(common && { common_http_protocol_options: common }) } } } });
const stateful = (o = {}) => ({ header_key_format: { stateful_formatter: { name: 'envoy.http.stateful_header_formatters.preserve_case', typed_config: { '@type': `${TYPE}.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig`, ...o } } } });
const proper = { header_key_format: { proper_case_words: {} } };
const direct = (more = {}) => ({ routes: [{ match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: 'hi' } }, ...more }], upstreams: {} });
const CASED = 'X-Mixed-CASE: 1\r\nx-lower: 2\r\nX_Under: 3\r\nX-REQUEST-ID: 5\r\nUser-AGENT: a\r\n';
const answerCased = 'HTTP/1.1 200 Fine By Me\r\nContent-LENGTH: 2\r\nX-Up-CASE: 1\r\nSERVER: s\r\nset-Cookie: a=1\r\nSET-cookie: b=2\r\n\r\nok';
const added = { request_headers_to_add: [{ header: { key: 'X-Added-Here', value: '1' } }], response_headers_to_add: [{ header: { key: 'X-Added-There', value: '1' } }] };
const routed = { routes: [{ match: { prefix: '/' }, route: { cluster: '$u' }, ...added }] };

export default suite('h1-options', [
  // header_key_format
  { name: 'proper_case_words: both sides', ...hcm(proper), clusters: up(proper), ...routed, upstreams: { u: replies(answerCased) }, send: req('/', CASED) },
  { name: 'proper_case_words: upstream only', clusters: up(proper), ...routed, upstreams: { u: replies(answerCased) }, send: req('/', CASED) },
  { name: 'proper_case_words: odd names', ...hcm(proper), clusters: up(proper), upstreams: { u: replies(ok('ok', 'x_a-b.c!d: 1\r\n1x-2y: 2\r\n')) }, send: req('/', 'x_a-b.c!d: 1\r\n1x-2y: 2\r\nx--y: 3\r\n') },
  { name: 'proper_case_words: a chunked body with trailers', ...hcm({ ...proper, enable_trailers: true }), clusters: up({ ...proper, enable_trailers: true }), upstreams: { u: replies('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-trailer: 1\r\n\r\n') }, send: 'POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-asked: 1\r\n\r\n' },
  { name: 'proper_case_words: a local reply', ...hcm(proper), ...direct(added), send: req() },
  { name: 'proper_case_words: what is refused', ...hcm(proper), send: 'GET / HTTP/1.1\r\nHost: a.test\r\nbad line\r\n\r\n' },
  { name: 'preserve_case: both sides', ...hcm(stateful()), clusters: up(stateful()), ...routed, upstreams: { u: replies(answerCased) }, send: req('/', CASED) },
  { name: 'preserve_case: downstream only', ...hcm(stateful()), ...routed, upstreams: { u: replies(answerCased) }, send: req('/', CASED) },
  { name: 'preserve_case: upstream only', clusters: up(stateful()), ...routed, upstreams: { u: replies(answerCased) }, send: req('/', CASED) },
  { name: 'preserve_case: with the reason phrase', ...hcm(stateful({ forward_reason_phrase: true })), clusters: up(stateful({ forward_reason_phrase: true })), upstreams: { u: replies(answerCased) }, send: req() },
  { name: 'preserve_case: a reason phrase asked for upstream only', ...hcm(stateful()), clusters: up(stateful({ forward_reason_phrase: true })), upstreams: { u: replies(answerCased) }, send: req() },
  { name: 'preserve_case: a reason phrase of a changed status stays', ...hcm(stateful({ forward_reason_phrase: true })), clusters: up(stateful({ forward_reason_phrase: true })), upstreams: { u: replies('HTTP/1.1 404 Gone Fishing\r\ncontent-length: 0\r\n\r\n') }, send: req() },
  { name: 'preserve_case: an empty reason phrase', ...hcm(stateful({ forward_reason_phrase: true })), clusters: up(stateful({ forward_reason_phrase: true })), upstreams: { u: replies('HTTP/1.1 404\r\ncontent-length: 0\r\n\r\n') }, send: req() },
  { name: 'preserve_case: own headers in proper case', ...hcm(stateful({ formatter_type_on_envoy_headers: 'PROPER_CASE' })), clusters: up(stateful({ formatter_type_on_envoy_headers: 'PROPER_CASE' })), ...routed, upstreams: { u: replies(answerCased) }, send: req('/', CASED) },
  { name: 'preserve_case: the same name in two cases', ...hcm(stateful()), clusters: up(stateful()), upstreams: { u: replies(ok('ok', 'X-A: 1\r\nx-a: 2\r\n')) }, send: req('/', 'X-A: 1\r\nx-a: 2\r\nX-FORWARDED-PROTO: http\r\nx-forwarded-PROTO: https\r\n') },
  { name: 'preserve_case: a header that is set anew', ...hcm(stateful()), clusters: up(stateful()), routes: [{ match: { prefix: '/' }, route: { cluster: '$u' }, request_headers_to_add: [{ header: { key: 'x-over', value: 'new' }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' }], response_headers_to_add: [{ header: { key: 'x-over', value: 'new' }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' }] }], upstreams: { u: replies(ok('ok', 'X-OVER: old\r\n')) }, send: req('/', 'X-OVER: old\r\n') },
  { name: 'preserve_case: host and connection', ...hcm(stateful()), clusters: up(stateful()), send: 'GET / HTTP/1.1\r\nHOST: a.test\r\nCONNECTION: close\r\n\r\n' },
  { name: 'preserve_case: HEAD and chunked', ...hcm(stateful()), clusters: up(stateful()), upstreams: { u: replies('HTTP/1.1 200 OK\r\nTRANSFER-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n') }, send: req() },
  { name: 'preserve_case: a local reply', ...hcm(stateful()), ...direct(added), send: req() },
  { name: 'preserve_case: trailers', ...hcm({ ...stateful(), enable_trailers: true }), clusters: up({ ...stateful(), enable_trailers: true }), upstreams: { u: replies('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Trailer: 1\r\n\r\n') }, send: 'POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Asked: 1\r\n\r\n' },
  // errors that end a request only
  { name: 'stream errors: no host', ...hcm({ override_stream_error_on_invalid_http_message: true }), send: ['GET / HTTP/1.1\r\n\r\n', 200, req('/2')], ...H, logLines: 2 },
  { name: 'stream errors: no host, by default', send: ['GET / HTTP/1.1\r\n\r\n', 200, req('/2')], ...H },
  { name: 'stream errors: no host, of the connection manager', hcm: { stream_error_on_invalid_http_message: true }, send: ['GET / HTTP/1.1\r\n\r\n', 200, req('/2')], ...H },
  { name: 'stream errors: no host, overridden', ...hcm({ override_stream_error_on_invalid_http_message: false }, { stream_error_on_invalid_http_message: true }), send: ['GET / HTTP/1.1\r\n\r\n', 200, req('/2')], ...H },
  { name: 'stream errors: a malformed header', ...hcm({ override_stream_error_on_invalid_http_message: true }), send: ['GET / HTTP/1.1\r\nHost: a.test\r\nbad line\r\n\r\n', 200, req('/2')], ...H },
  { name: 'stream errors: content-length beside chunked', ...hcm({ override_stream_error_on_invalid_http_message: true }), send: ['POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 200, req('/2')], ...H },
  { name: 'stream errors: a bad host', ...hcm({ override_stream_error_on_invalid_http_message: true }), send: ['GET / HTTP/1.1\r\nHost: a b\r\n\r\n', 200, req('/2')], ...H },
  { name: 'stream errors: a path that is refused', ...hcm({ override_stream_error_on_invalid_http_message: true }, { path_with_escaped_slashes_action: 'REJECT_REQUEST' }), send: [req('/a%2fb'), 200, req('/2')], ...H, logLines: 2 },
  { name: 'stream errors: a path that is refused, by default', ...hcm({}, { path_with_escaped_slashes_action: 'REJECT_REQUEST' }), send: [req('/a%2fb'), 200, req('/2')], ...H },
  { name: 'stream errors: an unfinished body', ...hcm({ override_stream_error_on_invalid_http_message: true }, { path_with_escaped_slashes_action: 'REJECT_REQUEST' }), send: ['POST /a%2fb HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nabc', 200, '4567890', req('/2')], ...H },
  { name: 'stream errors: an upgrade that is not allowed', ...hcm({ override_stream_error_on_invalid_http_message: true }), send: [req('/', 'Connection: upgrade\r\nUpgrade: websocket\r\n'), 200, req('/2')], ...H },
  { name: 'stream errors: a header with an underscore', ...hcm({ override_stream_error_on_invalid_http_message: true }, { common_http_protocol_options: { headers_with_underscores_action: 'REJECT_REQUEST' } }), send: [req('/', 'x_y: 1\r\n'), 200, req('/2')], ...H },
  { name: 'stream errors: a direct response of 400', ...direct(), routes: [{ match: { prefix: '/' }, direct_response: { status: 400 } }], send: [req('/1'), 200, req('/2')], ...H },
  { name: 'stream errors: a direct response of 400, allowed', ...hcm({ override_stream_error_on_invalid_http_message: true }), routes: [{ match: { prefix: '/' }, direct_response: { status: 400 } }], upstreams: {}, send: [req('/1'), 200, req('/2')], ...H, logLines: 2 },
  { name: 'stream errors: a 400 of an upstream', upstreams: { u: replies('HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n') }, send: [req('/1'), 200, req('/2')], ...H, logLines: 2 },
  // the request line
  { name: 'send_fully_qualified_url', clusters: up({ send_fully_qualified_url: true }), send: req('/a?b=c') },
  { name: 'send_fully_qualified_url: a POST', clusters: up({ send_fully_qualified_url: true }), send: req('/a', '', 'hi') },
  { name: 'send_fully_qualified_url: an absolute https URL', clusters: up({ send_fully_qualified_url: true }), send: 'GET https://b.test:8443/x HTTP/1.1\r\nHost: a.test\r\n\r\n' },
  { name: 'send_fully_qualified_url: OPTIONS *', clusters: up({ send_fully_qualified_url: true }), send: 'OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n' },
  { name: 'allow_absolute_url: off', ...hcm({ allow_absolute_url: false }), send: 'GET http://b.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n', ...H },
  { name: 'allow_custom_methods', ...hcm({ allow_custom_methods: true, use_balsa_parser: true }), send: 'FOO /x HTTP/1.1\r\nHost: a.test\r\n\r\n', ...H },
  { name: 'allow_custom_methods: a method that is no token', ...hcm({ allow_custom_methods: true, use_balsa_parser: true }), send: 'F(O /x HTTP/1.1\r\nHost: a.test\r\n\r\n', ...H },
  { name: 'allow_custom_methods: lower case', ...hcm({ allow_custom_methods: true, use_balsa_parser: true }), send: 'get /x HTTP/1.1\r\nHost: a.test\r\n\r\n', ...H },
  { name: 'allow_custom_methods: off', send: 'FOO /x HTTP/1.1\r\nHost: a.test\r\n\r\n', ...H },
  { name: 'use_balsa_parser: on', ...hcm({ use_balsa_parser: true }), send: req('/x') },
  { name: 'accept_http_10: without a host', ...hcm({ accept_http_10: true, default_host_for_http_10: 'old.test' }), send: 'GET /x HTTP/1.0\r\n\r\n' },
  { name: 'accept_http_10: keep-alive', ...hcm({ accept_http_10: true }), send: 'GET /x HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n' },
  { name: 'accept_http_10: no host and no default', ...hcm({ accept_http_10: true }), send: 'GET /x HTTP/1.0\r\n\r\n', ...H },
  { name: 'allow_chunked_length: of a request', ...hcm({ allow_chunked_length: true }), send: 'POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n' },
  { name: 'allow_chunked_length: another coding', ...hcm({ allow_chunked_length: true }), send: 'POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 99\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n', ...H },
  { name: 'allow_chunked_length: of an answer', clusters: up({ allow_chunked_length: true }), upstreams: { u: replies('HTTP/1.1 200 OK\r\ncontent-length: 99\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n') }, send: req() },
  // ignore_http_11_upgrade
  { name: 'ignore_http_11_upgrade: by exact name', ...hcm({ ignore_http_11_upgrade: [{ exact: 'TLS/1.2' }] }), send: req('/', 'Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n') },
  { name: 'ignore_http_11_upgrade: one of two', ...hcm({ ignore_http_11_upgrade: [{ prefix: 'TLS/' }] }), send: req('/', 'Connection: Upgrade\r\nUpgrade: TLS/1.2, websocket\r\n'), ...H },
  { name: 'ignore_http_11_upgrade: another one stays', ...hcm({ ignore_http_11_upgrade: [{ prefix: 'TLS/' }] }, { upgrade_configs: [{ upgrade_type: 'websocket' }] }), upstreams: { u: replies('HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nhi') }, send: req('/', 'Connection: Upgrade\r\nUpgrade: websocket\r\n') },
  { name: 'ignore_http_11_upgrade: with a body', ...hcm({ ignore_http_11_upgrade: [{ exact: 'x', ignore_case: true }] }), send: 'POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\nConnection: upgrade, x-a\r\nUpgrade: X\r\nX-a: 1\r\n\r\nhi' },
  // connections
  { name: 'max_connection_duration: an idle connection', hcm: { common_http_protocol_options: { max_connection_duration: '0.3s' }, drain_timeout: '0.2s' }, send: [req('/1'), { res: 1 }, 900], stats: [/http\.ID\.downstream_cx_(max_duration_reached|drain_close|http1_soft_drain|idle_timeout)/] },
  { name: 'max_connection_duration: the next answer says close', hcm: { common_http_protocol_options: { max_connection_duration: '0.3s' }, drain_timeout: '1.5s' }, send: [req('/1'), { res: 1 }, 900, req('/2')], stats: [/http\.ID\.downstream_cx_(max_duration_reached|drain_close|http1_soft_drain|idle_timeout)/] },
  { name: 'max_connection_duration: safe for HTTP/1', hcm: { common_http_protocol_options: { max_connection_duration: '0.3s' }, drain_timeout: '0.2s', http1_safe_max_connection_duration: true }, send: [req('/1'), { res: 1 }, 900, req('/2')], stats: [/http\.ID\.downstream_cx_(max_duration_reached|drain_close|http1_soft_drain|idle_timeout)/] },
  { name: 'max_connection_duration: before any request', hcm: { common_http_protocol_options: { max_connection_duration: '0.3s' }, drain_timeout: '0.2s' }, send: [700], stats: [/http\.ID\.downstream_cx_(max_duration_reached|drain_close|http1_soft_drain|idle_timeout)/] },
  { name: 'max_connection_duration: while a request is under way', hcm: { common_http_protocol_options: { max_connection_duration: '0.2s' }, drain_timeout: '0.2s' }, upstreams: { u: replies([800, ok()]) }, send: req('/1'), stats: [/http\.ID\.downstream_cx_(max_duration_reached|drain_close|http1_soft_drain|idle_timeout)/] },
  { name: 'delayed_close_timeout: 0 closes at once', hcm: { delayed_close_timeout: '0s' }, send: 'GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n' },
]);
