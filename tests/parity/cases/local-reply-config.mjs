// local_reply_config: mappers with every filter, status, body, formats, headers; for gRPC, for what the codec refuses, for hostile values.
import { suite, req, toU, TYPE } from '../lib/suite.mjs';
import { replies, ok } from '../lib/raw.mjs';
import { h2request } from '../lib/h2.mjs';

const inline = s => ({ text_format_source: { inline_string: s } });
const lrc = (mappers, body_format) => ({ hcm: { local_reply_config: { ...(mappers && { mappers }), ...(body_format && { body_format }) } },
  log: { log_format: inline('%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %BYTES_SENT%\n') }, routes });
const status = (value, op = 'EQ') => ({ status_code_filter: { comparison: { op, value: { default_value: value, runtime_key: 'k' } } } });
const direct = (path, code, body) => ({ match: { path }, direct_response: { status: code, ...(body && { body: { inline_string: body } }) } });
const routes = [direct('/d', 503, 'original'), direct('/e', 503), { match: { path: '/r' }, redirect: { path_redirect: '/x' } },
  { ...direct('/h', 404, 'route body'), response_headers_to_add: [{ header: { key: 'x-route', value: '1' } }] },
  { ...direct('/ct', 404, 'route body'), response_headers_to_add: [{ header: { key: 'content-type', value: 'text/route' } }] }, direct('/ok', 200, 'fine')];
const any = status(0, 'GE');
const header = (name, extra = {}) => ({ header_filter: { header: { name, ...extra } } });
const add = (key, value, more = {}) => ({ header: { key, value }, ...more });
const grpc = 'Content-Type: application/grpc\r\n';

