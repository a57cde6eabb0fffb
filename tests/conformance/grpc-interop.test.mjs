// gRPC's own interoperability tests: grpc-go's interop client through the proxy to its interop server.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import net from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, before, describe, test } from 'node:test';
import { cluster, freePort, listener, withProxy } from './lib/proxies.mjs';
import { runTool, tool } from './lib/tools.mjs';

/**
 * All but those that need Google's cloud, and three that this server fails without a proxy, too: pick_first_unary (it has no server ID) and
 * orca_per_rpc, orca_oob (it sends no load reports).
 */
const CASES = ['empty_unary', 'large_unary', 'client_streaming', 'server_streaming', 'ping_pong', 'empty_stream', 'timeout_on_sleeping_server', 'cancel_after_begin',
  'cancel_after_first_response', 'status_code_and_message', 'special_status_message', 'custom_metadata', 'unimplemented_method', 'unimplemented_service', 'rpc_soak', 'channel_soak'];

let server;
let upstream;
before(async () => {
  upstream = await freePort();
  server = spawn(tool('interop-server'), ['-port', String(upstream)], { stdio: 'ignore' });
  for (let tries = 0; !(await listens(upstream)); tries++) {
    assert.ok(tries < 100 && server.exitCode === null, 'the interop server did not start');
    await sleep(50);
  }
});
after(() => server.kill('SIGKILL'));

function listens(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => { socket.destroy(); resolve(true); });
    socket.on('error', () => resolve(false));
  });
}

for (const tls of [false, true]) {
  describe(`gRPC interop, ${tls ? 'TLS' : 'clear text'}`, () => {
    let port;
    let end;
    before(async () => {
      port = await freePort();
      const done = new Promise((resolve) => (end = resolve));
      await new Promise((ready, failed) => {
        withProxy({ listeners: () => [listener('in', port, { cluster: 'up', tls: tls ? ['h2'] : undefined })], clusters: [cluster('up', upstream, { http2: true })] }, () => { ready(); return done; }).catch(failed);
      });
    });
    after(() => end());
    const trust = tls ? ['-use_tls', '-use_test_ca', '-ca_file', path.resolve(import.meta.dirname, '../parity/certs/ca.crt'), '-server_host_override', 'localhost'] : [];
    for (const name of CASES) {
      test(name, { timeout: 30_000 }, async () => {
        const { code, output } = await runTool(tool('interop-client'), ['-server_host', '127.0.0.1', '-server_port', String(port), '-test_case', name, ...trust], { timeoutMs: 20_000 });
        assert.equal(code, 0, output);
      });
    }
  });
}
