// What a case is, and how the cases of a suite become one Envoy configuration and a set of upstreams.
import fs from 'node:fs';
import path from 'node:path';
import { RawUpstream, replies, ok } from './raw.mjs';
import { H2Upstream } from './h2.mjs';
import { toYaml } from './yaml.mjs';
import { freePort } from './ports.mjs';

/**
 * A suite is one configuration that one Envoy and one plenipo serve. `cases`: [{
 *   name       'clause: what', the clause being one of the design's; the name is unique
 *   send       raw bytes, or a list of steps: string (write), number (sleep ms), 'response'-like objects (see run.mjs), for one connection
 *   client     async (ctx) => extra, for anything else
 *   hcm        fields over the default HttpConnectionManager; `routes` or `vhosts` or `routeConfig` its routes
 *   listener   fields over the default Listener; `chains` (hcm filter) => filter_chains
 *   datagrams  fields of a listener of datagrams (QUIC), see quicListener in h3.mjs
 *   listeners  more listeners by name: { hcm, routes, vhosts, listener, chains }
 *   upstreams  { name: script | H2Upstream factory | 'refuse' }, default { u: replies(ok()) }
 *   clusters   fields over the default cluster of the upstream of the same name; `endpoints` names the upstreams
 *   files      { name: text } files that are there from the start; ${file:name} is the path of one
 *   log        access-log config without the path ({} for the default format)
 *   stats      list of RegExp: stats of this case to compare (names have the case's id replaced by ID)
 *   unsupported  text that plenipo's refusal of this configuration must contain, while it does not implement a field yet
 *   differs    { id, why, envoy(outcome), plenipo(outcome) } a difference on purpose, listed in docs/differences.md under id
 * }]. In every string of the configuration $name becomes <id>_name and ${port:name}, ${log}, ${dir}, ${certs} are filled in.
 */
export function suite(name, cases, options = {}) {
  cases.forEach((c, i) => { c.suite = name; c.id = `${name.replace(/\W/g, '')}${String(i).padStart(3, '0')}`; });
  return { name, cases, ...options };
}

/** The routes that a case gets when it says nothing: everything to upstream u. */
export const toU = { match: { prefix: '/' }, route: { cluster: '$u' } };

export const TYPE = 'type.googleapis.com/envoy';
/** A request head: lines of `headers` after the host line. */
export const req = (path = '/', headers = '', body = '', method = body ? 'POST' : 'GET') =>
  `${method} ${path} HTTP/1.1\r\nHost: a.test\r\n${body ? `Content-Length: ${body.length}\r\n` : ''}${headers}\r\n${body}`;

export const router = { name: 'envoy.filters.http.router', typed_config: { '@type': `${TYPE}.extensions.filters.http.router.v3.Router` } };

/** typed_extension_protocol_options for an HTTP/2 upstream. */
export const h2upstream = (extra = {}) => ({ typed_extension_protocol_options: { 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
  '@type': `${TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions`, explicit_http_config: { http2_protocol_options: extra } } } });

