// Access log and statistics: text and JSON formats, their operators, and which counters each kind of request moves.
import { suite, req, toU, h2upstream, h2 } from '../lib/suite.mjs';
import { replies, ok } from '../lib/raw.mjs';
import { h2request } from '../lib/h2.mjs';

const all = { prefix: '/' };
const text = (s, extra = {}) => ({ log: { log_format: { text_format_source: { inline_string: `${s}\n` }, ...extra } } });
const json = o => ({ log: { log_format: { json_format: o } } });
const TEN = '%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %RESP(content-length)% %UPSTREAM_HOST%';
const ms = t => t.replace(/(" \d+ \S+ \d+ \d+) (\d+) (\d+|-) "/g, (_, a, b, c) => `${a} <ms> ${c === '-' ? '-' : '<ms>'} "`);
const def = { log: {}, viewLog: ms };

// A histogram's line says how long things took.
// x-envoy-upstream-service-time has one digit or two, and the bytes sent are one more or less.
const steady = t => t.split('\n').map(l => l.replace(/: (No recorded values|P0\().*/, ': <histogram>').replace(/(downstream_cx_tx_bytes_total(\{.*\})?:? )[1-9]\d*$/, '$1<n>')).join('\n');
const statsText = async ctx => steady(await ctx.admin('/stats'));
/** Every stat of the case that is not zero, no histogram, and not what happens to stand in a buffer now. */
const used = { stats: [/^(?!.*_buffered).*: (?!0$|<histogram>)/], statsText };
const names = { stats: [/./], statsText: async ctx => (await statsText(ctx)).replace(/: \d+$/gm, ': <n>') };
const prom = r => ({ stats: [r], statsText: async ctx => (await ctx.admin('/stats/prometheus')).split('\n').filter(l => !/_bucket|_sum|_ms\{|_ms_/.test(l)).join('\n') });

export default [suite('access-log', [
  { name: 'access log: the default format', ...def, send: [req('/path?q=1', 'User-Agent: ua/1 "x"\r\nX-Forwarded-For: 1.2.3.4\r\n')] },
  { name: 'access log: default format with missing things', ...def, routes: [], send: [req('/')] },
  { name: 'access log: default format of a POST', ...def, send: [req('/', '', 'four')] },
  { name: 'access log: default format of a malformed request', ...def, send: ['GARBAGE\r\n\r\n'] },
  { name: 'access log: default format over HTTP/2', ...def, client: async ctx => h2request(await ctx.h2(), { ':path': '/h2', 'user-agent': 'h2ua' }) },
  { name: 'access log: default format of a rewritten path', ...def, routes: [{ match: { prefix: '/a' }, route: { cluster: '$u', prefix_rewrite: '/b' } }], send: [req('/a/x')] },
  { name: 'access log: the ten operators as text', ...text(TEN), send: [req('/p', '', 'abc')] },
  { name: 'access log: the ten operators as JSON', ...json({ method: '%REQ(:METHOD)%', path: '%REQ(:PATH)%', protocol: '%PROTOCOL%', code: '%RESPONSE_CODE%', flags: '%RESPONSE_FLAGS%', in: '%BYTES_RECEIVED%', out: '%BYTES_SENT%', len: '%RESP(content-length)%', host: '%UPSTREAM_HOST%', none: '%REQ(x-none)%', mixed: 'a %RESPONSE_CODE% b' }), send: [req('/p"\\', 'X-A: "q"\r\n', 'abc')] },
  { name: 'access log: JSON nested and with odd characters', ...json({ z: '%REQ(x-odd)%', a: { b: '%RESPONSE_CODE%', c: { d: 'plain' } }, list: ['%PROTOCOL%', 'x'], n: 5, t: true }), send: [req('/', 'X-Odd: t\tab "quote" \\back\xe9\xff é\r\n')] },
  { name: 'access log: JSON of a request without an upstream', ...json({ code: '%RESPONSE_CODE%', host: '%UPSTREAM_HOST%', resp: '%RESP(x-none)%', flags: '%RESPONSE_FLAGS%' }), routes: [], send: [req('/')] },
  { name: 'access log: text_format of old', log: { format: 'old %RESPONSE_CODE% %REQ(:PATH)%\n' }, send: [req('/p')] },
  { name: 'access log: REQ with alternatives and lengths', ...text('%REQ(x-a?x-b)% %REQ(x-none?x-b):3% %REQ(X-A):2% %REQ(x-none?x-none2)% %RESP(X-Up):1%'), upstreams: { u: replies(ok('ok', 'x-up: upstream\r\n')) }, send: [req('/', 'X-A: aaaa\r\nX-B: bbbb\r\n')] },
  { name: 'access log: a header that comes twice', ...text('%REQ(x-a)%|%REQ(cookie)%'), send: [req('/', 'X-A: 1\r\nX-A: 2\r\nCookie: a\r\nCookie: b\r\n')] },
  { name: 'access log: hostile bytes in a logged header', ...text('"%REQ(user-agent)%" %REQ(:path)%'), send: [req('/"%0a\\', 'User-Agent: a"b\\c\t\xffd\r\n')] },
  { name: 'access log: START_TIME formats', ...text('%START_TIME(%Y/%m/%d)% %START_TIME%'), viewLog: t => t.replace(/\d{4}\/\d\d\/\d\d/, 'Y/M/D'), send: [req('/')] },
  { name: 'access log: DURATION is a number', ...text('%DURATION%'), viewLog: t => t.replace(/\d+/, 'N'), send: [req('/')] },
  { name: 'access log: percent signs', ...text('100%% %RESPONSE_CODE%%%'), send: [req('/')] },
  { name: 'access log: bytes of a chunked exchange', ...text('%BYTES_RECEIVED% %BYTES_SENT%'), upstreams: { u: replies('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n') }, send: ['POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n'] },
  { name: 'access log: HEAD and 304 send no bytes', ...text('%REQ(:METHOD)% %RESPONSE_CODE% %BYTES_SENT%'), upstreams: { u: replies('HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n', 'HTTP/1.1 304 X\r\n\r\n') }, send: ['HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n', { head: 1 }, req('/')], logLines: 2 },
  { name: 'access log: two requests, two lines', ...text('%REQ(:PATH)% %RESPONSE_CODE%'), send: [req('/1'), { res: 1 }, req('/2'), { res: 1 }], logLines: 2 },
  { name: 'access log: flags', ...text('%RESPONSE_CODE% %RESPONSE_FLAGS%'), routes: [{ match: { path: '/dead' }, route: { cluster: '$dead' } }, { match: { path: '/empty' }, route: { cluster: '$empty' } }, { match: { path: '/slow' }, route: { cluster: '$slow', timeout: '0.2s' } }, { match: { path: '/cut' }, route: { cluster: '$cut' } }], upstreams: { dead: 'refuse', empty: 'refuse', slow: replies([1500, ok()]), cut: replies({ end: true }) }, clusters: { empty: { endpoints: [] } }, send: ['/dead', '/empty', '/slow', '/cut', '/none'].flatMap(p => [req(p), { res: 1 }]), logLines: 5 },
  { name: 'access log: RESPONSE_CODE_DETAILS and other frequent operators', ...text('%RESPONSE_CODE_DETAILS% %ROUTE_NAME% %UPSTREAM_CLUSTER% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT% %UPSTREAM_REQUEST_ATTEMPT_COUNT%'), vhosts: [{ name: 'vh', domains: ['*'], routes: [{ name: 'rt', ...toU }] }], send: [req('/', 'X-Forwarded-For: 1.2.3.4\r\n')] },
  { name: 'access log: to stdout', bare: false, hcm: { access_log: [{ name: 'envoy.access_loggers.stdout', typed_config: { '@type': 'type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog', log_format: { text_format_source: { inline_string: '${id} %RESPONSE_CODE% %REQ(:PATH)%\n' } } } }] }, client: async ctx => {
    const c = await ctx.connect(); c.write(req('/out')); await c.response();
    for (let i = 0; i < 100 && !ctx.proxy.output.includes(`${ctx.id} 200`); i++) await ctx.sleep(50);
    return ctx.proxy.output.split('\n').filter(l => l.includes(`${ctx.id} `)).map(l => l.replace(ctx.id, 'ID'));
  } },
]), suite('stats', [
  { name: 'stats: a good request', ...used, send: [req('/'), { res: 1 }] },
  { name: 'stats: all names after one request', ...names, send: [req('/'), { res: 1 }] },
  { name: 'stats: two requests on one connection', ...used, send: [req('/1'), { res: 1 }, req('/2'), { res: 1 }] },
  { name: 'stats: no route', ...used, routes: [], send: [req('/'), { res: 1 }] },
  { name: 'stats: direct response and redirect', ...used, routes: [{ match: { path: '/d' }, direct_response: { status: 418 } }, { match: { path: '/r' }, redirect: { path_redirect: '/x' } }], send: [req('/d'), { res: 1 }, req('/r'), { res: 1 }] },
  { name: 'stats: connect failure', ...used, upstreams: { u: 'refuse' }, send: [req('/'), { res: 1 }] },
  { name: 'stats: no healthy upstream', ...used, clusters: { u: { endpoints: [] } }, send: [req('/'), { res: 1 }] },
  { name: 'stats: upstream closes before the answer', ...used, upstreams: { u: replies({ end: true }) }, send: [req('/'), { res: 1 }] },
  { name: 'stats: upstream malformed answer', ...used, upstreams: { u: replies('nonsense\r\n\r\n') }, send: [req('/'), { res: 1 }] },
  { name: 'stats: timeout', ...used, routes: [{ match: all, route: { cluster: '$u', timeout: '0.2s' } }], upstreams: { u: replies([1500, ok()]) }, send: [req('/'), { res: 1 }] },
  { name: 'stats: retry that works', ...used, routes: [{ match: all, route: { cluster: '$u', retry_policy: { retry_on: '5xx' } } }], upstreams: { u: replies(ok('bad', '', '503 X'), ok()) }, send: [req('/'), { res: 1 }] },
  { name: 'stats: retry that does not work', ...used, routes: [{ match: all, route: { cluster: '$u', retry_policy: { retry_on: '5xx', num_retries: 2 } } }], upstreams: { u: replies('HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n') }, send: [req('/'), { res: 1 }] },
  { name: 'stats: pending overflow', ...used, clusters: { u: { circuit_breakers: { thresholds: [{ max_connections: 1, max_pending_requests: 0 }] } } }, send: [req('/'), { res: 1 }] },
  { name: 'stats: 4xx and 5xx of the upstream', ...used, upstreams: { u: replies(ok('x', '', '404 X'), ok('x', '', '500 X'), ok('x', '', '302 X')) }, send: [req('/'), { res: 1 }, req('/'), { res: 1 }, req('/'), { res: 1 }] },
  { name: 'stats: POST with a body', ...used, send: [req('/', '', 'x'.repeat(1000)), { res: 1 }] },
  { name: 'stats: malformed request', ...used, send: ['GARBAGE\r\n\r\n', 2000], differs: { id: 'h1-half-close', envoy: t => t.includes('downstream_cx_delayed_close_timeout: 1'), plenipo: t => t.includes('downstream_cx_destroy_local: 1') && !t.includes('delayed_close_timeout') } },
  { name: 'stats: client goes away', ...used, upstreams: { u: replies([1500, ok()]) }, send: [req('/'), 200, { rst: 1 }, 300] },
  { name: 'stats: closed connection', ...used, send: [req('/', 'Connection: close\r\n'), { res: 1 }, 2000] },
  { name: 'stats: HTTP/2 downstream', ...used, stats: [/: (?!0$|<histogram>)/], statsText: async ctx => (await statsText(ctx)).split('\n').filter(l => !/bytes/.test(l)).join('\n'), client: async ctx => h2request(await ctx.h2(), {}) },
  { name: 'stats: HTTP/2 upstream', ...used, statsText: async ctx => (await statsText(ctx)).split('\n').filter(l => !/bytes/.test(l)).join('\n'), clusters: { u: h2upstream() }, upstreams: { u: h2() }, send: [req('/'), { res: 1 }] },
  { name: 'stats: websocket', ...used, hcm: { upgrade_configs: [{ upgrade_type: 'websocket' }] }, upstreams: { u: replies('HTTP/1.1 101 X\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n') }, send: [req('/', 'Connection: Upgrade\r\nUpgrade: websocket\r\n'), { has: '101' }] },
  { name: 'stats: weighted and unknown cluster', ...used, routeConfig: { name: 'r', validate_clusters: false, virtual_hosts: [{ name: 'v', domains: ['*'], routes: [{ match: { path: '/n' }, route: { cluster: 'nowhere' } }, toU] }] }, send: [req('/n'), { res: 1 }, req('/'), { res: 1 }] },
  { name: 'prometheus: http lines', ...prom(/^envoy_http_/), statsText: async ctx => (await ctx.admin('/stats/prometheus')).split('\n').filter(l => !/_bucket|_sum|_ms|_time/.test(l)).map(l => l.replace(/ \d+$/, ' <n>')).join('\n'), send: [req('/'), { res: 1 }] },
  { name: 'prometheus: cluster lines', ...prom(/^envoy_cluster_/), statsText: async ctx => (await ctx.admin('/stats/prometheus')).split('\n').filter(l => !/_bucket|_sum|_ms|_time/.test(l)).map(l => l.replace(/ \d+$/, ' <n>')).join('\n'), send: [req('/'), { res: 1 }] },
  { name: 'prometheus: values and labels of used counters', stats: [/^(?!.*_buffered).* ([1-9]\d*|<n>)$/], statsText: async ctx => steady(await ctx.admin('/stats/prometheus')).split('\n').filter(l => !/_bucket|_sum|_ms|_time/.test(l)).join('\n'), send: [req('/'), { res: 1 }, req('/', '', 'abc'), { res: 1 }] },
])];
