// AccessLog.filter: which streams are logged, by every filter; and log types.
import { suite, req, toU, TYPE, router } from '../lib/suite.mjs';
import { replies, ok } from '../lib/raw.mjs';
import { h2request } from '../lib/h2.mjs';

const format = '%REQ(:path)% %RESPONSE_CODE%\n';
const log = (filter, text = format) => ({ name: 'l', ...(filter && { filter }), typed_config: { '@type': `${TYPE}.extensions.access_loggers.file.v3.FileAccessLog`, path: '${log}', log_format: { text_format_source: { inline_string: text } } } });
const direct = (path, code) => ({ match: { path }, direct_response: { status: code } });
const routes = [direct('/200', 200), direct('/404', 404), direct('/503', 503), toU];
/** Each request of `sent` gets its answer; a last one, logged always, shows that the others were not. */
const logged = (filter, sent, extra = {}) => ({ routes, hcm: { access_log: [log(filter), log(undefined, 'all %REQ(:path)%\n')], ...extra }, log: undefined, readLog: true,
  send: sent.flatMap(r => [r, { res: 1 }]), viewLog: t => t.split('\n').filter(l => !l.startsWith('all ')).join('\n'), logLines: sent.length });
const status = (value, op = 'EQ') => ({ status_code_filter: { comparison: { op, value: { default_value: value, runtime_key: 'k' } } } });
const header = (name, extra = {}) => ({ header_filter: { header: { name, ...extra } } });
const setMetadata = value => ({ name: 'md', typed_config: { '@type': `${TYPE}.extensions.filters.http.set_metadata.v3.Config`, metadata: [{ metadata_namespace: 'n', value }] } });
const metadata = (value, more = {}, path = ['k']) => ({ metadata_filter: { matcher: { filter: 'n', path: path.map(key => ({ key })), value, ...more.matcher }, ...more.filter } });
const withMetadata = (filter, value = { k: 'v', n: 3, b: true, z: null, l: ['a', 2], o: { d: 'deep' } }) => logged(filter, [req('/200')], { http_filters: [setMetadata(value), router] });
const started = (options, filter) => ({ routes, hcm: { access_log: [log(filter, '%ACCESS_LOG_TYPE% %REQ(:path)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %ROUTE_NAME% %UPSTREAM_CLUSTER% %RESP(server)% %BYTES_RECEIVED%\n')], ...options } });
const three = [req('/200'), req('/404'), req('/503')];

