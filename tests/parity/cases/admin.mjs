// The admin pages: what each answers, byte for byte where it can be the same; and what draining and quitting do.
import fs from 'node:fs';
import { suite, req } from '../lib/suite.mjs';
import { replies, ok } from '../lib/raw.mjs';

const adm = (request, view) => ({ client: async ctx => { const c = await ctx.connect('admin'); c.write(request); await c.response(); }, ...(view && { view }), settle: 300 });
const get = (path, view) => adm(`GET ${path} HTTP/1.1\r\nHost: admin\r\n\r\n`, view);
const post = (path, view) => adm(`POST ${path} HTTP/1.1\r\nHost: admin\r\nContent-Length: 0\r\n\r\n`, view);
const head = t => t.split('\r\n\r\n')[0];
// How hex digits of a chunk size are written says nothing.
const lower = t => t.replace(/^[0-9A-F]+\r$/gm, size => size.toLowerCase());
const bodyOf = t => { const [h, ...b] = t.split('\r\n\r\n'); const body = b.join('\r\n\r\n'); return /transfer-encoding: chunked/i.test(h) ? dechunk(body) : body; };
function dechunk(b) { let o = ''; for (;;) { const n = parseInt(b, 16); const at = b.indexOf('\r\n'); if (!n || at < 0) return o; o += b.slice(at + 2, at + 2 + n); b = b.slice(at + 4 + n); } }
/** The shape of a JSON value: keys and types. */
const shape = v => Array.isArray(v) ? (v.length ? [shape(v[0])] : []) : v && typeof v === 'object' ? Object.fromEntries(Object.keys(v).sort().map(k => [k, shape(v[k])])) : typeof v;
const jsonShape = t => `${head(t)}\r\n${JSON.stringify(shape(JSON.parse(bodyOf(t))), null, 1).replace(/\n/g, '\r\n')}`;
const lines = (t, keep) => `${head(t).replace(/content-length: \d+/, 'content-length: <n>')}\r\n${bodyOf(t).split('\n').filter(keep).join('\r\n')}`;
const config = async (ctx, url) => JSON.parse(await ctx.admin(url));

/** The options that mean something to plenipo. */
const OPTIONS = ['concurrency', 'config_path', 'config_yaml', 'component_log_level', 'drain_strategy', 'drain_time', 'file_flush_interval', 'log_format', 'log_level', 'log_path', 'mode', 'parent_shutdown_time', 'service_cluster', 'service_node', 'service_zone'];

/** A case on a proxy of its own: sends a request, does `act`, looks again. */
const changes = (name, act) => ({ name, client: act, upstreams: { u: replies(ok()) }, settle: 600 });

