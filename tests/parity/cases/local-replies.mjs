// Local replies: status, body, headers and connection of what Envoy answers itself, and the timeouts that lead there.
import { suite, req, toU } from '../lib/suite.mjs';
import { replies, repliesAtHead, ok } from '../lib/raw.mjs';

const all = { prefix: '/' };
const slow = replies([3000, ok('late')]);
const GRPC = 'Content-Type: application/grpc\r\nTE: trailers\r\n';
const post = (headers, body) => `POST /s/m HTTP/1.1\r\nHost: a.test\r\n${headers}Content-Length: ${body.length}\r\n\r\n${body}`;
const H = { log: { log_format: { text_format_source: { inline_string: '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_HOST%\n' } } } };

export default suite('local-replies', [
  { name: 'no route: 404', routes: [{ match: { path: '/x' }, route: { cluster: '$u' } }], send: [req('/y'), { res: 1 }, req('/x')], ...H, logLines: 2 },
  { name: 'no route: HEAD', routes: [], send: ['HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n'], ...H },
  { name: 'no route: POST with body coming later', routes: [], send: ['POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\n', 200, 'body'], ...H },
  { name: 'no route: grpc', routes: [], send: [post(GRPC, 'abcde')], ...H },
  { name: 'no healthy upstream: 503', clusters: { u: { endpoints: [] } }, send: [req('/'), { res: 1 }, req('/2')], ...H, logLines: 2 },
  { name: 'no healthy upstream: grpc', clusters: { u: { endpoints: [] } }, send: [post(GRPC, 'abcde')], ...H },
  { name: 'no healthy upstream: POST with half a body', clusters: { u: { endpoints: [] } }, send: ['POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nabc'], ...H },
  { name: 'connect failure: refused', upstreams: { u: 'refuse' }, send: [req('/'), { res: 1 }, req('/2')], ...H, logLines: 2 },
  { name: 'connect failure: grpc', upstreams: { u: 'refuse' }, send: [post(GRPC, 'abcde')], ...H },
  { name: 'connect failure: HEAD', upstreams: { u: 'refuse' }, send: ['HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n'], ...H },
  { name: 'upstream reset: before the answer', upstreams: { u: replies({ reset: true }) }, send: [req('/')], ...H },
  { name: 'upstream reset: close before the answer', upstreams: { u: replies({ end: true }) }, send: [req('/')], ...H },
  { name: 'upstream reset: close in the middle of the head', upstreams: { u: replies(['HTTP/1.1 200 OK\r\nx: ', 50, { end: true }]) }, send: [req('/')], ...H },
  { name: 'upstream reset: before the answer, grpc', upstreams: { u: replies({ reset: true }) }, send: [post(GRPC, 'abcde')], ...H },
  { name: 'upstream reset: protocol error', upstreams: { u: replies('nonsense\r\n\r\n') }, send: [req('/')], ...H },
  { name: 'timeout: 504 after the route timeout', routes: [{ match: all, route: { cluster: '$u', timeout: '0.3s' } }], upstreams: { u: slow }, send: [req('/'), { res: 1 }], ...H },
  { name: 'timeout: grpc', routes: [{ match: all, route: { cluster: '$u', timeout: '0.3s' } }], upstreams: { u: slow }, send: [post(GRPC, 'abcde')], ...H },
  { name: 'timeout: starts when the request is complete', routes: [{ match: all, route: { cluster: '$u', timeout: '0.5s' } }], upstreams: { u: slow }, send: ['POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nab', 1200, 'cd', { res: 1 }], ...H },
  { name: 'timeout: while the answer is under way resets it', routes: [{ match: all, route: { cluster: '$u', timeout: '0.4s' } }], upstreams: { u: replies(['HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc', 2500, 'defghij']) }, send: [req('/')], ...H },
  { name: 'timeout: 0s turns it off', routes: [{ match: all, route: { cluster: '$u', timeout: '0s' } }], upstreams: { u: replies([600, ok('late')]) }, send: [req('/'), { res: 1 }], ...H },
  { name: 'timeout: next request on the same connection', routes: [{ match: all, route: { cluster: '$u', timeout: '0.3s' } }], upstreams: { u: replies([1500, ok('late')], ok('second')) }, send: [req('/1'), { res: 1 }, req('/2'), { res: 1 }], ...H, logLines: 2 },
  { name: 'timeout: route idle_timeout', routes: [{ match: all, route: { cluster: '$u', timeout: '0s', idle_timeout: '0.3s' } }], upstreams: { u: slow }, send: [req('/')], ...H },
  { name: 'timeout: max_stream_duration', routes: [{ match: all, route: { cluster: '$u', timeout: '0s', max_stream_duration: { max_stream_duration: '0.3s' } } }], upstreams: { u: slow }, send: [req('/')], ...H },
  { name: 'timeout: per-try', routes: [{ match: all, route: { cluster: '$u', timeout: '5s', retry_policy: { retry_on: 'reset', num_retries: 0, per_try_timeout: '0.3s' } } }], upstreams: { u: slow }, send: [req('/')], ...H },
  { name: 'malformed: 400 in the access log', send: ['GET / HTTP/1.1\r\nHost: a.test\r\nbad header: x\r\n\r\n'], ...H },
  { name: 'malformed: 431 in the access log', send: [req('/', `x-big: ${'b'.repeat(70000)}\r\n`)], ...H },
  { name: 'malformed: 426 in the access log', send: ['GET / HTTP/1.0\r\n\r\n'], ...H },
  { name: 'malformed: 501 in the access log', send: [req('/', 'Transfer-Encoding: foo\r\n')], ...H },
  { name: 'malformed: missing host in the access log', send: ['GET / HTTP/1.1\r\n\r\n'], ...H },
  { name: 'malformed: stream_error_on_invalid_http_message keeps the connection', hcm: { stream_error_on_invalid_http_message: true }, send: ['GET / HTTP/1.1\r\n\r\n', 300, req('/2')], ...H, logLines: 2 },
  { name: 'malformed: grpc request without host', send: ['POST / HTTP/1.1\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n'], ...H },
  { name: 'malformed: websocket refused', send: [req('/', 'Connection: Upgrade\r\nUpgrade: websocket\r\n')], ...H },
  { name: 'local_reply_config: mapper and body_format', hcm: { local_reply_config: { mappers: [{ filter: { status_code_filter: { comparison: { op: 'EQ', value: { default_value: 404, runtime_key: 'k' } } } }, status_code: 410, body: { inline_string: 'gone' }, headers_to_add: [{ header: { key: 'x-m', value: '1' } }] }], body_format: { text_format_source: { inline_string: '%RESPONSE_CODE% %LOCAL_REPLY_BODY%!' } } } }, routes: [], send: [req('/')], ...H },
  { name: 'buffer: over max_request_bytes is 413', hcm: { http_filters: [{ name: 'envoy.filters.http.buffer', typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer', max_request_bytes: 5 } }, { name: 'envoy.filters.http.router', typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' } }] }, send: [post('', 'abcde'), { res: 1 }, post('', 'abcdef')], ...H, logLines: 2 },
  { name: 'early answer: log of an answer before the request ended', upstreams: { u: repliesAtHead(ok('early')) }, send: ['POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nabc', { res: 1 }], ...H },
  { name: 'client goes away: log of it', upstreams: { u: slow }, send: [req('/'), 300, { rst: 1 }, 500], ...H },
  { name: 'log: of a good request', routes: [toU], send: [req('/')], ...H },
]);
