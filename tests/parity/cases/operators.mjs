// Substitution operators: metadata, filter state; in text and JSON logs, in headers, with lengths, and with hostile values.
import { suite, req, toU, TYPE } from '../lib/suite.mjs';

const inline = s => ({ text_format_source: { inline_string: s } });
const text = (s, extra = {}) => ({ log: { log_format: { ...inline(`${s}\n`), ...extra } } });
const json = (o, extra = {}) => ({ log: { log_format: { json_format: o, ...extra } } });
const router = { name: 'router', typed_config: { '@type': `${TYPE}.extensions.filters.http.router.v3.Router` } };
const setMetadata = (...metadata) => ({ name: 'md', typed_config: { '@type': `${TYPE}.extensions.filters.http.set_metadata.v3.Config`, metadata } });
const entry = (metadata_namespace, value, allow_overwrite = false) => ({ metadata_namespace, value, allow_overwrite });
const setState = (values, more = {}) => ({ name: 'fs', typed_config: { '@type': `${TYPE}.extensions.filters.http.set_filter_state.v3.Config`, on_request_headers: values, ...more } });
const state = (object_key, format, more = {}) => ({ object_key, factory_key: 'envoy.string', format_string: inline(format), ...more });
const addHeader = (key, value) => ({ name: 'hm', typed_config: { '@type': `${TYPE}.extensions.filters.http.header_mutation.v3.HeaderMutation`, mutations: { request_mutations: [{ append: { header: { key, value } } }] } } });
const chain = (...filters) => ({ hcm: { http_filters: [...filters, router] } });

const md = chain(setMetadata(entry('n', { s: 'text', n: 1.5, i: 7, big: 1e21, t: true, z: null, o: { b: 'x"\n', a: [1, 'two', { c: null }] }, l: ['a'], e: '' }), entry('m', { k: 'v' })));
const withHost = { clusters: { u: { metadata: { filter_metadata: { c: { k: 'cluster', o: { p: 1 } } } },
  endpoints: [{ endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: '${port:u}' } } }, metadata: { filter_metadata: { h: { k: 'host', o: [1, 2] } } } }] } },
  vhosts: [{ name: 'v', domains: ['*'], metadata: { filter_metadata: { v: { k: 'vhost' } } }, routes: [{ ...toU, metadata: { filter_metadata: { r: { k: 'route', b: false } } } }] }] };

