// Header mutations: the header_mutation filter whole, and what every append_action does to requests and answers.
import { suite, req, toU, TYPE, router } from '../lib/suite.mjs';
import { replies, ok } from '../lib/raw.mjs';

const HM = `${TYPE}.extensions.filters.http.header_mutation.v3`;
const filter = (mutations, more = {}) => ({ name: 'hm', typed_config: { '@type': `${HM}.HeaderMutation`, mutations, ...more } });
const route = mutations => ({ hm: { '@type': `${HM}.HeaderMutationPerRoute`, mutations } });
const with_ = (mutations, more = {}) => ({ hcm: { http_filters: [filter(mutations, more), router] } });
const put = (key, value, append_action, more = {}) => ({ append: { header: { key, value }, ...(append_action && { append_action }), ...more } });
const ACTIONS = ['APPEND_IF_EXISTS_OR_ADD', 'ADD_IF_ABSENT', 'OVERWRITE_IF_EXISTS_OR_ADD', 'OVERWRITE_IF_EXISTS'];
const param = (key, value, action) => ({ append: { record: { key, value }, ...(action && { action }) } });
const answer = ok('ok', 'x-there: up\r\nx-twice: 1\r\nx-twice: 2\r\n');
const up = { upstreams: { u: replies(answer) } };
const there = 'X-There: c\r\nX-Twice: 1\r\nX-Twice: 2\r\n';
const every = () => ACTIONS.flatMap((a, i) => [put(`x-new-${i}`, 'n', a), put('x-there', `v${i}`, a)]);
const added = (key, value, append_action, more = {}) => ({ header: { key, value }, ...(append_action && { append_action }), ...more });
const byRoute = list => [{ ...toU, request_headers_to_add: list, response_headers_to_add: list }];