function hcmFilter(c, part, id) {
  const { routes, vhosts, routeConfig } = part;
  const log = c.log && { access_log: [{ name: 'envoy.access_loggers.file', typed_config: { '@type': `${TYPE}.extensions.access_loggers.file.v3.FileAccessLog`, path: '${log}', ...c.log } }] };
  return { name: 'envoy.filters.network.http_connection_manager', typed_config: {
    '@type': `${TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: id, http_filters: [router],
    route_config: routeConfig ?? { name: 'local', virtual_hosts: vhosts ?? [{ name: 'all', domains: ['*'], routes: routes ?? [toU] }] },
    ...log, ...part.hcm } };
}

function listenerOf(c, name, part, id, port) {
  const filter = hcmFilter(c, part, name === 'main' ? id : `${id}_${name}`);
  return { name: name === 'main' ? id : `${id}_${name}`, address: { socket_address: { ...(part.datagrams && { protocol: 'UDP' }), address: '127.0.0.1', port_value: port } }, ...part.datagrams,
    filter_chains: part.chains ? part.chains(filter) : [{ filters: [filter] }], ...part.listener };
}

/** Starts the upstreams of one case for one target; returns what the case needs to run. */
export async function prepare(c, dir, certs) {
  const upstreams = {};
  const ports = {};
  for (const [name, script] of Object.entries(c.upstreams ?? { u: replies(ok()) })) {
    if (script === 'refuse') { ports[name] = await freePort(); continue; }
    const made = script.make ? script.make(certs) : new RawUpstream(script);
    await made.listen();
    upstreams[name] = made;
    ports[name] = made.port;
  }
  const parts = { ...(c.bare ? {} : { main: c }), ...c.listeners };
  const listenerPorts = {};
  for (const name of Object.keys(parts)) listenerPorts[name] = await freePort();
  const log = path.join(dir, `${c.id}.log`);
  const listeners = Object.entries(parts).map(([name, part]) => listenerOf(c, name, part, c.id, listenerPorts[name]));
  const clusters = Object.entries({ ...Object.fromEntries(Object.keys(ports).map(n => [n, {}])), ...c.clusters }).filter(([, o]) => o !== null).map(([name, o]) => {
    const { endpoints = [name], ...rest } = o;
    return { name: `$${name}`, type: 'STATIC', connect_timeout: '1s', load_assignment: { cluster_name: `$${name}`, endpoints: [{ lb_endpoints:
      endpoints.map(e => typeof e === 'string' ? { endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: ports[e] } } } } : e) }] }, ...rest };
  });
  const file = name => path.join(dir, `${c.id}_${name}`);
  const fill = s => s.replace(/\$\{file:([\w./-]+)\}/g, (_, n) => file(n)).replace(/\$\{port:(\w+)\}/g, (_, n) => ports[n] ?? listenerPorts[n]).replace(/\$\{log\}/g, log).replace(/\$\{dir\}/g, dir)
    .replace(/\$\{certs\}/g, certs.dir).replace(/\$\{id\}/g, c.id).replace(/\$([a-z]\w*)/g, (_, n) => `${c.id}_${n}`);
  const config = deepFill({ listeners, clusters }, fill);
  const move = (name, text) => moveInto(file(name), fill(text));
  for (const [name, text] of Object.entries(c.files ?? {})) move(name, text);
  return { upstreams, ports, listenerPorts, log, file, move, ...config };
}

/** Writes a file beside its place and moves it there, with the directories that it needs. */
function moveInto(file, text) {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(`${file}.new`, text);
  fs.renameSync(`${file}.new`, file);
}

function deepFill(v, fill) {
  if (typeof v === 'string') {
    const alone = /^\$\{port:\w+\}$/.test(v);
    const s = fill(v);
    return alone ? Number(s) : s;
  }
  if (Array.isArray(v)) return v.map(x => deepFill(x, fill));
  if (v && typeof v === 'object') return Object.fromEntries(Object.entries(v).filter(([, x]) => x !== undefined).map(([k, x]) => [fill(k), deepFill(x, fill)]));
  return v;
}

/** Writes the configuration of `prepared` cases and returns the file's path. */
export function writeConfig(dir, prepared, extra = {}) {
  const file = path.join(dir, 'envoy.yaml');
  const doc = { admin: { address: { socket_address: { address: '127.0.0.1', port_value: 0 } } },
    static_resources: { listeners: prepared.flatMap(p => p.listeners), clusters: prepared.flatMap(p => p.clusters) }, ...extra };
  fs.writeFileSync(file, toYaml(doc));
  return file;
}

/** An upstream that speaks HTTP/2; `options.tls` true for TLS. */
export const h2 = (handler, options = {}) => ({ make: certs => new H2Upstream(handler, { ...options, tls: options.tls && { ...certs.server, ...options.tls } }) });
/** A raw upstream behind TLS. */
export const tlsRaw = (script, options = {}) => ({ make: certs => new RawUpstream(script, { tls: { ...certs.server, ...options } }) });
