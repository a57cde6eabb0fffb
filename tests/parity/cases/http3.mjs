// HTTP/3 downstream: a QUIC listener before HTTP/1 and HTTP/2 upstreams.
import { suite, TYPE, toU, h2, h2upstream } from '../lib/suite.mjs';
import { replies, ok } from '../lib/raw.mjs';
import { exchange, fields, quicListener } from '../lib/h3.mjs';

const log = { log_format: { text_format_source: { inline_string: '%PROTOCOL% %REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n' } } };
const cut = 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc';

/** One request, then another on the same connection: whether that still works tells a stream's error from a connection's. */
const one = (name, head, body, more = {}) => ({
  name, log, logLines: more.logLines ?? 2, ...quicListener(more.quic),
  client: ctx => ctx.h3([...exchange(head, body), ...exchange(fields('/after'), undefined, 'b')]),
  upstreams: { u: replies(ok('first'), ok('second')) }, ...more.case,
});
/** One request that must not be served: nothing may reach the upstream. */
const bad = (name, head, body, more = {}) => one(`HTTP/3 bad head: ${name}`, head, body, more);
/** Bytes on the streams of a connection, and what becomes of it. */
const raw = (name, steps, more = {}) => ({ name, ...quicListener(), client: ctx => ctx.h3({ steps: [...steps, { op: 'closed', ms: 2500 }], ...more.script }), upstreams: { u: replies(ok()) }, ...more.case });

const without = (...names) => fields().filter(([n]) => !names.includes(n));
const streamErrors = { http3_protocol_options: { override_stream_error_on_invalid_http_message: true } };