export default [suite('admin', [
  { name: 'admin /ready: LIVE', ...get('/ready') },
  { name: 'admin /ready: POST', ...post('/ready') },
  { name: 'admin /ready: HEAD', ...adm('HEAD /ready HTTP/1.1\r\nHost: admin\r\n\r\n'), client: async ctx => { const c = await ctx.connect('admin'); c.write('HEAD /ready HTTP/1.1\r\nHost: admin\r\n\r\n'); await c.response({ head: true }); },
    differs: { id: 'admin-head-no-body', envoy: t => t.includes('LIVE'), plenipo: t => t.includes('200 OK') && !t.includes('LIVE') } },
  { name: 'admin /: the page', ...get('/', t => head(t).replace(/content-length: \d+/, 'content-length: <n>')) },
  { name: 'admin /: links to every page we have', ...get('/', t => ['/certs', '/clusters', '/config_dump', '/help', '/listeners', '/logging', '/ready', '/server_info', '/stats', '/stats/prometheus', '/quitquitquit', '/drain_listeners'].filter(p => bodyOf(t).includes(p.slice(1))).join('\r\n')) },
  { name: 'admin /: POST', ...post('/', t => head(t).replace(/content-length: \d+/, 'content-length: <n>')) },
  { name: 'admin /help: names the pages', ...get('/help', t => lines(t, l => /^  \/(help|ready|stats|stats\/prometheus|clusters|listeners|config_dump|server_info|quitquitquit|drain_listeners|logging|)[:( ]/.test(l))) },
  { name: 'admin /help: POST', ...post('/help', head) },
  { name: 'admin unknown page: 404', ...get('/nope', t => t.replace(/content-length: \d+/, 'content-length: <n>').split('\r\n\r\n').map((p, i) => i ? p.split('\n').slice(1, 2).join('') : p).join('\r\n\r\n')) },
  { name: 'admin unknown page: hostile path', ...get('/../../etc/passwd?%00', t => t.replace(/content-length: \d+/, 'content-length: <n>').split('\r\n\r\n').map((p, i) => i ? p.split('\n').slice(1, 2).join('') : p).join('\r\n\r\n')) },
  { name: 'admin unknown page: malformed request', ...adm('GARBAGE\r\n\r\n'), differs: { id: 'admin-http', envoy: t => t.includes('Bad Request\n') && t.includes('content-length: 11'), plenipo: t => t.startsWith('client 1 (closed):\n  HTTP/1.1 400 Bad Request') && t.includes('content-length: 0') } },
  { name: 'admin wrong method: GET /quitquitquit', ...get('/quitquitquit') },
  { name: 'admin wrong method: GET /drain_listeners', ...get('/drain_listeners') },
  { name: 'admin wrong method: GET /logging', ...get('/logging') },
  { name: 'admin wrong method: DELETE /ready', ...adm('DELETE /ready HTTP/1.1\r\nHost: admin\r\n\r\n') },
  { name: 'admin /listeners: text', ...get('/listeners', t => head(t).replace(/content-length: \d+/, 'content-length: <n>')) },
  { name: 'admin /listeners: a line a listener', client: async ctx => (await ctx.admin('/listeners')).split('\n').filter(l => l.startsWith(`${ctx.id}:`)).map(l => l.replace(ctx.id, 'ID')).join('\r\n'), settle: 0 },
  { name: 'admin /listeners: JSON', client: async ctx => (await config(ctx, '/listeners?format=json')).listener_statuses.find(l => l.name === ctx.id && (l.name = 'ID')), settle: 0 },
  { name: 'admin /clusters: text of one cluster', client: async ctx => (await ctx.admin('/clusters')).split('\n').filter(l => l.startsWith(`${ctx.id}_u::`)).map(l => l.replaceAll(ctx.id, 'ID')).join('\r\n'), settle: 0 },
  { name: 'admin /clusters: text after requests', client: async ctx => { const c = await ctx.connect(); c.write(req('/')); await c.response(); return (await ctx.admin('/clusters')).split('\n').filter(l => l.startsWith(`${ctx.id}_u::127`)).map(l => l.replaceAll(ctx.id, 'ID')).join('\r\n'); }, settle: 0 },
  { name: 'admin /clusters: JSON', client: async ctx => { const c = (await config(ctx, '/clusters?format=json')).cluster_statuses.find(x => x.name === `${ctx.id}_u`); return JSON.parse(JSON.stringify(c).replaceAll(ctx.id, 'ID').replace(/"port_value":\d+/, '"port_value":0')); }, settle: 0 },
  { name: 'admin /clusters: POST', ...post('/clusters', head) },
  { name: 'admin /listeners: POST', ...post('/listeners', head) },
  { name: 'admin /server_info: POST', ...post('/server_info', t => head(t).replace(/content-length: \d+/, 'content-length: <n>')) },
  { name: 'admin /stats/prometheus: POST', ...post('/stats/prometheus', t => head(t).replace(/content-length: \d+/, 'content-length: <n>')) },
  { name: 'admin /clusters: locality and canary', clusters: { u: { load_assignment: { cluster_name: '$u', endpoints: [{ locality: { region: 'r', zone: 'z', sub_zone: 's' }, lb_endpoints: [{ endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: '${port:u}' } } }, metadata: { filter_metadata: { 'envoy.lb': { canary: true } } } }] }] } } }, client: async ctx => { const c = await ctx.connect(); c.write(req('/')); await c.response(); return { text: (await ctx.admin('/clusters')).split('\n').filter(l => l.startsWith(`${ctx.id}_u::127`) && /region|zone|canary/.test(l)).map(l => l.replaceAll(ctx.id, 'ID').replace(/127.0.0.1:\d+/, 'host')), json: (await config(ctx, '/clusters?format=json')).cluster_statuses.find(x => x.name === `${ctx.id}_u`).host_statuses[0].locality }; }, stats: [/ID_u\.canary\.upstream_rq_(2|completed)/], settle: 0 },
  { name: 'admin /server_info: shape', ...get('/server_info', t => { const o = JSON.parse(bodyOf(t)); return `${head(t).replace(/content-length: \d+/, 'content-length: <n>')}\r\n${Object.keys(o).sort().join(' ')}\r\nstate ${o.state}\r\n${Object.keys(o.command_line_options).sort().join(' ')}`; }),
    differs: { id: 'admin-options', envoy: t => t.includes('enable_core_dump') && t.includes('skip_hot_restart_parent_stats') && t.includes('hot_restart_version node state uptime_all_epochs'),
      plenipo: t => t.includes('command_line_options hot_restart_initializing hot_restart_version node state uptime_all_epochs uptime_current_epoch version') && t.includes('state LIVE') && OPTIONS.every(o => t.includes(` ${o} `)) } },
  { name: 'admin /server_info: options as given', client: async ctx => { const o = (await config(ctx, '/server_info')).command_line_options; return { concurrency: o.concurrency, mode: o.mode, log_level: o.log_level, drain_time: o.drain_time, parent_shutdown_time: o.parent_shutdown_time, drain_strategy: o.drain_strategy, file_flush_interval: o.file_flush_interval }; }, settle: 0 },
  { name: 'admin /server_info: state LIVE', client: async ctx => { const o = await config(ctx, '/server_info'); return { state: o.state, uptime: typeof o.uptime_current_epoch, node: Object.keys(o.node).sort() }; }, settle: 0 },
  { name: 'admin /config_dump: the sections', client: async ctx => (await config(ctx, '/config_dump')).configs.map(c => ({ type: c['@type'], keys: Object.keys(c).sort() })), settle: 0 },
  { name: 'admin /config_dump: one static cluster', client: async ctx => { const d = (await config(ctx, '/config_dump')).configs.find(c => c['@type'].endsWith('ClustersConfigDump')); return JSON.parse(JSON.stringify(d.static_clusters.find(c => c.cluster.name === `${ctx.id}_u`)).replaceAll(ctx.id, 'ID').replace(/"port_value":\d+/, '"port_value":0')); }, settle: 0 },
  { name: 'admin /config_dump: one static listener', client: async ctx => { const d = (await config(ctx, '/config_dump')).configs.find(c => c['@type'].endsWith('ListenersConfigDump')); return JSON.parse(JSON.stringify(d.static_listeners.find(c => c.listener.name === ctx.id)).replaceAll(ctx.id, 'ID').replace(/"port_value":\d+/, '"port_value":0')); }, settle: 0 },
  { name: 'admin /config_dump: routes', client: async ctx => { const d = (await config(ctx, '/config_dump')).configs.find(c => c['@type'].endsWith('RoutesConfigDump')); return Object.keys(d ?? {}).sort(); }, settle: 0 },
  { name: 'admin /config_dump: resource and mask', client: async ctx => (await config(ctx, '/config_dump?resource=static_clusters&mask=cluster.name')).configs.map(c => Object.keys(c).sort().join(' '))[0], settle: 0 },
  { name: 'admin /config_dump: bad resource', ...get('/config_dump?resource=nonsense', t => lower(t).replace('x-content-type-options: nosniff\r\n', '')),
    differs: { id: 'admin-http', envoy: t => t.split('nosniff').length === 2 && t.includes('nonsense not found in config dump'), plenipo: t => t.startsWith('client 1 (open):\n  HTTP/1.1 404 Not Found') && t.includes('nonsense not found in config dump') } },
  { name: 'admin /config_dump: name_regex', client: async ctx => (await config(ctx, `/config_dump?name_regex=${ctx.id}_u`)).configs.map(c => c['@type']), settle: 0 },
  { name: 'admin /config_dump: no private key shown', chains: f => [{ filters: [f], transport_socket: { name: 'envoy.transport_sockets.tls', typed_config: { '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext', common_tls_context: { tls_certificates: [{ certificate_chain: { filename: '${certs}/server.crt' }, private_key: { inline_string: KEY() } }] } } } }], client: async ctx => { const d = await ctx.admin('/config_dump'); return { key: d.includes('PRIVATE KEY') || d.includes(Buffer.from(KEY()).toString('base64').slice(0, 60)), redacted: d.includes('[redacted]') || d.includes(Buffer.from('[redacted]').toString('base64')) }; }, settle: 0 },
  { name: 'admin /stats: format of a line', ...get('/stats?filter=^server.live$', t => bodyOf(t)) },
  { name: 'admin /stats: usedonly', ...get('/stats?usedonly&filter=^server.live$', t => bodyOf(t)) },
  { name: 'admin /stats: headers', ...get('/stats?filter=^server.live$', lower) },
  { name: 'admin /stats: JSON', ...get('/stats?format=json&filter=^server.live$', t => bodyOf(t)) },
  { name: 'admin /stats: bad filter', ...get('/stats?filter=[', t => `${head(t)}\r\n${bodyOf(t).split(':')[0]}`) },
  { name: 'admin /stats: bad format', ...get('/stats?format=blah', t => head(t).replace(/content-length: \d+/, 'content-length: <n>')) },
  { name: 'admin /stats: server names but the watchdog\'s', ...get('/stats?filter=^server\\.', t => bodyOf(t).split('\n').filter(l => !l.includes('watchdog')).map(l => l.split(':')[0]).join('\r\n')) },
  { name: 'admin /stats: no watchdog', ...get('/stats?filter=watchdog', t => bodyOf(t).split('\n').map(l => l.split(':')[0]).join('\r\n')),
    differs: { id: 'no-watchdog', envoy: t => t.includes('server.main_thread.watchdog_miss') && t.includes('server.worker_0.watchdog_mega_miss'), plenipo: t => t.startsWith('client 1 (open):\n  (nothing)') } },
  { name: 'admin /stats: listener names', client: async ctx => { const c = await ctx.connect(); c.write(req('/')); await c.response(); return (await ctx.admin('/stats')).split('\n').filter(l => l.startsWith(`listener.127.0.0.1_${ctx.port('main')}.`)).map(l => l.replace(/_\d+\./, '_PORT.').replaceAll(ctx.id, 'ID').replace(/(: No recorded.*|: P0.*)/, '')).join('\r\n'); }, settle: 0 },
  { name: 'admin /stats: listener_manager and cluster_manager names', client: async ctx => (await ctx.admin('/stats')).split('\n').filter(l => /^(listener_manager|cluster_manager)\./.test(l)).map(l => l.split(':')[0]).join('\r\n'), settle: 0 },
  { name: 'admin /stats/prometheus: headers', ...get('/stats/prometheus?filter=^server.live$') },
  { name: 'admin /stats/prometheus: server lines', ...get('/stats/prometheus?filter=^server\\.', t => bodyOf(t).split('\n').filter(l => !/_ms|watchdog/.test(l)).map(l => l.replace(/ \d+$/, '')).join('\r\n')) },
  { name: 'admin /stats/prometheus: usedonly', ...get('/stats/prometheus?usedonly&filter=^server.live$', t => bodyOf(t).replace(/\n/g, '\r\n')) },
  { name: 'admin /logging: POST without parameters', ...post('/logging', head) },
  { name: 'admin /logging: unknown level', ...post('/logging?level=blah', t => t.split('\n')[0]) },
  { name: 'admin /logging: set one level', ...post('/logging?level=warning', head) },
  { name: 'admin keep-alive: two requests on one connection', client: async ctx => { const c = await ctx.connect('admin'); for (let i = 0; i < 2; i++) { c.write('GET /ready HTTP/1.1\r\nHost: admin\r\n\r\n'); await c.response(); } }, settle: 300 },
  { name: 'admin keep-alive: HTTP/1.0', ...adm('GET /ready HTTP/1.0\r\n\r\n'), differs: { id: 'admin-http', envoy: t => t.includes('426 Upgrade Required'), plenipo: t => t.startsWith('client 1 (closed):\n  HTTP/1.0 200 OK') && t.includes('LIVE') } },
]), suite('drain', [
  changes('drain_listeners: new connections are refused, open ones go on', async ctx => {
    const c = await ctx.connect(); c.write(req('/1')); await c.response();
    const said = await ctx.admin('/drain_listeners', 'POST');
    await ctx.sleep(300);
    c.write(req('/2')); await c.response();
    const late = await ctx.connect().then(async l => { l.write(req('/late')); return (await l.response({ ms: 1000 })).slice(0, 15) || l.state; }, e => e.code);
    return { said, late, ready: (await ctx.admin('/ready')).trim() };
  }),
  changes('drain_listeners: graceful keeps accepting and says close', async ctx => {
    const said = await ctx.admin('/drain_listeners?graceful', 'POST');
    await ctx.sleep(200);
    const c = await ctx.connect('main', { hidden: true }); c.write(req('/1')); const r = await c.response();
    return { said, status: r.slice(0, 15) };
  }),
  changes('drain_listeners: inboundonly', async ctx => ({ said: await ctx.admin('/drain_listeners?inboundonly', 'POST'), late: await ctx.connect('main', { hidden: true }).then(() => 'accepted', e => e.code) })),
  { ...changes('quitquitquit: the process ends with 0', async ctx => { const said = await ctx.admin('/quitquitquit', 'POST'); await Promise.race([ctx.proxy.exited, ctx.sleep(5000)]); return { said, exit: ctx.proxy.exit }; }) },
  { ...changes('healthcheck/fail: ready says so and answers say close', async ctx => { const said = await ctx.admin('/healthcheck/fail', 'POST'); const c = await ctx.connect(); c.write(req('/')); await c.response(); return { said, ready: (await ctx.admin('/ready')).trim(), ok: await ctx.admin('/healthcheck/ok', 'POST'), again: (await ctx.admin('/ready')).trim() }; }), settle: 2000 },
  { ...changes('SIGTERM: idle', async ctx => { process.kill(ctx.proxy.pid, 'SIGTERM'); await Promise.race([ctx.proxy.exited, ctx.sleep(8000)]); return { exit: ctx.proxy.exit?.code ?? ctx.proxy.exit }; }) },
  { ...changes('SIGTERM: a running request', async ctx => { const c = await ctx.connect(); c.write(req('/')); await ctx.sleep(200); process.kill(ctx.proxy.pid, 'SIGTERM'); const t = await c.response({ ms: 4000 }); await Promise.race([ctx.proxy.exited, ctx.sleep(6000)]); return { answered: t.slice(0, 15), exit: ctx.proxy.exit?.code ?? ctx.proxy.exit }; }), upstreams: { u: replies([800, ok('done')]) },
    differs: { id: 'sigterm-drains', envoy: t => t.includes('"answered": ""'), plenipo: t => t.includes('"answered": "HTTP/1.1 200 OK"') && t.includes('"exit": 0') } },
  { ...changes('SIGTERM: a second one exits at once', async ctx => { const c = await ctx.connect('main', { hidden: true }); c.write(req('/')); await ctx.sleep(200); process.kill(ctx.proxy.pid, 'SIGTERM'); await ctx.sleep(100); if (!ctx.proxy.exit) process.kill(ctx.proxy.pid, 'SIGTERM'); const from = Date.now(); await Promise.race([ctx.proxy.exited, ctx.sleep(8000)]); return { quick: Date.now() - from < 2000, ended: ctx.proxy.exit !== null }; }), upstreams: { u: replies([5000, ok('late')]) } },
], { alone: true, mayExit: true })];

/** The server's key as text, to see that it is not shown. */
function KEY() { return fs.readFileSync(new URL('../certs/server.key', import.meta.url), 'utf8'); }
