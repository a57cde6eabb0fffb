// Routes that are discovered in a file (rds with path_config_source): updates, what is refused, watched directories, unknown fields.
import fs from 'node:fs';
import { suite, req, TYPE } from '../lib/suite.mjs';
import { replies, ok } from '../lib/raw.mjs';

/** A DiscoveryResponse; JSON is YAML too. */
const response = (version, ...resources) => JSON.stringify({ version_info: version, resources });
const table = (routes, more = {}) => ({ '@type': `${TYPE}.config.route.v3.RouteConfiguration`, name: 'local', virtual_hosts: [{ name: 'v', domains: ['*'], routes }], ...more });
const says = text => ({ name: `route-${text}`, match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: text } } });
const one = response('v1', table([says('one')]));
const two = response('v2', table([says('two')]));
const hcm = source => ({ route_config: undefined, rds: { route_config_name: 'local', config_source: { initial_fetch_timeout: '2s', ...source } } });
const inFile = (name = 'rds.yaml') => hcm({ path_config_source: { path: `\${file:${name}}` } });
/** All but times. */
const stats = [/rds\.local\.(?!update_time|config_reload_time)/];

/** Waits until the proxy has read so many files and its workers know. */
const read = async (ctx, n, prefix = 'http.ID') => { await ctx.stat(`${prefix}.rds.local.update_attempt`, v => v >= n); await ctx.sleep(300); };
/** A connection that sends a request after each step; each step moves a text into place. */
const steps = (...texts) => ({ stats, settle: 300, client: async ctx => {
  const c = await ctx.connect();
  const ask = async () => { c.write(req('/x')); await c.response(); };
  await ask();
  for (const [i, text] of texts.entries()) {
    ctx.move('rds.yaml', text);
    await read(ctx, i + 2);
    await ask();
  }
} });
const updates = (name, ...texts) => ({ name, hcm: inFile(), files: { 'rds.yaml': one }, ...steps(...texts) });
const dump = async ctx => (JSON.parse(await ctx.admin('/config_dump')).configs.find(c => c['@type'].endsWith('RoutesConfigDump')).dynamic_route_configs ?? [])
  .filter(r => JSON.stringify(r).includes(ctx.id)).map(r => JSON.parse(JSON.stringify(r).replaceAll(ctx.id, 'ID').replace(/"last_updated":"[^"]*"/, '"last_updated":"<time>"')));
const named = text => table([{ match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: `${text} of $id` } } }]);
const unknown = more => response('v2', { ...table([says('two')]), ...more });
const unknownSteps = { name: 'unknown fields', hcm: inFile(), files: { 'rds.yaml': one }, ...steps(unknown({ nonsense: 1 }), response('v3', table([{ ...says('three'), nonsense: { a: [1] } }])), JSON.stringify({ ...JSON.parse(two), nonsense: 1 })),
  stats: [...stats, /^server\.dynamic_unknown_fields/], statsText: async ctx => (await ctx.admin('/stats')).replace(/^(server\.dynamic_unknown_fields.*)$/m, `$1 ${ctx.id}`) };

const bootstrap = { node: { id: 'node', cluster: 'edge' } };

