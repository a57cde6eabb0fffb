// upstream_bind_config: the address that connections to hosts come from.
import net from 'node:net';
import { suite, req } from '../lib/suite.mjs';

const address = (address, port_value = 0) => ({ address, port_value });
const bind = upstream_bind_config => ({ clusters: { u: { upstream_bind_config } } });
/** A host that answers with the address that a connection comes from. */
const mirror = { u: { make: () => ({
  lastActivity: 0, seen: [],
  listen() {
    this.server = net.createServer(s => {
      s.on('error', () => {});
      s.on('data', () => { this.seen.push(s.remoteAddress); s.write(`HTTP/1.1 200 OK\r\ncontent-length: ${s.remoteAddress.length}\r\n\r\n${s.remoteAddress}`); });
    });
    return new Promise(done => this.server.listen(0, '127.0.0.1', () => { this.port = this.server.address().port; done(this); }));
  },
  saw() { return [{ state: 'open', bytes: this.seen.join(' ') }]; },
  close() { this.server.close(); },
}) } };
const log = { log: { log_format: { text_format_source: { inline_string: '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_TRANSPORT_FAILURE_REASON% %UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%\n' } } } };
const stats = { stats: [/ID_u\.(bind_errors|upstream_cx_(total|connect_fail|destroy|destroy_local|destroy_remote)|upstream_rq_pending_failure_eject)/] };
const one = (name, config, more = {}) => ({ name: `upstream_bind_config: ${name}`, ...bind(config), upstreams: mirror, send: [req('/')], ...log, ...stats, ...more });
const retried = { routes: [{ match: { prefix: '/' }, route: { cluster: '$u', retry_policy: { retry_on: 'connect-failure', num_retries: 2 } } }] };

export default [suite('upstream-bind', [
  one('an address of this machine', { source_address: address('127.0.0.9') }),
  one('any address', { source_address: address('0.0.0.0') }),
  one('nothing', {}),
  one('freebind alone', { freebind: true }),
  one('freebind', { source_address: address('127.0.0.77'), freebind: true }),
  one('hostile: an address that is not ours', { source_address: address('192.0.2.7') }),
  one('hostile: an address that is not ours, retried', { source_address: address('192.0.2.7') }, retried),
  one('hostile: an address of the other family', { source_address: address('::1') }),
  one('an extra address of the right family', { source_address: address('::1'), extra_source_addresses: [{ address: address('127.0.0.10') }] }),
  one('an additional address of the right family', { source_address: address('::1'), additional_source_addresses: [address('127.0.0.11')] }),
  one('the source where it is of the right family', { source_address: address('127.0.0.12'), extra_source_addresses: [{ address: address('::1') }] }),
]), suite('upstream-bind-refused', [
  one('refused: extra addresses alone', { extra_source_addresses: [{ address: address('127.0.0.10') }] }, { refused: 'source_address' }),
  one('refused: extra and additional addresses', { source_address: address('::1'), extra_source_addresses: [{ address: address('127.0.0.10') }], additional_source_addresses: [address('127.0.0.11')] }, { refused: 'additional_source_addresses' }),
  one('refused: two addresses of a family', { source_address: address('127.0.0.12'), extra_source_addresses: [{ address: address('127.0.0.13') }] }, { refused: 'extra_source_addresses' }),
  one('refused: three addresses', { source_address: address('::1'), extra_source_addresses: [{ address: address('127.0.0.12') }, { address: address('127.0.0.13') }] }, { refused: 'extra_source_addresses' }),
  one('refused: a name', { source_address: address('localhost') }, { refused: 'source_address' }),
  one('refused: socket options', { source_address: address('127.0.0.9'), socket_options: [{ level: 1, name: 2, int_value: 1 }] }, { unsupported: 'socket_options' }),
])];