export default [
  suite('http3', [
    one('HTTP/3 downstream: GET', fields('/x?y=z', [['x-a', '1'], ['x-a', '2'], ['accept', 'a'], ['accept', 'b']])),
    one('HTTP/3 downstream: POST with a length', fields('/', [['content-length', '5']], 'POST'), 'hello'),
    one('HTTP/3 downstream: POST without a length', fields('/', [], 'POST'), 'hello'),
    one('HTTP/3 downstream: HEAD', fields('/', [], 'HEAD')),
    one('HTTP/3 downstream: trailers of a request', fields('/', [], 'POST'), [{ op: 'data', text: 'hello' }, { op: 'headers', fields: [['x-t', '1']], fin: true }],
      { case: { clusters: { u: { typed_extension_protocol_options: { 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
        '@type': `${TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions`, explicit_http_config: { http_protocol_options: { enable_trailers: true } } } } } } } }),
    { name: 'HTTP/3 downstream: trailers of an answer, from HTTP/2', log, logLines: 1, ...quicListener(), clusters: { u: h2upstream() },
      upstreams: { u: h2((stream) => { stream.respond({ ':status': 200 }, { waitForTrailers: true }); stream.on('wantTrailers', () => stream.sendTrailers({ 'x-t': '1' })); stream.end('body'); }) },
      client: ctx => ctx.h3(exchange(fields())) },
    one('HTTP/3 downstream: cookies become one', fields('/', [['cookie', 'a=1'], ['x', 'y'], ['cookie', 'b=2']])),
    one('HTTP/3 downstream: te trailers', fields('/', [['te', 'trailers']])),
    one('HTTP/3 downstream: tabs and edge spaces in a value', fields('/', [['x-a', ' a\tb ']])),
    one('HTTP/3 downstream: an unknown scheme', [[':method', 'GET'], [':scheme', 'ftp'], [':authority', 'a.test'], [':path', '/']]),
    one('HTTP/3 downstream: unknown frames and empty pieces', fields('/', [], 'POST'), [{ op: 'raw', hex: '21 03 616263 0000 00 02 6869 0000 21 00', fin: true }]),
    one('HTTP/3 downstream: 100-continue', fields('/', [['expect', '100-continue']], 'POST'), 'hello'),
    one('HTTP/3 downstream: an interim answer of the upstream', fields(), undefined, { case: { upstreams: { u: replies('HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n' + ok('final'), ok('second')) } } }),
    one('HTTP/3 downstream: 204 and headers of a connection in the answer', fields(), undefined, { case: { upstreams: { u: replies('HTTP/1.1 204 No Content\r\nConnection: x-a\r\nX-A: 1\r\nKeep-Alive: 1\r\n\r\n', ok('second')) } } }),
    one('HTTP/3 downstream: no route', fields('/none'), undefined, { case: { routes: [{ match: { prefix: '/after' }, route: { cluster: '$u' } }] } }),
    one('HTTP/3 downstream: CONNECT without a route for it', [[':method', 'CONNECT'], [':authority', 'a.test:80']]),
    { name: 'HTTP/3 downstream: an answer before the request is whole', log, logLines: 1, ...quicListener(), routes: [{ match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: 'early' } } }],
      client: ctx => ctx.h3([{ op: 'headers', stream: 'a', fields: fields('/', [], 'POST') }, { op: 'end', stream: 'a' }, { op: 'stopped', stream: 'a' }]) },
    { name: 'HTTP/3 downstream: large bodies both ways', ...quicListener(), routes: [toU], upstreams: { u: replies(ok('y'.repeat(300000))) }, viewUpstream: saw => saw.map(w => ({ ...w, bytes: `${w.bytes.length} bytes` })),
      client: async ctx => (await ctx.h3(exchange(fields('/', [['content-length', '400000'], ['x-request-id', '1']], 'POST'), [{ op: 'data', size: 400000, fin: true }]))).map(({ body, ...rest }) => rest) },
    { name: 'HTTP/3 downstream: many streams at once', ...quicListener(), upstreams: { u: replies(...Array.from({ length: 20 }, () => ok('one'))) }, routes: [{ match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: 'hi' } } }],
      client: ctx => ctx.h3([...Array.from({ length: 20 }, (_, i) => ({ op: 'headers', stream: `s${i}`, fields: fields(`/${i}`), fin: true })), ...Array.from({ length: 20 }, (_, i) => ({ op: 'end', stream: `s${i}` }))]) },
    { name: 'HTTP/3 downstream: statistics', ...quicListener(), stats: [/^http\.ID\.downstream_(cx_http3|cx_ssl|rq_http3|cx_total|cx_http[12]_total|rq_2xx)/, /^listener.*\.downstream_cx_total/],
      client: ctx => ctx.h3([...exchange(fields()), ...exchange(fields(), undefined, 'b')]), upstreams: { u: replies(ok('one'), ok('two')) } },
    { name: 'HTTP/3 downstream: a client moves to another port', ...quicListener(), upstreams: { u: replies(ok('one'), ok('two')) },
      client: ctx => ctx.h3([...exchange(fields()), { op: 'migrate', ms: 2000 }, ...exchange(fields(), undefined, 'b')]),
      differs: { id: 'h3-migration', envoy: t => t.includes('migrate : probe') && t.includes('body "two"'), plenipo: t => !t.includes('notes') && t.includes('body "two"') } },
    { name: 'HTTP/3 downstream: another ALPN', ...quicListener(), client: ctx => ctx.h3({ alpn: ['h2'], steps: [] }), upstreams: { u: replies(ok()) } },
    { name: 'HTTP/3 downstream: a client certificate', log: { log_format: { text_format_source: { inline_string: '%DOWNSTREAM_PEER_SUBJECT% %DOWNSTREAM_TLS_VERSION% %REQUESTED_SERVER_NAME%\n' } } }, logLines: 1,
      ...quicListener({ tls: { require_client_certificate: true }, common: { validation_context: { trusted_ca: { filename: '${certs}/ca.crt' } } } }), upstreams: { u: replies(ok()) },
      client: ctx => ctx.h3({ cert: `${certs}/client.crt`, key: `${certs}/client.key`, steps: exchange(fields()) }) },

    { name: 'HTTP/3 limits: max_request_headers_kb', log, logLines: 2, ...quicListener(), hcm: { max_request_headers_kb: 1 }, upstreams: { u: replies(ok('first')) },
      client: async ctx => (await ctx.h3([...exchange(fields('/', [['x-a', 'a'.repeat(700)]])), ...exchange(fields('/', [['x-a', '~'.repeat(1100)]]), undefined, 'b')])).slice(0, 2),
      differs: { id: 'h3-long-head', envoy: t => t.includes('body "first"') && /"end":"(closed 0x105|reset 0x107) by peer"/.test(t), plenipo: t => t.includes('body "first"') && t.includes('"end":"reset 0x107 by peer"') && t.includes('http3.headers_too_large') } },
    one('HTTP/3 limits: max_headers_count', fields('/', Array.from({ length: 110 }, (_, i) => [`x-${i}`, '1']))),
    one('HTTP/3 limits: request_timeout', fields('/', [], 'POST'), [{ op: 'end' }], { case: { hcm: { request_timeout: '0.5s' } } }),
    one('HTTP/3 limits: the timeout of a route', fields(), undefined, { case: { routes: [{ match: { prefix: '/' }, route: { cluster: '$u', timeout: '0.4s' } }], upstreams: { u: replies([1500, ok('late')]) } } }),
    { name: 'HTTP/3 limits: max_requests_per_connection', ...quicListener(), hcm: { common_http_protocol_options: { max_requests_per_connection: 1 } }, upstreams: { u: replies(ok('one')) },
      client: async ctx => (await ctx.h3([...exchange(fields()), { op: 'goaway' }])).map(({ goaway, ...rest }) => ({ ...rest, ...('alpn' in rest && { toldToGo: goaway?.length > 0 }) })) },
    { name: 'HTTP/3 limits: idle_timeout', ...quicListener(), hcm: { common_http_protocol_options: { idle_timeout: '0.5s' } }, client: ctx => ctx.h3([...exchange(fields()), { op: 'closed', ms: 3000 }]), upstreams: { u: replies(ok('one')) } },

    bad('a length that is too large', fields('/', [['content-length', '9']], 'POST'), 'hello', { case: { viewUpstream: () => [] } }),
    bad('a length that is too small', fields('/', [['content-length', '3']], 'POST'), 'hello', { case: { viewUpstream: () => [] } }),
    bad('a length without a body', fields('/', [['content-length', '3']])),
    bad('a length that is no number', fields('/', [['content-length', 'x']], 'POST'), 'hello', { logLines: 1 }),
    bad('two lengths', fields('/', [['content-length', '5'], ['content-length', '6']], 'POST'), 'hello', { logLines: 1 }),
    bad('two paths', [...fields(), [':path', '/other']]),
    bad('two methods', [...fields(), [':method', 'POST']]),
    bad('two authorities', [...fields(), [':authority', 'b.test']], undefined, { logLines: 1 }),
    bad('a pseudo-header behind a header', [...without(':path'), ['x-a', '1'], [':path', '/']]),
    ...[':method', ':scheme', ':authority', ':path'].map(n => bad(`without ${n}`, without(n), undefined, { logLines: 1 })),
    bad('host in place of :authority', [...without(':authority'), ['host', 'a.test']], undefined, { logLines: 1 }),
    bad('another host', fields('/', [['host', 'b.test']]), undefined, { logLines: 1 }),
    bad('user information in :authority', [[':authority', 'u@a.test'], ...without(':authority')], undefined, { logLines: 1 }),
    bad('an asterisk', fields('*')),
    bad('a path without a slash', fields('x')),
    bad('a space in the path', fields('/a b'), undefined, { logLines: 1 }),
    bad('a space in the method', fields('/', [], 'G T'), undefined, { logLines: 1 }),
    bad('an unknown pseudo-header', [...fields(), [':foo', '1']], undefined, { logLines: 1 }),
    bad(':status in a request', [...fields(), [':status', '200']], undefined, { logLines: 1 }),
    bad('upper case', fields('/', [['X-Up', '1']]), undefined, { logLines: 1 }),
    bad('an empty name', fields('/', [['', '1']]), undefined, { logLines: 1 }),
    bad('a line end in a value', fields('/', [['x-a', 'a\r\nb: c']]), undefined, { logLines: 1 }),
    bad('NUL in a value', fields('/', [['x-a', 'a\0b']]), undefined, { logLines: 1 }),
    bad('bytes over 127 in a value', fields('/', [['x-a', 'é']]), undefined, { logLines: 1 }),
    ...[['connection', 'close'], ['keep-alive', '1'], ['transfer-encoding', 'chunked'], ['upgrade', 'websocket'], ['proxy-connection', 'close'], ['te', 'gzip']]
      .map(h => bad(`${h[0]}: ${h[1]}`, fields('/', [h]), undefined, { logLines: 1 })),
    bad(':protocol while extended CONNECT is not allowed', [[':method', 'CONNECT'], [':protocol', 'websocket'], ...without(':method')], undefined, { logLines: 1 }),
    bad('only the stream ends with override_stream_error_on_invalid_http_message', fields('/', [['connection', 'close']]), undefined, { case: { hcm: streamErrors } }),
    bad('an underscore that is not allowed', fields('/', [['x_a', '1']]), undefined, { case: { hcm: { common_http_protocol_options: { headers_with_underscores_action: 'REJECT_REQUEST' } } } }),
    one('HTTP/3 downstream: a header with an underscore is dropped', fields('/', [['x_a', '1']]), undefined, { case: { hcm: { common_http_protocol_options: { headers_with_underscores_action: 'DROP_HEADER' } } } }),

    raw('HTTP/3 bad frames: DATA first', [{ op: 'data', stream: 'a', text: 'x' }]),
    raw('HTTP/3 bad frames: a stream without any', [{ op: 'fin', stream: 'a' }]),
    raw('HTTP/3 bad frames: SETTINGS on a request', [{ op: 'raw', stream: 'a', hex: '04 00' }]),
    raw('HTTP/3 bad frames: PING of HTTP/2', [{ op: 'raw', stream: 'a', hex: '06 00' }]),
    raw('HTTP/3 bad frames: the dynamic table of QPACK', [{ op: 'raw', stream: 'a', hex: '01 03 0000 80', fin: true }]),
    raw('HTTP/3 bad frames: DATA behind trailers', [{ op: 'headers', stream: 'a', fields: fields('/', [], 'POST') }, { op: 'headers', stream: 'a', fields: [['x-t', '1']] }, { op: 'data', stream: 'a', text: 'x', fin: true }], { case: { viewUpstream: () => [] } }),
    raw('HTTP/3 bad streams: a push of the client', [{ op: 'uni', hex: '01 00' }]),
    raw('HTTP/3 bad streams: a second control stream', [{ op: 'uni', hex: '00 04 00' }]),
    raw('HTTP/3 bad streams: no SETTINGS', [], { script: { control: '00 07 01 00' } }),
    raw('HTTP/3 bad streams: a setting of HTTP/2', [], { script: { control: '00 04 02 02 01' } }),
    raw('HTTP/3 bad streams: DATA on the control stream', [], { script: { control: '00 04 00 00 01 61' } }),
    raw('HTTP/3 bad streams: an acknowledgement of nothing', [{ op: 'uni', hex: '03 01' }]),
    raw('HTTP/3 bad streams: an unknown one is left alone', [{ op: 'uni', hex: '21 01 02' }, ...exchange(fields()), { op: 'close', code: 256 }]),

    raw('HTTP/3 bad frames: a body that ends within a frame', [{ op: 'headers', stream: 'a', fields: fields('/', [], 'POST') }, { op: 'raw', stream: 'a', hex: '00 05 6162', fin: true }, { op: 'end', stream: 'a' }],
      { case: { viewUpstream: () => [], differs: { id: 'h3-cut-frame', envoy: t => t.includes(':status: 200'), plenipo: t => t.includes('closed 0x106 by peer') && !t.includes(':status') } } }),
    raw('HTTP/3 bad frames: a head that ends within its frame', [{ op: 'raw', stream: 'a', hex: '01 40', fin: true }],
      { case: { differs: { id: 'h3-cut-frame', envoy: t => t.includes('closed : still open'), plenipo: t => t.includes('closed 0x106 by peer') } } }),
    ...[[':path', '/x'], ['X-T', '1']].map(h => raw(`HTTP/3 bad trailers: ${h[0]}`, [{ op: 'headers', stream: 'a', fields: fields('/', [], 'POST') }, { op: 'data', stream: 'a', text: 'x' }, { op: 'headers', stream: 'a', fields: [h], fin: true }],
      { case: { viewUpstream: () => [], differs: { id: 'h3-bad-trailers', envoy: t => t.includes('transport error 0x1 by peer'), plenipo: t => t.includes('closed 0x106 by peer') } } })),
    raw('HTTP/3 bad streams: the control stream ends', [], { script: { control: 'none', steps: [{ op: 'uni', hex: '00 04 00', fin: true }, { op: 'closed', ms: 1500 }] },
      case: { differs: { id: 'h3-control-ends', envoy: t => t.includes('closed : still open'), plenipo: t => t.includes('closed 0x104 by peer') } } }),
    { name: 'HTTP/3 resets: only the request', ...quicListener(), upstreams: { u: replies([5000, ok('late')]) }, viewUpstream: () => [],
      client: ctx => ctx.h3([{ op: 'headers', stream: 'a', fields: fields('/', [], 'POST') }, { op: 'sleep', ms: 400 }, { op: 'reset', stream: 'a', code: 268 }, { op: 'end', stream: 'a', ms: 1500 }]),
      differs: { id: 'h3-half-reset', envoy: t => t.includes('no end'), plenipo: t => t.includes('reset 0x10b by peer') } },

    { name: 'HTTP/3 resets: the client resets its request', log, logLines: 1, ...quicListener(), upstreams: { u: replies([5000, ok('late')]) }, viewUpstream: () => [],
      client: ctx => ctx.h3([{ op: 'headers', stream: 'a', fields: fields('/', [], 'POST') }, { op: 'sleep', ms: 400 }, { op: 'reset', stream: 'a', code: 268 }, { op: 'stop', stream: 'a', code: 268 }, { op: 'sleep', ms: 400 }]) },
    { name: 'HTTP/3 resets: the client does not want the answer', log, logLines: 1, ...quicListener(), upstreams: { u: replies([5000, ok('late')]) },
      client: ctx => ctx.h3([{ op: 'headers', stream: 'a', fields: fields(), fin: true }, { op: 'sleep', ms: 400 }, { op: 'stop', stream: 'a', code: 268 }, { op: 'sleep', ms: 400 }]) },
    { name: 'HTTP/3 resets: the client goes away', log, logLines: 1, ...quicListener(), upstreams: { u: replies([5000, ok('late')]) },
      client: ctx => ctx.h3([{ op: 'headers', stream: 'a', fields: fields(), fin: true }, { op: 'sleep', ms: 400 }, { op: 'close', code: 256 }]) },
    one('HTTP/3 resets: the upstream breaks off', fields(), undefined, { case: { upstreams: { u: replies([cut, 400, { end: true }], ok('second')) } } }),
  ]),
  suite('http3-refused', [
    { name: 'HTTP/3 refused: the codec on TCP', hcm: { codec_type: 'HTTP3' }, refused: 'codec_type' },
    { name: 'HTTP/3 refused: another codec on QUIC', ...quicListener(), hcm: { codec_type: 'AUTO' }, refused: 'codec_type' },
    { name: 'HTTP/3 refused: TLS of TCP on QUIC', datagrams: quicListener().datagrams, hcm: { codec_type: 'HTTP3' }, refused: 'transport_socket',
      chains: filter => quicListener().chains(filter).map(c => ({ ...c, transport_socket: { name: 'envoy.transport_sockets.tls', typed_config: { '@type': `${TYPE}.extensions.transport_sockets.tls.v3.DownstreamTlsContext`, ...c.transport_socket.typed_config.downstream_tls_context } } })) },
    { name: 'HTTP/3 refused: no transport socket', datagrams: quicListener().datagrams, hcm: { codec_type: 'HTTP3' }, refused: 'transport_socket' },
    { name: 'HTTP/3 refused: no certificate', ...quicListener({ common: { tls_certificates: [] } }), refused: 'No TLS certificates' },
    { name: 'HTTP/3 refused: client certificates that nobody signs', ...quicListener({ tls: { require_client_certificate: true } }), refused: 'require_client_certificate' },
    { name: 'HTTP/3 refused: UDP without QUIC', datagrams: { udp_listener_config: {} }, refused: 'quic_options' },
    { name: 'HTTP/3 refused: exact_balance', ...quicListener(), listener: { connection_balance_config: { exact_balance: {} } }, refused: 'connection_balance_config' },
    { name: 'HTTP/3 refused: QUIC on TCP', listener: { udp_listener_config: { quic_options: {} } }, refused: 'udp_listener_config' },
    { name: 'HTTP/3 refused: a window that is too large', ...quicListener({ quic: { quic_protocol_options: { initial_stream_window_size: 16777217 } } }), refused: 'initial_stream_window_size' },
    { name: 'HTTP/3 refused: a backlog', ...quicListener(), listener: { tcp_backlog_size: 5 }, unsupported: 'tcp_backlog_size', client: ctx => ctx.h3(exchange(fields())), upstreams: { u: replies(ok()) } },
    { name: 'HTTP/3 refused: transport_socket_connect_timeout', ...quicListener(), chains: filter => quicListener().chains(filter).map(c => ({ ...c, transport_socket_connect_timeout: '1s' })),
      unsupported: 'transport_socket_connect_timeout', client: ctx => ctx.h3(exchange(fields())), upstreams: { u: replies(ok()) } },
    { name: 'HTTP/3 refused: several filter chains', ...quicListener(), chains: filter => ['a.test', 'b.test'].map(n => quicListener({ match: { server_names: [n] } }).chains(filter)[0]), unsupported: 'only one filter chain', client: ctx => ctx.h3(exchange(fields())), upstreams: { u: replies(ok()) } },
  ], { alone: true }),
];
