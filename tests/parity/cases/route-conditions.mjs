// Conditions of routes by kind: numbers in headers, gRPC, shares of requests, prefixes of whole segments, letter case.
import { suite, req } from '../lib/suite.mjs';
import { h2request } from '../lib/h2.mjs';

const all = { prefix: '/' };
const say = (match, body) => ({ match, direct_response: { status: 200, body: { inline_string: body } } });
const none = {};
/** One route with the condition, one without; each request is [path, headers] or a path. */
const choice = (match, ...list) => ({ routes: [say({ ...all, ...match }, 'hit'), say(all, 'none')], upstreams: none, send: list.flatMap(r => [typeof r === 'string' ? req(r) : req(...r), { res: 1 }]) });
const values = (matcher, ...list) => choice({ headers: [{ name: 'x-n', ...matcher }] }, ...list.map(v => ['/', v === null ? '' : `X-N: ${v}\r\n`]));
const NUMBERS = ['0', '1', '5', '9', '10', '-1', '+5', ' 5', '5 ', '05', '5.0', '5x', '', '0x5', '9223372036854775807', '9223372036854775808', null];
const kind = type => ['/s.S/M', `Content-Type: ${type}\r\n`, '', 'POST'];
const fraction = (numerator, denominator = 'HUNDRED') => ({ runtime_fraction: { default_value: { numerator, denominator } } });

