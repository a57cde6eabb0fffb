// upgrade_configs.filters: an upgrade goes through filters of its own.
import { suite, req, router, TYPE } from '../lib/suite.mjs';
import { replies, ok } from '../lib/raw.mjs';

const add = value => ({ name: 'mark', typed_config: { '@type': `${TYPE}.extensions.filters.http.header_mutation.v3.HeaderMutation`, mutations: { request_mutations: [{ append: { header: { key: 'x-mark', value } } }], response_mutations: [{ append: { header: { key: 'x-mark', value } } }] } } });
const up = (kind, ...filters) => ({ upgrade_type: kind, ...(filters.length && { filters: [...filters, router] }) });
const hcm = (...upgrade_configs) => ({ http_filters: [add('http'), router], upgrade_configs });
const ws = kind => req('/', `Connection: Upgrade\r\nUpgrade: ${kind}\r\n`);
const switching = replies('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');

const unseen = { differs: { id: 'refused-upgrade-filters', envoy: t => t.includes('HTTP/1.1 403 Forbidden\n  x-mark: http'), plenipo: t => t.includes('HTTP/1.1 403 Forbidden') && !t.includes('x-mark') } };

export default suite('upgrade-filters', [
  { name: 'filters: an upgrade has its own', hcm: hcm(up('websocket', add('upgrade'))), upstreams: { u: switching }, send: [ws('websocket'), 300] },
  { name: 'filters: other requests have the manager\'s', hcm: hcm(up('websocket', add('upgrade'))), send: [req('/')] },
  { name: 'filters: an upgrade without its own', hcm: hcm(up('websocket')), upstreams: { u: switching }, send: [ws('websocket'), 300] },
  { name: 'filters: names in any case', hcm: hcm(up('WebSocket', add('upgrade'))), upstreams: { u: switching }, send: [ws('wEbSoCkEt'), 300] },
  { name: 'filters: the upstream says no', hcm: hcm(up('websocket', add('upgrade'))), upstreams: { u: replies(ok()) }, send: [ws('websocket')] },
  { name: 'filters: a kind that is not allowed', hcm: hcm(up('websocket', add('upgrade'))), send: [ws('spdy')], ...unseen },
  { name: 'filters: disabled, and enabled by the route', hcm: hcm({ ...up('websocket', add('upgrade')), enabled: false }), routes: [{ match: { prefix: '/' }, route: { cluster: '$u', upgrade_configs: [{ upgrade_type: 'websocket' }] } }], upstreams: { u: switching }, send: [ws('websocket'), 300] },
  { name: 'filters: disabled', hcm: hcm({ ...up('websocket', add('upgrade')), enabled: false }), send: [ws('websocket')], ...unseen },
  { name: 'filters: an optional one that is implemented', hcm: { http_filters: [{ ...add('http'), is_optional: true }, router] }, send: [req('/')] },
  { name: 'refused: a kind twice', refused: 'upgrade_type', hcm: hcm(up('websocket'), up('WEBSOCKET')) },
  { name: 'refused: filters without a router', refused: 'router', hcm: hcm({ upgrade_type: 'websocket', filters: [add('x')] }) },
]);