export default [suite('operators', [
  { name: 'metadata: DYNAMIC_METADATA of every kind as text', ...md, ...text('%DYNAMIC_METADATA(n:s)%|%DYNAMIC_METADATA(n:n)%|%DYNAMIC_METADATA(n:i)%|%DYNAMIC_METADATA(n:big)%|%DYNAMIC_METADATA(n:t)%|%DYNAMIC_METADATA(n:z)%|%DYNAMIC_METADATA(n:o)%|%DYNAMIC_METADATA(n:o:b)%|%DYNAMIC_METADATA(n:o:a)%|%DYNAMIC_METADATA(n:l)%|%DYNAMIC_METADATA(n:e)%|%DYNAMIC_METADATA(m)%|%DYNAMIC_METADATA(none)%|%DYNAMIC_METADATA(n:none)%|%DYNAMIC_METADATA(n:s:deeper)%'), send: [req('/')] },
  { name: 'metadata: DYNAMIC_METADATA of every kind as JSON', ...md, ...json({ s: '%DYNAMIC_METADATA(n:s)%', n: '%DYNAMIC_METADATA(n:n)%', t: '%DYNAMIC_METADATA(n:t)%', z: '%DYNAMIC_METADATA(n:z)%', o: '%DYNAMIC_METADATA(n:o)%', l: '%DYNAMIC_METADATA(n:l)%', e: '%DYNAMIC_METADATA(n:e)%', all: '%DYNAMIC_METADATA(n)%', none: '%DYNAMIC_METADATA(n:none)%', mixed: '<%DYNAMIC_METADATA(n:o)%>' }), send: [req('/')] },
  { name: 'metadata: lengths', ...md, ...text('%DYNAMIC_METADATA(n:s):2%|%DYNAMIC_METADATA(n:o):4%|%DYNAMIC_METADATA(n):3%|%DYNAMIC_METADATA(n:n):1%|%DYNAMIC_METADATA(n:s):0%'), send: [req('/')] },
  { name: 'metadata: lengths in JSON', ...md, ...json({ s: '%DYNAMIC_METADATA(n:s):2%', o: '%DYNAMIC_METADATA(n:o):4%' }), send: [req('/')] },
  { name: 'metadata: omit_empty_values', ...md, ...json({ z: '%DYNAMIC_METADATA(n:z)%', none: '%DYNAMIC_METADATA(x:y)%', s: '%DYNAMIC_METADATA(n:s)%', mixed: 'a%DYNAMIC_METADATA(x:y)%b' }, { omit_empty_values: true }), send: [req('/')] },
  { name: 'metadata: merged where it may be overwritten', ...chain(setMetadata(entry('n', { a: 1, o: { x: 1 }, l: [1], k: 'x' }), entry('n', { a: 2, o: { y: 2 }, l: [2], k: { z: 1 } }, true), entry('n', { a: 9 }))), ...text('%DYNAMIC_METADATA(n)%'), send: [req('/')] },
  { name: 'metadata: the deprecated fields', ...chain({ name: 'md', typed_config: { '@type': `${TYPE}.extensions.filters.http.set_metadata.v3.Config`, metadata_namespace: 'old', value: { a: 1 }, metadata: [entry('old', { a: 2 })] } }), ...text('%DYNAMIC_METADATA(old:a)%'), send: [req('/')] },
  { name: 'metadata: in headers both ways', ...md, routes: [{ ...toU, request_headers_to_add: [{ header: { key: 'x-s', value: 'a%DYNAMIC_METADATA(n:s)%b' } }, { header: { key: 'x-o', value: '%DYNAMIC_METADATA(n:o)%' } }, { header: { key: 'x-none', value: '%DYNAMIC_METADATA(n:none)%' } }], response_headers_to_add: [{ header: { key: 'x-n', value: '%DYNAMIC_METADATA(n:n)%' } }, { header: { key: 'x-z', value: '%DYNAMIC_METADATA(n:z)%' } }] }], send: [req('/')] },
  { name: 'metadata: of route, virtual host, cluster and host', ...withHost, ...text('%METADATA(ROUTE:r:k)%|%METADATA(ROUTE:r:b)%|%METADATA(VIRTUAL_HOST:v:k)%|%METADATA(CLUSTER:c:k)%|%METADATA(UPSTREAM_HOST:h:k)%|%CLUSTER_METADATA(c:o:p)%|%UPSTREAM_METADATA(h:o)%|%UPSTREAM_METADATA(h)%|%METADATA(DYNAMIC:n:a)%|%METADATA(ROUTE:none)%|%METADATA(ROUTE:r)%|%METADATA(LISTENER:l:k)%'), listener: { metadata: { filter_metadata: { l: { k: 'listener' } } } }, send: [req('/')] },
  { name: 'metadata: none where there is no route or host', routes: [], ...text('%METADATA(ROUTE:r:k)%|%METADATA(CLUSTER:c:k)%|%METADATA(UPSTREAM_HOST:h:k)%|%CLUSTER_METADATA(c)%|%UPSTREAM_METADATA(h)%'), send: [req('/')] },
  { name: 'filter state: PLAIN, TYPED, FIELD and none', ...chain(setState([state('a', 'v-%REQ(x-a)%'), state('b', 'q"%REQ(x-none)%')])), ...text('%FILTER_STATE(a)%|%FILTER_STATE(a:PLAIN)%|%FILTER_STATE(a:TYPED)%|%FILTER_STATE(a:FIELD:x)%|%FILTER_STATE(none)%|%FILTER_STATE(b:PLAIN)%|%FILTER_STATE(b)%|%FILTER_STATE(a:PLAIN):3%|%FILTER_STATE(a):3%'), send: [req('/', 'X-A: 1\r\n')] },
  { name: 'filter state: as JSON', ...chain(setState([state('a', 'v%REQ(x-a)%')])), ...json({ typed: '%FILTER_STATE(a)%', plain: '%FILTER_STATE(a:PLAIN)%', none: '%FILTER_STATE(b:PLAIN)%', cut: '%FILTER_STATE(a:PLAIN):1%' }), send: [req('/', 'X-A: "\t\xff\r\n')] },
  { name: 'filter state: skip_if_empty, the last one counts, read_only', ...chain(setState([state('a', '1'), state('a', '2', { read_only: true }), state('a', '%REQ(x-none)%', { skip_if_empty: true }), state('b', '%REQ(x-none)%'), state('c', '1', { read_only: true }), state('c', '2'), { object_key: 'envoy.string', format_string: inline('s') }])), ...text('%FILTER_STATE(a:PLAIN)%|%FILTER_STATE(b:PLAIN)%|%FILTER_STATE(c:PLAIN)%|%FILTER_STATE(envoy.string:PLAIN)%'), send: [req('/')] },
  { name: 'filter state: of a route after that of the chain', ...chain(setState([state('a', 'chain'), state('b', 'chain')])), routes: [{ ...toU, typed_per_filter_config: { fs: setState([state('a', 'route')]).typed_config } }], ...text('%FILTER_STATE(a:PLAIN)%|%FILTER_STATE(b:PLAIN)%'), send: [req('/')] },
  { name: 'filter state: clear_route_cache chooses the route anew', ...chain(addHeader('x-h', '1'), setState([state('a', '1')], { clear_route_cache: true })), routes: [{ match: { prefix: '/', headers: [{ name: 'x-h', present_match: true }] }, direct_response: { status: 201 } }, toU], send: [req('/')] },
  { name: 'filter state: without clear_route_cache the route stays', ...chain(addHeader('x-h', '1'), setState([state('a', '1')])), routes: [{ match: { prefix: '/', headers: [{ name: 'x-h', present_match: true }] }, direct_response: { status: 201 } }, toU], send: [req('/')] },
  { name: 'filter state: hostile bytes go to an upstream only where a header may have them', ...chain(setState([state('a', '%REQ(x-a)%')])), routes: [{ ...toU, request_headers_to_add: [{ header: { key: 'x-b', value: '%FILTER_STATE(a:PLAIN)%' } }] }], send: [req('/', 'X-A: a\tb\xff"\r\n')] },
]), suite('operators-refused', [
  { name: 'filter state: an object without a factory', ...chain(setState([{ object_key: 'no.such', format_string: inline('x') }])), refused: 'no.such', send: [req('/')] },
], { alone: true })];