export default suite('route-conditions', [
  { name: 'range_match: the end is not included', ...values({ range_match: { start: 1, end: 10 } }, ...NUMBERS) },
  { name: 'range_match: of negative numbers, inverted', ...values({ range_match: { start: -10, end: 0 }, invert_match: true }, ...NUMBERS) },
  { name: 'range_match: as large as numbers are', ...values({ range_match: { start: '-9223372036854775808', end: '9223372036854775807' } }, ...NUMBERS, '-9223372036854775808', '-9223372036854775809') },
  { name: 'range_match: a range of nothing, and one that is backwards', routes: [say({ ...all, headers: [{ name: 'x-n', range_match: { start: 5, end: 5 } }] }, 'nothing'), say({ ...all, headers: [{ name: 'x-n', range_match: { start: 6, end: 5 } }] }, 'backwards'), say(all, 'none')], upstreams: none, send: ['4', '5', '6'].flatMap(v => [req('/', `X-N: ${v}\r\n`), { res: 1 }]) },
  { name: 'range_match: hostile, several values and a missing one taken as empty', routes: [say({ ...all, headers: [{ name: 'x-n', range_match: { start: 1, end: 10 }, treat_missing_header_as_empty: true }] }, 'hit'), say(all, 'none')], upstreams: none, send: ['X-N: 5\r\nX-N: 50\r\n', 'X-N: 50\r\nX-N: 5\r\n', 'X-N: 5,6\r\n', '', `X-N: ${'9'.repeat(5000)}\r\n`].flatMap(h => [req('/', h), { res: 1 }]) },
  { name: 'contains_match: once, twice, never, inverted', ...values({ contains_match: 'bc' }, 'abcd', 'bc', 'b c', 'BC', 'bcbc', '', null) },
  { name: 'contains: ignoring case', ...values({ string_match: { contains: 'bC', ignore_case: true } }, 'aBcd', 'bc', 'b c', '', null) },
  { name: 'contains: hostile, in bytes that are no text', ...values({ string_match: { contains: 'é' }, invert_match: true }, '\xc3\xa9', '\xe9', '\xc3\xc3\xa9', 'e', null) },

  ...[['\\w+', ['é', '\xe9', 'a_9']], ['\\d+', ['\u0661', '12']], ['é+', ['é', '\xc3\xa9\xa9', 'éé']], ['[é]', ['é', '\xc3', '\xa9']], ['[^a]', ['é', '\xe9', 'a', 'b']], ['..', ['é', '\xe9', 'ab']], ['a\\b.*', ['aé', 'ab', 'a b']], ['(?i)ké', ['KÉ', 'Ké', '\u212aé']], ['a\\sb', ['a b', 'a\tb', 'a\xc2\xa0b']]].map(([regex, list]) =>
    ({ name: `safe_regex: hostile bytes, ${regex}`, ...choice({ headers: [{ name: 'x-n', string_match: { safe_regex: { regex } } }] }, ...list.map(v => ['/', `X-N: ${/[^\x00-\xff]/.test(v) || /[éÉ]/.test(v) ? Buffer.from(v).toString('latin1') : v}\r\n`])) })),
  { name: 'safe_regex: hostile, characters beyond ASCII by number or class', ...choice({ headers: [{ name: 'x-n', string_match: { safe_regex: { regex: '\\pL' } } }] }, ['/', 'X-N: b\r\n'], ['/', 'X-N: \xe9\r\n'], ['/', 'X-N: \xc3\xa9\r\n']), differs: { id: 'regex-unicode', envoy: t => t.match(/\n  (hit|none)/g).join('') === '\n  hit\n  hit\n  none', plenipo: t => t.match(/\n  (hit|none)/g).join('') === '\n  hit\n  none\n  hit' } },

  { name: 'grpc: by content type over HTTP/1', ...choice({ grpc: {} }, ...['application/grpc', 'application/grpc+proto', 'application/grpc;x', 'application/grpc-web', 'APPLICATION/GRPC', 'application/grpcx', 'text/plain'].map(kind), '/s.S/M') },
  { name: 'grpc: over HTTP/2', routes: [say({ ...all, grpc: {} }, 'hit'), say(all, 'none')], upstreams: none, client: async ctx => { const s = await ctx.h2(); const out = []; for (const type of ['application/grpc', 'application/json']) out.push(await h2request(s, { ':method': 'POST', ':path': '/s.S/M', 'content-type': type, te: 'trailers' })); return out; } },
  { name: 'grpc: hostile, two content types', ...choice({ grpc: {} }, ['/s.S/M', 'Content-Type: text/plain\r\nContent-Type: application/grpc\r\n', '', 'POST'], ['/s.S/M', 'Content-Type: application/grpc\r\nContent-Type: text/plain\r\n', '', 'POST']) },

  { name: 'runtime_fraction: none, all, and more than all', routes: [say({ path: '/0', ...fraction(0) }, 'hit'), say({ path: '/100', ...fraction(100) }, 'hit'), say({ path: '/101', ...fraction(101) }, 'hit'), say({ path: '/ten', ...fraction(10000, 'TEN_THOUSAND') }, 'hit'), say({ path: '/million', ...fraction(1000000, 'MILLION') }, 'hit'), say(all, 'none')], upstreams: none, send: ['/0', '/100', '/101', '/ten', '/million'].flatMap(p => [req(p), { res: 1 }]) },
  { name: 'runtime_fraction: behind a path that does not match', routes: [say({ path: '/x', ...fraction(100) }, 'hit'), say({ prefix: '/x', ...fraction(0) }, 'never'), say(all, 'none')], upstreams: none, send: ['/x', '/xy', '/y'].flatMap(p => [req(p), { res: 1 }]) },
  { name: 'runtime_fraction: hostile, a client\'s request id does not choose', hcm: { preserve_external_request_id: true }, routes: [say({ ...all, ...fraction(0) }, 'hit'), say(all, 'none')], upstreams: none, send: ['00000000', 'ffffffff'].flatMap(id => [req('/', `X-Request-Id: ${id}-1111-4111-8111-111111111111\r\n`), { res: 1 }]) },

  { name: 'path_separated_prefix: whole segments', ...choice({ prefix: undefined, path_separated_prefix: '/a/b' }, '/a/b', '/a/b/', '/a/b/c', '/a/bc', '/a/b?c', '/a/b#c', '/a', '/A/B', '/a/b;x') },
  { name: 'path_separated_prefix: ignoring case', ...choice({ prefix: undefined, path_separated_prefix: '/a/b', case_sensitive: false }, '/A/b', '/a/B/C', '/A/BC') },
  { name: 'path_separated_prefix: hostile, encoded and doubled slashes', ...choice({ prefix: undefined, path_separated_prefix: '/a/b' }, '/a/b%2fc', '/a%2fb', '//a/b', '/a//b', '/a/b//', '/a/b/../../x', '/a/./b') },
  { name: 'case_sensitive: false, of prefix, path and regex', routes: [say({ path: '/Exact', case_sensitive: false }, 'exact'), say({ prefix: '/Pre', case_sensitive: false }, 'prefix'), say({ safe_regex: { regex: '/Re.*' }, case_sensitive: false }, 'regex'), say(all, 'none')], upstreams: none, send: ['/EXACT', '/exact', '/exactly', '/PREfix', '/pr', '/REgex', '/Regex'].flatMap(p => [req(p), { res: 1 }]) },
  { name: 'case_sensitive: hostile, letters beyond ASCII', routes: [say({ path: '/\u00c4', case_sensitive: false }, 'hit'), say(all, 'none')], upstreams: none, send: ['/\xc3\x84', '/\xc3\xa4', '/%C3%84', '/\xc4'].flatMap(p => [req(p), { res: 1 }]) },
]);