export default [suite('local-reply-config', [
  { name: 'mapper: the first that matches, status and body', ...lrc([{ filter: status(404), status_code: 410, body: { inline_string: 'no' } }, { filter: status(503), status_code: 599, body: { inline_string: 'mapped' } }, { filter: any, status_code: 201 }]), send: [req('/d'), { res: 1 }, req('/r'), { res: 1 }, req('/none')], logLines: 3 },
  { name: 'mapper: none matches', ...lrc([{ filter: status(418), status_code: 410 }]), send: [req('/d')] },
  { name: 'mapper: a body to what has none', ...lrc([{ filter: any, body: { inline_string: 'something' } }]), send: [req('/e')] },
  { name: 'mapper: an empty body', ...lrc([{ filter: any, body: { inline_string: '' } }]), send: [req('/d')] },
  { name: 'mapper: headers by every action', ...lrc([{ filter: any, headers_to_add: [add('x-a', '1'), add('x-a', '2'), add('x-b', '1', { append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' }), add('x-route', 'over', { append_action: 'OVERWRITE_IF_EXISTS' }), add('x-no', 'x', { append_action: 'OVERWRITE_IF_EXISTS' }), add('x-c', 'x', { append_action: 'ADD_IF_ABSENT' }), add('x-keep', '', { keep_empty_value: true }), add('x-empty', '')] }]), send: [req('/h')] },
  { name: 'mapper: headers see code, body and request', ...lrc([{ filter: any, status_code: 499, body: { inline_string: 'B' }, headers_to_add: [add('x-v', '%RESPONSE_CODE%|%LOCAL_REPLY_BODY%|%REQ(x-q)%|%RESP(:status)%|%RESPONSE_CODE_DETAILS%')] }]), send: [req('/d', 'X-Q: q\r\n')] },
  { name: 'mapper: content-type of its own', ...lrc([{ filter: any, body: { inline_string: '<p>' }, headers_to_add: [add('content-type', 'text/html', { append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' })] }]), send: [req('/d'), { res: 1 }, req('/ct')], logLines: 2 },
  { name: 'mapper: content-type of the route, body replaced', ...lrc([{ filter: any, body: { inline_string: 'new' } }]), send: [req('/ct')] },
  { name: 'mapper: content-length is what it is', ...lrc([{ filter: any, headers_to_add: [add('content-length', '3', { append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' })] }]), send: [req('/d'), { res: 1 }, req('/e')], logLines: 2 },
  { name: 'format: text with operators', ...lrc(undefined, inline('%LOCAL_REPLY_BODY% %RESPONSE_CODE% %REQ(:path)% %REQ(x-none)% %RESP(:status)% %PROTOCOL% %RESPONSE_FLAGS% %ROUTE_NAME%\n')), send: [req('/d'), { res: 1 }, req('/none')], logLines: 2 },
  { name: 'format: JSON', ...lrc(undefined, { json_format: { b: '%LOCAL_REPLY_BODY%', code: '%RESPONSE_CODE%', path: '%REQ(:path)%', n: { x: '%REQ(x-none)%' } } }), send: [req('/d'), { res: 1 }, req('/e')], logLines: 2 },
  { name: 'format: content_type', ...lrc(undefined, { ...inline('<b>%LOCAL_REPLY_BODY%</b>'), content_type: 'text/html; charset=UTF-8' }), send: [req('/d'), { res: 1 }, req('/ct')], logLines: 2 },
  { name: 'format: content_type where the body stays as it was', ...lrc(undefined, { ...inline('%LOCAL_REPLY_BODY%'), content_type: 'text/html' }), send: [req('/d'), { res: 1 }, req('/ct')], logLines: 2 },
  { name: 'format: body_format_override of the mapper', ...lrc([{ filter: status(503), body: { inline_string: 'over' }, body_format_override: { json_format: { m: '%LOCAL_REPLY_BODY%' } } }], inline('top %LOCAL_REPLY_BODY%')), send: [req('/d'), { res: 1 }, req('/h')], logLines: 2 },
  { name: 'format: an empty one', ...lrc(undefined, inline('%REQ(x-none)%')), send: [req('/d')] },
  { name: 'format: omit_empty_values makes nothing', ...lrc(undefined, { ...inline('%REQ(x-none)%'), omit_empty_values: true }), send: [req('/d')] },
  { name: 'HEAD', ...lrc([{ filter: any, status_code: 410, body: { inline_string: 'gone' } }], inline('[%LOCAL_REPLY_BODY%]')), send: ['HEAD /d HTTP/1.1\r\nHost: a.test\r\n\r\n', { head: 1 }] },
  { name: 'grpc: status and message of the mapped answer', ...lrc([{ filter: status(503), status_code: 403, body: { inline_string: 'no% é' }, headers_to_add: [add('x-a', '1')] }]), send: [req('/d', grpc, 'x')] },
  { name: 'grpc: grpc-status by a mapper', ...lrc([{ filter: any, headers_to_add: [add('grpc-status', '5', { append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' }), add('content-type', 'text/x', { append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' })] }]), send: [req('/d', grpc, 'x')] },
  { name: 'grpc: JSON loses its line break', ...lrc(undefined, { json_format: { c: '%RESPONSE_CODE%' } }), send: [req('/d', grpc, 'x')] },
  { name: 'grpc: text keeps it', ...lrc(undefined, inline('a\n')), send: [req('/d', grpc, 'x')] },
  { name: 'filter: header of the request', ...lrc([{ filter: header('x-a', { string_match: { prefix: 'y' } }), status_code: 410 }, { filter: header('x-a', { present_match: true, invert_match: true }), status_code: 411 }]), send: [req('/d', 'X-A: yes\r\n'), { res: 1 }, req('/d', 'X-A: no\r\n'), { res: 1 }, req('/d')], logLines: 3 },
  { name: 'filter: response flags', ...lrc([{ filter: { response_flag_filter: { flags: ['NR'] } }, status_code: 410 }, { filter: { response_flag_filter: {} }, status_code: 411 }]), send: [req('/none'), { res: 1 }, req('/d')], logLines: 2 },
  { name: 'filter: flags of an upstream failure', ...lrc([{ filter: { response_flag_filter: { flags: ['UF'] } }, status_code: 410, body: { inline_string: 'down' } }]), routes: [toU], upstreams: { u: 'refuse' }, send: [req('/')] },
  { name: 'filter: and, or, duration, not_health_check', ...lrc([{ filter: { and_filter: { filters: [status(503), header('x-a')] } }, status_code: 410 }, { filter: { and_filter: { filters: [{ duration_filter: { comparison: { op: 'LE', value: { default_value: 60000, runtime_key: 'k' } } } }, { not_health_check_filter: {} }, header('x-b')] } }, status_code: 411 }, { filter: { or_filter: { filters: [status(404), status(301)] } }, status_code: 412 }]), send: [req('/d', 'X-A: 1\r\n'), { res: 1 }, req('/d', 'X-B: 1\r\n'), { res: 1 }, req('/r'), { res: 1 }, req('/d')], logLines: 4 },
  { name: 'filter: traceable is nothing without tracing', ...lrc([{ filter: { traceable_filter: {} }, status_code: 410 }]), send: [req('/d', 'X-Request-Id: 11111111-1111-9111-8111-111111111111\r\n')] },
  { name: 'filter: runtime by the request id', ...lrc([{ filter: { runtime_filter: { runtime_key: 'k', percent_sampled: { numerator: 50 } } }, status_code: 410 }, { filter: { runtime_filter: { runtime_key: 'k', percent_sampled: { numerator: 10000, denominator: 'TEN_THOUSAND' }, use_independent_randomness: true } }, status_code: 411 }]), send: [req('/d', 'X-Request-Id: 00000031-1111-4111-8111-111111111111\r\n'), { res: 1 }, req('/d', 'X-Request-Id: 00000032-1111-4111-8111-111111111111\r\n')], logLines: 2, hcm: undefined },
  { name: 'filter: grpc_status', ...lrc([{ filter: { grpc_status_filter: { statuses: ['UNAVAILABLE'] } }, status_code: 410 }, { filter: { grpc_status_filter: { statuses: ['UNAVAILABLE', 'UNIMPLEMENTED'], exclude: true } }, status_code: 411 }]), send: [req('/d'), { res: 1 }, req('/h'), { res: 1 }, req('/r')], logLines: 3 },
  { name: 'filter: metadata', ...lrc([{ filter: { metadata_filter: { matcher: { filter: 'n', path: [{ key: 'k' }], value: { string_match: { exact: 'v' } } } } }, status_code: 410 }]), send: [req('/d')] },
  { name: 'filter: metadata that must be there', ...lrc([{ filter: { metadata_filter: { matcher: { filter: 'n', path: [{ key: 'k' }], value: { string_match: { exact: 'v' } } }, match_if_key_not_found: false } }, status_code: 410 }]), send: [req('/d')] },
  { name: 'filter: log type is not set', ...lrc([{ filter: { log_type_filter: { types: ['DownstreamEnd'] } }, status_code: 410 }, { filter: { log_type_filter: { types: ['DownstreamEnd'], exclude: true } }, status_code: 411 }]), send: [req('/d')] },
  { name: 'codec: 400 of the parser is mapped', ...lrc([{ filter: status(400), status_code: 499, body: { inline_string: 'bad' }, headers_to_add: [add('x-a', '%REQ(:path)%')] }], inline('<%LOCAL_REPLY_BODY%> %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS%')), send: ['GARBAGE\r\n\r\n'] },
  { name: 'codec: 431 is mapped', ...lrc([{ filter: status(431), status_code: 499, body: { inline_string: 'big' } }]), send: [`GET / HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(70000)}\r\n\r\n`] },
  { name: 'codec: 426 and 501 are mapped', ...lrc([{ filter: any, headers_to_add: [add('x-m', '%RESPONSE_CODE%')] }]), send: ['POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n'] },
  { name: 'codec: a missing host is mapped', ...lrc([{ filter: status(400), status_code: 411, body: { inline_string: 'host?' } }]), send: ['GET / HTTP/1.1\r\n\r\n'] },
  { name: 'codec: request header timeout', ...lrc([{ filter: status(408), status_code: 411, body: { inline_string: 'slow' } }]), hcm: undefined, send: ['GET / HTTP/1.1\r\nHo', 600] },
  { name: 'HTTP/2', ...lrc([{ filter: status(503), status_code: 410, headers_to_add: [add('x-a', '%PROTOCOL%')] }], { json_format: { b: '%LOCAL_REPLY_BODY%' } }), client: async ctx => h2request(await ctx.h2(), { ':path': '/d' }) },
  { name: 'hostile: bytes of a request in a body and a header', ...lrc([{ filter: any, headers_to_add: [add('x-a', '%REQ(x-q)%')] }], { json_format: { q: '%REQ(x-q)%', p: '%REQ(:path)%' } }), send: [req('/none"\\%0d%0a<', 'X-Q: a"\t\xff\\\r\n')] },
  { name: 'hostile: a long value', ...lrc([{ filter: any, headers_to_add: [add('x-a', '%REQ(x-q)%%REQ(x-q)%%REQ(x-q)%')] }], inline('%REQ(x-q)%%REQ(x-q)%')), send: [req('/none', `X-Q: ${'q'.repeat(30000)}\r\n`)] },
  { name: 'an upstream answer is left alone', ...lrc([{ filter: any, status_code: 410 }], inline('x')), routes: [toU], upstreams: { u: replies('HTTP/1.1 503 Down\r\ncontent-length: 4\r\n\r\ndown') }, send: [req('/')] },
  { name: 'the body of an operator is empty elsewhere', log: { log_format: inline('<%LOCAL_REPLY_BODY%>\n') }, routes, send: [req('/d')] },
].map(c => c.name.includes('request header timeout') ? { ...c, hcm: { request_headers_timeout: '0.3s', local_reply_config: lrc([{ filter: status(408), status_code: 411, body: { inline_string: 'slow' } }]).hcm.local_reply_config } }
  : c.name.includes('runtime by') ? { ...c, hcm: { preserve_external_request_id: true, local_reply_config: lrc([{ filter: { runtime_filter: { runtime_key: 'k', percent_sampled: { numerator: 50 } } }, status_code: 410 }, { filter: { runtime_filter: { runtime_key: 'k', percent_sampled: { numerator: 10000, denominator: 'TEN_THOUSAND' }, use_independent_randomness: true } }, status_code: 411 }]).hcm.local_reply_config } } : c)),
suite('local-reply-config-refused', [
  { name: 'a mapper without a filter', ...lrc([{ status_code: 410 }]), refused: 'filter', send: [req('/')] },
  { name: 'an unknown operator', ...lrc(undefined, inline('%NOPE%')), refused: 'NOPE', send: [req('/')] },
], { alone: true })];