export default [suite('access-log-filters', [
  ...['EQ', 'GE', 'LE', 'NE'].map(op => ({ name: `status_code: ${op}`, ...logged(status(404, op), three) })),
  { name: 'status_code: what no answer has', ...logged(status(0), three) },
  { name: 'duration: at most', ...logged({ duration_filter: { comparison: { op: 'LE', value: { default_value: 60000, runtime_key: 'k' } } } }, three) },
  { name: 'duration: at least', ...logged({ duration_filter: { comparison: { op: 'GE', value: { default_value: 60000, runtime_key: 'k' } } } }, three) },
  { name: 'not_health_check', ...logged({ not_health_check_filter: {} }, three) },
  { name: 'traceable: nothing without tracing', ...logged({ traceable_filter: {} }, [req('/200'), req('/200', 'X-Client-Trace-Id: 1\r\nX-Envoy-Force-Trace: 1\r\n')]) },
  { name: 'runtime: by the request id', ...logged({ runtime_filter: { runtime_key: 'k', percent_sampled: { numerator: 50 } } }, [req('/a', 'X-Request-Id: 00000031-1111-4111-8111-111111111111\r\n'), req('/b', 'X-Request-Id: 00000032-1111-4111-8111-111111111111\r\n'), req('/c', 'X-Request-Id: ffffffff-1111-4111-8111-111111111111\r\n')], { preserve_external_request_id: true }) },
  { name: 'runtime: of ten thousand and of a million', ...logged({ or_filter: { filters: [{ runtime_filter: { runtime_key: 'k', percent_sampled: { numerator: 5, denominator: 'TEN_THOUSAND' } } }, { runtime_filter: { runtime_key: 'k', percent_sampled: { numerator: 3, denominator: 'MILLION' } } }] } }, [req('/a', 'X-Request-Id: 00002714-1111-4111-8111-111111111111\r\n'), req('/b', 'X-Request-Id: 00002715-1111-4111-8111-111111111111\r\n'), req('/c', 'X-Request-Id: 000f4242-1111-4111-8111-111111111111\r\n'), req('/d', 'X-Request-Id: 000f4243-1111-4111-8111-111111111111\r\n')], { preserve_external_request_id: true }) },
  { name: 'runtime: none and all', ...logged({ or_filter: { filters: [{ runtime_filter: { runtime_key: 'k' } }, { and_filter: { filters: [status(404), { runtime_filter: { runtime_key: 'k', percent_sampled: { numerator: 100 }, use_independent_randomness: true } }] } }] } }, three) },
  { name: 'and', ...logged({ and_filter: { filters: [status(400, 'GE'), status(500, 'LE')] } }, three) },
  { name: 'or', ...logged({ or_filter: { filters: [status(200), status(503)] } }, three) },
  { name: 'header: present', ...logged(header('x-a'), [req('/200', 'X-A: 1\r\n'), req('/404')]) },
  { name: 'header: inverted and missing', ...logged(header('x-a', { string_match: { exact: '1' }, invert_match: true }), [req('/200', 'X-A: 1\r\n'), req('/404'), req('/503', 'X-A: 2\r\n')]) },
  { name: 'header: treat_missing_header_as_empty', ...logged(header('x-a', { string_match: { exact: '' }, treat_missing_header_as_empty: true }), [req('/200', 'X-A: 1\r\n'), req('/404')]) },
  { name: 'header: of a request that could not be read', ...logged(header('x-a', { present_match: true, invert_match: true }), ['GARBAGE\r\n\r\n']) },
  { name: 'response_flag: one', ...logged({ response_flag_filter: { flags: ['NR', 'UH'] } }, three.slice(0, 1).concat([req('/none')]), { route_config: { name: 'x', virtual_hosts: [{ name: 'v', domains: ['*'], routes: [direct('/200', 200)] }] } }) },
  { name: 'response_flag: any', ...logged({ response_flag_filter: {} }, [req('/200'), req('/none')], { route_config: { name: 'x', virtual_hosts: [{ name: 'v', domains: ['*'], routes: [direct('/200', 200)] }] } }) },
  { name: 'grpc_status: of HTTP statuses', ...logged({ grpc_status_filter: { statuses: ['UNAVAILABLE', 'UNKNOWN'] } }, three) },
  { name: 'grpc_status: excluded', ...logged({ grpc_status_filter: { statuses: ['UNAVAILABLE'], exclude: true } }, three) },
  { name: 'grpc_status: of a header', ...logged({ grpc_status_filter: { statuses: ['NOT_FOUND'] } }, [req('/u'), req('/u')]), upstreams: { u: replies('HTTP/1.1 200 OK\r\ngrpc-status: 5\r\ncontent-length: 0\r\n\r\n', 'HTTP/1.1 200 OK\r\ngrpc-status: 0\r\ncontent-length: 0\r\n\r\n') } },
  { name: 'grpc_status: hostile numbers', ...logged({ grpc_status_filter: { statuses: ['UNKNOWN', 'OK'] } }, [req('/1'), req('/2'), req('/3'), req('/4')]), upstreams: { u: replies(...['99', '-1', 'x', '18446744073709551616'].map(n => `HTTP/1.1 200 OK\r\ngrpc-status: ${n}\r\ncontent-length: 0\r\n\r\n`)) } },
  { name: 'metadata: a string', ...withMetadata(metadata({ string_match: { exact: 'v' } })) },
  { name: 'metadata: another string', ...withMetadata(metadata({ string_match: { exact: 'w' } })) },
  { name: 'metadata: inverted', ...withMetadata(metadata({ string_match: { exact: 'w' } }, { matcher: { invert: true } })) },
  { name: 'metadata: of another kind', ...withMetadata(metadata({ double_match: { exact: 3 } })) },
  { name: 'metadata: a number', ...withMetadata(metadata({ double_match: { range: { start: 3, end: 4 } } }, {}, ['n'])) },
  { name: 'metadata: a bool', ...withMetadata(metadata({ bool_match: true }, {}, ['b'])) },
  { name: 'metadata: null', ...withMetadata(metadata({ null_match: {} }, {}, ['z'])) },
  { name: 'metadata: present', ...withMetadata(metadata({ present_match: true }, {}, ['o'])) },
  { name: 'metadata: not present', ...withMetadata(metadata({ present_match: false }, {}, ['k'])) },
  { name: 'metadata: one of a list', ...withMetadata(metadata({ list_match: { one_of: { double_match: { exact: 2 } } } }, {}, ['l'])) },
  { name: 'metadata: or', ...withMetadata(metadata({ or_match: { value_matchers: [{ null_match: {} }, { string_match: { prefix: 'd' } }] } }, {}, ['o', 'd'])) },
  { name: 'metadata: absent', ...withMetadata(metadata({ string_match: { exact: 'v' } }, {}, ['none'])) },
  { name: 'metadata: absent and inverted', ...withMetadata(metadata({ string_match: { exact: 'v' } }, { matcher: { invert: true }, filter: { match_if_key_not_found: false } }, ['none'])) },
  { name: 'metadata: no matcher', ...withMetadata({ metadata_filter: { match_if_key_not_found: false } }) },
  { name: 'log_type: the end of a stream', ...logged({ log_type_filter: { types: ['DownstreamEnd'] } }, three) },
  { name: 'log_type: excluded', ...logged({ log_type_filter: { types: ['DownstreamEnd'], exclude: true } }, three) },
  { name: 'log_type: another', ...logged({ log_type_filter: { types: ['TcpConnectionEnd', 'DownstreamStart'] } }, three) },
  { name: 'options: a line when a request begins', ...started({ access_log_options: { flush_access_log_on_new_request: true } }), send: [req('/200'), { res: 1 }, req('/u'), { res: 1 }], logLines: 4 },
  { name: 'options: the deprecated field', ...started({ flush_access_log_on_new_request: true }), send: [req('/404')], logLines: 2 },
  { name: 'options: none for a request that could not be read', ...started({ access_log_options: { flush_access_log_on_new_request: true } }), send: ['GET / HTTP/1.1\r\n\r\n'] },
  { name: 'options: over HTTP/2, one line by its type', ...started({ access_log_options: { flush_access_log_on_new_request: true } }, { log_type_filter: { types: ['DownstreamStart'] } }), client: async ctx => h2request(await ctx.h2(), { ':path': '/200' }) },
].map(c => ({ ...c, log: {} }))),
suite('access-log-filters-refused', [
  { name: 'an unknown flag', ...logged({ response_flag_filter: { flags: ['XX'] } }, three), refused: 'XX' },
  { name: 'a header without a name', ...logged(header(''), three), refused: 'name' },
], { alone: true })];
