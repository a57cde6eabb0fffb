// Http2ProtocolOptions.custom_settings_parameters, METADATA, and what of the options is refused.
import { suite, req, h2upstream } from '../lib/suite.mjs';
import { replies, ok, sleep, RawUpstream } from '../lib/raw.mjs';
import * as F from '../lib/h2frames.mjs';

const hello = Buffer.concat([Buffer.from(F.PREFACE), F.settings()]);
const hcm = o => ({ hcm: { http2_protocol_options: o } });
/** What the first SETTINGS say of settings that both know: 6 is one that plenipo always sends. */
const told = text => {
  const b = Buffer.from(text.startsWith(F.PREFACE) ? text.slice(F.PREFACE.length) : text, 'latin1');
  const settings = {};
  for (let at = 9; b[3] === 4 && at < 9 + b.readUIntBE(0, 3); at += 6) settings[b.readUInt16BE(at)] = b.readUInt32BE(at + 2);
  for (const id of [1, 2, 6, 8]) delete settings[id];
  return settings;
};
const client = async ctx => {
  const c = await ctx.connect('main', { hidden: true });
  c.write(hello);
  await sleep(200);
  const settings = told(c.text);
  c.write(Buffer.concat([F.frame(4, 1, 0), F.headers(1, F.get())]));
  await c.until(() => F.describe(c.text).some(l => l.includes('END_STREAM')), 2000);
  return { settings, answer: F.describe(c.text) };
};
const some = [{ identifier: 99, value: 3 }, { identifier: 0x1234, value: 0xffffffff }];
const direct = { upstreams: {}, routes: [{ match: { prefix: '/' }, direct_response: { status: 200 } }] };
const metadata = (stream, end = 4) => F.frame(0x4d, end, stream, F.encode([['k', 'v']]));
const frames = (...list) => ({ view: t => F.describe(t).join('\r\n'), client: async ctx => { const c = await ctx.connect(); c.write(hello); for (const x of list) { if (typeof x === 'number') await sleep(x); else c.write(x); } } });

/** An upstream that answers once it has a request, and what SETTINGS it saw. */
const seen = o => ({ clusters: { u: h2upstream(o) }, send: req(), viewUpstream: saw => saw.map(w => ({ ...w, bytes: JSON.stringify(told(w.bytes)) })), upstreams: { u: { make: () => new RawUpstream(async wire => {
  wire.write(F.settings([]));
  await wire.until(() => wire.text.length > 24 && F.describe(wire.text).some(l => l.startsWith('HEADERS')));
  wire.write(Buffer.concat([F.frame(4, 1, 0), F.headers(1, [[':status', '204']])]));
}) } } });

export default suite('h2-settings', [
  { name: 'custom_settings_parameters: two that nobody knows', ...hcm({ custom_settings_parameters: some }), ...direct, client },
  { name: 'custom_settings_parameters: one that the named fields have as well', ...hcm({ custom_settings_parameters: [{ identifier: 3, value: 7 }, { identifier: 4, value: 70000 }] }), ...direct, client },
  { name: 'custom_settings_parameters: larger frames', ...hcm({ custom_settings_parameters: [{ identifier: 5, value: 20000 }] }), client: async ctx => {
    const c = await ctx.connect('main', { hidden: true });
    c.write(hello);
    await sleep(200);
    c.write(Buffer.concat([F.frame(4, 1, 0), F.headers(1, F.get('/', [], 'POST'), { end: false }), F.data(1, 'z'.repeat(20000))]));
    await c.until(() => F.describe(c.text).some(l => l.includes('END_STREAM')), 2000);
    return { settings: told(c.text), answer: F.describe(c.text).map(l => l.split('\n')[0]) };
  }, viewUpstream: () => [] },
  { name: 'custom_settings_parameters: the same twice', ...hcm({ custom_settings_parameters: [some[0], some[0]] }), ...direct, client },
  { name: 'custom_settings_parameters: to an upstream', ...seen({ custom_settings_parameters: some }) },
  { name: 'custom_settings_parameters: none to an upstream', ...seen({}) },
  { name: 'METADATA: is not read', ...frames(F.headers(1, F.get('/', [], 'POST'), { end: false }), metadata(1), metadata(0), F.data(1, 'x')) },
  { name: 'METADATA: of a stream that is not there', ...frames(metadata(1), metadata(7, 0), F.headers(9, F.get())) },
  { name: 'METADATA: a thousand', ...frames(F.headers(1, F.get('/', [], 'POST'), { end: false }), Buffer.concat(Array.from({ length: 1000 }, () => metadata(1))), F.data(1, 'x')) },
  ...[
    ['a named field and a custom one', 'max_concurrent_streams', { max_concurrent_streams: 5, custom_settings_parameters: [{ identifier: 3, value: 3 }] }],
    ['two values', 'inconsistent HTTP/2 custom SETTINGS', { custom_settings_parameters: [{ identifier: 99, value: 3 }, { identifier: 99, value: 4 }] }],
    ['server push', 'server push', { custom_settings_parameters: [{ identifier: 2, value: 1 }] }],
    ['extended CONNECT', 'allow_connect', { custom_settings_parameters: [{ identifier: 8, value: 1 }] }],
    ['an identifier that is too large', 'dentifier', { custom_settings_parameters: [{ identifier: 70000, value: 1 }] }],
  ].map(([name, mention, options]) => ({ name: `custom_settings_parameters refused: ${name}`, refused: mention, ...hcm(options), ...direct, send: [] })),
  ...[['allow_metadata', { allow_metadata: true }], ['max_metadata_size', { max_metadata_size: 1000 }], ['enable_huffman_encoding', { enable_huffman_encoding: false }], ['use_oghttp2_codec', { use_oghttp2_codec: true }],
    ['disallow_obs_text', { disallow_obs_text: true }]].map(([field, options]) => ({ name: `${field}: refused by name`, unsupported: field, ...hcm(options), ...direct, send: [] })),
]);