export default [suite('header-mutations', [
  { name: 'filter: every action, in order', ...with_({ request_mutations: every(), response_mutations: every() }), ...up, send: [req('/', there)] },
  ...ACTIONS.map(a => ({ name: `filter: ${a} alone`, ...with_({ request_mutations: [put('x-there', 'v', a), put('x-none', 'v', a), put('x-twice', 'v', a)], response_mutations: [put('x-there', 'v', a), put('x-none', 'v', a), put('x-twice', 'v', a)] }), ...up, send: [req('/', there)] })),
  { name: 'filter: remove, add again', ...with_({ request_mutations: [{ remove: 'x-twice' }, put('x-twice', '3'), { remove: 'X-There' }], response_mutations: [put('x-r', '1'), { remove: 'x-r' }, { remove: 'x-twice' }] }), ...up, send: [req('/', there)] },
  { name: 'filter: empty values', ...with_({ request_mutations: [put('x-e', ''), put('x-k', '', undefined, { keep_empty_value: true }), put('x-there', '', 'OVERWRITE_IF_EXISTS_OR_ADD'), put('x-twice', '%REQ(x-none)%', 'OVERWRITE_IF_EXISTS_OR_ADD', { keep_empty_value: true })] }), ...up, send: [req('/', there)] },
  { name: 'filter: operators read what the step before wrote', ...with_({ request_mutations: [put('x-a', '1'), put('x-b', '%REQ(x-a)%2'), put('x-a', '%REQ(x-b)%', 'OVERWRITE_IF_EXISTS')], response_mutations: [put('x-q', '%REQ(x-b)%|%RESP(x-there)%|%RESPONSE_CODE%')] }), ...up, send: [req('/', there)] },
  { name: 'filter: remove_on_match', ...with_({ request_mutations: [{ remove_on_match: { key_matcher: { prefix: 'x-t' } } }], response_mutations: [{ remove_on_match: { key_matcher: { suffix: '-TWICE', ignore_case: true } } }] }), ...up, send: [req('/', `${there}X-Stay: 1\r\n`)] },
  { name: 'filter: remove_on_match of everything', ...with_({ request_mutations: [{ remove_on_match: { key_matcher: { safe_regex: { regex: 'x-.*' } } } }, put('x-last', '1')] }), ...up, send: [req('/', there)] },
  { name: 'filter: by route after the filter\'s own', ...with_({ request_mutations: [put('x-o', 'filter')] }), vhosts: [{ name: 'v', domains: ['*'], typed_per_filter_config: route({ request_mutations: [put('x-o', 'vhost')], response_mutations: [put('x-o', 'vhost')] }), routes: [{ ...toU, typed_per_filter_config: route({ request_mutations: [put('x-o', 'route')], response_mutations: [put('x-o', 'route')] }) }] }], ...up, send: [req('/')] },
  { name: 'filter: most_specific_header_mutations_wins', ...with_({ request_mutations: [put('x-o', 'filter')] }, { most_specific_header_mutations_wins: true }), vhosts: [{ name: 'v', domains: ['*'], typed_per_filter_config: route({ request_mutations: [put('x-o', 'vhost')], response_mutations: [put('x-o', 'vhost')] }), routes: [{ ...toU, typed_per_filter_config: route({ request_mutations: [put('x-o', 'route')], response_mutations: [put('x-o', 'route')] }) }] }], ...up, send: [req('/')] },
  { name: 'filter: local replies too', ...with_({ response_mutations: [put('x-r', '%RESPONSE_CODE%')] }), routes: [{ match: { prefix: '/' }, direct_response: { status: 404 } }], send: [req('/')] },
  ...[undefined, 'ADD_IF_ABSENT', 'OVERWRITE_IF_EXISTS_OR_ADD', 'OVERWRITE_IF_EXISTS'].map(a => ({ name: `query: ${a ?? 'append'}`, ...with_({ query_parameter_mutations: [param('b', 'new', a), param('n', '%REQ(x-a)%', a)] }), send: [req('/p?b=1&a=2&b=3', 'X-A: v\r\n')] })),
  { name: 'query: remove and leave nothing', ...with_({ query_parameter_mutations: [{ remove: 'a' }] }), send: [req('/p?a=1&b=2&a'), { res: 1 }, req('/p?a=1'), { res: 1 }, req('/p')], upstreams: { u: replies(ok(), ok(), ok()) } },
  { name: 'query: encoding', ...with_({ query_parameter_mutations: [param('n', 'a b&c=d%%e/+é')] }), send: [req('/p?x=%20%41%zz+&y&=z&;q=1&x')],
    differs: { id: 'query-mutations', envoy: t => t.includes('&x= A%zz+&x=&y= HTTP/1.1'), plenipo: t => t.includes('GET /p?=z&;q=1&n=a%20b%26c%3Dd%25e%2F%2B%C3%A9&x=%20%41%zz+&x=&y= HTTP/1.1') } },
  { name: 'query: an empty value', ...with_({ query_parameter_mutations: [param('n', '%REQ(x-none)%'), param('m', '')] }), send: [req('/p')] },
  { name: 'query: hostile bytes', ...with_({ query_parameter_mutations: [param('n', '%REQ(x-a)%')] }), send: [req('/p?a', 'X-A: a\t\xff b#c?d\r\n')] },
  { name: 'route: every action', routes: byRoute(ACTIONS.flatMap((a, i) => [added(`x-new-${i}`, 'n', a), added('x-there', `v${i}`, a)])), ...up, send: [req('/', there)] },
  { name: 'route: keep_empty_value', routes: byRoute([added('x-e', ''), added('x-k', '', undefined, { keep_empty_value: true }), added('x-there', '', 'OVERWRITE_IF_EXISTS', { keep_empty_value: true }), added('x-f', '%REQ(x-none)%', undefined, { keep_empty_value: true })]), ...up, send: [req('/', there)] },
  { name: 'route: the deprecated append', routes: byRoute([{ header: { key: 'x-there', value: 'o' }, append: false }, { header: { key: 'x-twice', value: '3' }, append: true }]), ...up, send: [req('/', there)] },
  { name: 'hostile: a header of a client in a name\'s place', ...with_({ request_mutations: [put('x-a', '%REQ(x-evil)%')], response_mutations: [put('x-a', '%REQ(x-evil)%')] }), ...up, send: [req('/', 'X-Evil: a: b\\r\\n c\t\xff\r\n')] },
]), suite('header-mutations-refused', [
  { name: 'no action', ...with_({ request_mutations: [{}] }), refused: 'request_mutations', send: [req('/')] },
  { name: 'a pseudo-header', ...with_({ request_mutations: [put(':path', '/new', 'OVERWRITE_IF_EXISTS_OR_ADD')] }), refused: ':-prefixed or host headers may not be modified', send: [req('/')] },
  { name: 'the host', ...with_({ request_mutations: [put('Host', 'b.test', 'OVERWRITE_IF_EXISTS_OR_ADD')] }), refused: ':-prefixed or host headers may not be modified', send: [req('/')] },
  { name: 'query: no record', ...with_({ query_parameter_mutations: [{ append: {} }] }), refused: 'record', send: [req('/')] },
  { name: 'query: a number', ...with_({ query_parameter_mutations: [param('n', 5)] }), refused: 'string value', send: [req('/')] },
  { name: 'query: nothing to do', ...with_({ query_parameter_mutations: [{}] }), refused: 'utation', send: [req('/')] },
  { name: 'append and append_action', routes: byRoute([added('x', '1', 'ADD_IF_ABSENT', { append: true })]), refused: 'append_action', send: [req('/')] },
], { alone: true })];