export default [suite('rds', [
  updates('rds: routes of the first file'),
  updates('rds: an update takes the place of what was', two),
  updates('rds: back and forth', two, one, two),
  updates('rds: the same routes under another version are no reload', response('v2', table([says('one')]))),
  updates('rds: without a version', response(undefined, table([says('two')]))),
  updates('rds: no resource leaves what was', response('v2')),
  updates('rds: another name is refused', response('v2', { ...table([says('two')]), name: 'other' }), two),
  updates('rds: two resources are refused', response('v2', table([says('two')]), table([says('two')])), two),
  updates('rds: another type is refused', response('v2', { '@type': `${TYPE}.config.cluster.v3.Cluster`, name: 'local' }), two),
  updates('rds: a broken rule is refused', response('v2', table([says('two')], { virtual_hosts: [{ name: 'v' }] })), two),
  updates('rds: a broken expression is refused', response('v2', table([{ ...says('two'), match: { safe_regex: { regex: '((' } } }])), two),
  updates('rds: two hosts of one domain are refused', response('v2', table([], { virtual_hosts: ['a', 'b'].map(name => ({ name, domains: ['x'] })) })), two),
  updates('rds: hostile: no YAML at all', '{{{', '\0\xff', '', two),
  updates('rds: hostile: values of wrong types', response('v2', table([], { virtual_hosts: 7 })), '[1, 2]', '7', two),
  updates('rds: a cluster that is not there', response('v2', table([{ match: { prefix: '/' }, route: { cluster: 'nowhere' } }]))),
  updates('rds: validate_clusters refuses a cluster that is not there', response('v2', table([{ match: { prefix: '/' }, route: { cluster: 'nowhere' } }], { validate_clusters: true }))),
  { ...updates('rds: validate_clusters takes one that is there', response('v2', table([{ match: { prefix: '/' }, route: { cluster: '$u' } }], { validate_clusters: true }))) },
  { name: 'rds: nothing readable at the start is 404', hcm: inFile(), files: { 'rds.yaml': '{' }, ...steps(two), log: { log_format: { text_format_source: { inline_string: '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %ROUTE_NAME%\n' } } }, logLines: 2 },
  { name: 'rds: refused at the start is 404', hcm: inFile(), files: { 'rds.yaml': response('v1', { ...table([]), name: 'other' }) }, ...steps(two) },
  { name: 'rds: empty at the start is 404', hcm: inFile(), files: { 'rds.yaml': response('v1') }, ...steps(two) },
  { name: 'rds: JSON by its name and by no name', hcm: inFile('routes.json'), files: { 'routes.json': one, routes: two }, listeners: { bare: { hcm: inFile('routes') } }, settle: 300,
    client: async ctx => { for (const name of ['main', 'bare']) { const c = await ctx.connect(name); c.write(req('/x')); await c.response(); } } },
  { name: 'rds: path, as of old', hcm: hcm({ path: '${file:rds.yaml}' }), files: { 'rds.yaml': one }, ...steps(two) },
  { name: 'rds: written where it stands is not read', hcm: inFile(), files: { 'rds.yaml': one }, stats, settle: 300, client: async ctx => { fs.writeFileSync(ctx.file('rds.yaml'), two); await ctx.sleep(600); const c = await ctx.connect(); c.write(req('/x')); await c.response(); } },
  { name: 'rds: a file that goes leaves its routes', hcm: inFile(), files: { 'rds.yaml': one }, stats, settle: 300, client: async ctx => { fs.rmSync(ctx.file('rds.yaml')); await ctx.sleep(300); const c = await ctx.connect(); c.write(req('/x')); await c.response(); ctx.move('rds.yaml', two); await read(ctx, 2); c.write(req('/x')); await c.response(); } },
  { name: 'rds: watched_directory, swapped as Kubernetes does', hcm: hcm({ path_config_source: { path: '${file:map/rds.yaml}', watched_directory: { path: '${file:map}' } } }), files: { 'map/.keep': '', 'map/..1/rds.yaml': one, 'map/rds.yaml': one }, stats, settle: 300,
    client: async ctx => {
      // What the proxy read first is a file; from here on it is a link through ..data, which is moved into place.
      ctx.move('map/..2/rds.yaml', two);
      fs.symlinkSync('..2', ctx.file('map/..data_tmp')); fs.rmSync(ctx.file('map/rds.yaml')); fs.symlinkSync('..data/rds.yaml', ctx.file('map/rds.yaml'));
      fs.renameSync(ctx.file('map/..data_tmp'), ctx.file('map/..data'));
      await read(ctx, 2);
      const c = await ctx.connect(); c.write(req('/x')); await c.response();
      fs.symlinkSync('..1', ctx.file('map/..data_tmp')); fs.renameSync(ctx.file('map/..data_tmp'), ctx.file('map/..data'));
      await read(ctx, 3);
      c.write(req('/x')); await c.response();
    } },
  { name: 'rds: a request under way keeps its route', hcm: inFile(), upstreams: { u: replies([1500, ok('slow')]) }, files: { 'rds.yaml': response('v1', table([{ match: { prefix: '/' }, route: { cluster: '$u' }, response_headers_to_add: [{ header: { key: 'x-of', value: 'old' } }] }])) }, settle: 300,
    client: async ctx => { const c = await ctx.connect(); c.write(req('/x')); await ctx.sleep(300); ctx.move('rds.yaml', two); await read(ctx, 2); const d = await ctx.connect(); d.write(req('/x')); await d.response(); await c.response(); c.write(req('/x')); await c.response(); } },
  { name: 'rds: two connection managers share what they discover', hcm: inFile(), listeners: { second: { hcm: inFile() } }, files: { 'rds.yaml': one }, stats, settle: 300,
    client: async ctx => { ctx.move('rds.yaml', two); await read(ctx, 2); for (const name of ['main', 'second']) { const c = await ctx.connect(name); c.write(req('/x')); await c.response(); } } },
  { name: 'rds: the same name from another file is another table', hcm: inFile(), listeners: { second: { hcm: inFile('other.yaml') } }, files: { 'rds.yaml': one, 'other.yaml': two }, stats, settle: 300,
    client: async ctx => { for (const name of ['main', 'second']) { const c = await ctx.connect(name); c.write(req('/x')); await c.response(); } } },
  { name: 'rds: /config_dump shows what is used', hcm: inFile(), files: { 'rds.yaml': response('v1', named('one')) }, settle: 0,
    client: async ctx => { const first = await dump(ctx); ctx.move('rds.yaml', response('v2', named('two'))); await read(ctx, 2); const second = await dump(ctx); ctx.move('rds.yaml', response('v3', named('two'))); await read(ctx, 3); const same = await dump(ctx); ctx.move('rds.yaml', response('v4')); await read(ctx, 4); return [first, second, same, await dump(ctx)]; } },
  { name: 'rds: text readouts', hcm: inFile(), files: { 'rds.yaml': one }, settle: 0, client: async ctx => { const of = async url => (await ctx.admin(url)).replaceAll(ctx.id, 'ID'); return { texts: (await of(`/stats?type=TextReadouts&filter=${ctx.id}`)).split('\n'), json: await of(`/stats?format=json&type=TextReadouts&filter=${ctx.id}`), used: (await of(`/stats?usedonly&filter=${ctx.id}.rds`)).split('\n').map(l => l.replace(/_(time|time_ms): \d+/, '_$1: <n>')) }; } },
  { name: 'rds: internal_only_headers of discovered routes', hcm: { ...inFile(), use_remote_address: true, xff_num_trusted_hops: 1 }, files: { 'rds.yaml': response('v1', table([{ match: { prefix: '/' }, route: { cluster: '$u' } }], { internal_only_headers: ['x-inner'] })) }, send: [req('/x', 'X-Inner: 1\r\nX-Forwarded-For: 8.8.8.8\r\n'), { res: 1 }] },
  { ...unknownSteps, name: 'rds: unknown fields are used, told and counted' },
], { bootstrap }), suite('rds-reject', [{ ...unknownSteps, name: 'rds: --reject-unknown-dynamic-fields' }], { bootstrap, flags: ['--reject-unknown-dynamic-fields'] }),
suite('rds-ignore', [{ ...unknownSteps, name: 'rds: --ignore-unknown-dynamic-fields' }], { bootstrap, flags: ['--ignore-unknown-dynamic-fields'] }),
suite('rds-both', [{ ...unknownSteps, name: 'rds: both flags' }], { bootstrap, flags: ['--ignore-unknown-dynamic-fields', '--reject-unknown-dynamic-fields'] }),
suite('rds-refused', [
  { name: 'refused: a file that is not there', hcm: inFile('nowhere.yaml'), refused: 'path_config_source.path: ', send: [] },
  { name: 'refused: a watched directory that is not there', hcm: hcm({ path_config_source: { path: '${file:rds.yaml}', watched_directory: { path: '${file:nowhere/deep}' } } }), files: { 'rds.yaml': one }, refused: 'watched_directory.path: ', send: [] },
  { name: 'refused: no source', hcm: { route_config: undefined, rds: { route_config_name: 'local' } }, refused: 'rds.config_source: ', send: [] },
  { name: 'refused: a source of nothing', hcm: hcm({}), refused: 'rds.config_source: ', send: [] },
], { bootstrap }), suite('rds-unsupported', [
  { name: 'rds over gRPC', hcm: hcm({ api_config_source: { api_type: 'GRPC', transport_api_version: 'V3', grpc_services: [{ envoy_grpc: { cluster_name: '$u' } }] }, initial_fetch_timeout: '0.1s' }), unsupported: 'rds.config_source.api_config_source: ', send: [] },
  { name: 'scoped routes', hcm: { route_config: undefined, scoped_routes: { name: 's', scope_key_builder: { fragments: [{ header_value_extractor: { name: 'x', index: 0 } }] }, scoped_route_configurations_list: { scoped_route_configurations: [{ name: 'a', key: { fragments: [{ string_key: 'k' }] }, route_configuration: { name: 'r', virtual_hosts: [{ name: 'v', domains: ['*'], routes: [says('one')] }] } }] } } }, unsupported: 'scoped_routes: ', send: [] },
], { bootstrap }), suite('rds-no-node', [{ name: 'refused: a node without a name', hcm: inFile(), files: { 'rds.yaml': one }, refused: "node 'id' and 'cluster' are required", send: [] }], { bootstrap: { node: { cluster: 'edge' } } })];
