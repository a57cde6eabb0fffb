// HTTP/3 through h3peer, a Go program on quic-go: a client that carries out a list of steps on one connection, and an upstream.
import { execFile, spawn } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { sortHeaders } from './h2frames.mjs';
import { TYPE } from './suite.mjs';

let file;
/** The program; builds it once. Throws, naming it, if Go is missing. */
function peer() {
  file ??= promisify(execFile)('bash', [path.resolve(import.meta.dirname, '..', 'h3peer', 'ensure.sh')], { timeout: 600_000 }).then(({ stdout }) => stdout.trim());
  return file;
}

/**
 * Connects to `port`, carries out `script.steps` and returns what came back: one { stream, informational, headers, body, trailers, end } a stream, then
 * { alpn, closed, goaway, notes }. A step is { op, stream, … }: `headers` (fields), `data` (text, hex or size), `raw` (hex), each with `fin`; `fin`, `reset`, `stop`
 * (code); `head`, `body`, `end`, `stopped`, `goaway`, `closed` wait, at most `ms`; `uni` (hex) opens a stream of its own; `migrate` moves to another port;
 * `close`; `sleep`.
 */
export async function h3run(port, script) {
  const program = await peer();
  return new Promise((resolve, reject) => {
    const child = spawn(program, ['client'], { stdio: ['pipe', 'pipe', 'pipe'] });
    let [out, err] = ['', ''];
    child.stdout.on('data', d => { out += d; });
    child.stderr.on('data', d => { err += d; });
    child.on('error', reject);
    child.on('close', code => {
      if (code !== 0) return reject(new Error(`h3peer ended with ${code}: ${err}`));
      const { streams = {}, ...result } = JSON.parse(out);
      // Where a connection is about to be closed, a GOAWAY before it is a matter of taste; a case that is about one waits for it.
      if (!script.steps.some(s => s.op === 'goaway')) delete result.goaway;
      delete result.subject;
      const list = Object.entries(streams).map(([stream, s]) => ({ stream, ...s, ...(s.headers && { headers: sortHeaders(s.headers) }),
        ...(s.trailers && { trailers: sortHeaders(s.trailers) }), ...(s.informational && { informational: s.informational.map(sortHeaders) }) }));
      resolve([...list, result]);
    });
    child.stdin.on('error', () => {});
    child.stdin.end(`${JSON.stringify({ port, sni: 'a.test', ...script })}\n`);
  });
}

/** The fields of a request's head. */
export const fields = (path = '/', more = [], method = 'GET') => [[':method', method], [':scheme', 'https'], [':authority', 'a.test'], [':path', path], ...more];

/** Steps of one request on stream `name`: its head, `body` (text or steps), and the wait for the answer. */
export function exchange(head, body, name = 'a') {
  const steps = typeof body === 'string' ? [{ op: 'data', text: body, fin: true }] : body ?? [];
  return [{ op: 'headers', fields: head, fin: steps.length === 0 }, ...steps, { op: 'end' }].map(s => ({ stream: name, ...s }));
}

/** A case's part that makes its listener one of QUIC. `tls` goes over the TLS context, `quic` over quic_options. */
export function quicListener({ tls = {}, common = {}, quic = {}, match } = {}) {
  const context = { common_tls_context: { tls_certificates: [{ certificate_chain: { filename: '${certs}/server.crt' }, private_key: { filename: '${certs}/server.key' } }], ...common }, ...tls };
  return {
    chains: filter => [{ ...(match && { filter_chain_match: match }), transport_socket: { name: 'envoy.transport_sockets.quic',
      typed_config: { '@type': `${TYPE}.extensions.transport_sockets.quic.v3.QuicDownstreamTransport`, downstream_tls_context: context } },
    filters: [{ ...filter, typed_config: { codec_type: 'HTTP3', ...filter.typed_config } }] }],
    datagrams: { udp_listener_config: { quic_options: quic } },
  };
}
