// Clusters: discovery types, balancing, connect timeout, circuit breakers, stale connections; and retries over them.
import net from 'node:net';
import { suite, req, h2upstream } from '../lib/suite.mjs';
import { replies, repliesAtHead, ok, connect } from '../lib/raw.mjs';
import { h2 } from '../lib/suite.mjs';
import { h2request } from '../lib/h2.mjs';

const all = { prefix: '/' };
const lb = (...names) => ({ u: null, all: { endpoints: names } });
const toAll = [{ match: all, route: { cluster: '$all' } }];
const three = () => Object.fromEntries(['a', 'b', 'c'].map(n => [n, replies(ok(n))]));
const only = (clusters, ...drop) => ({ ...clusters, ...Object.fromEntries(drop.map(d => [d, null])) });
const weighted = (name, weight) => ({ endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: `\${port:${name}}` } } }, load_balancing_weight: weight });
const health = (name, health_status) => ({ endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: `\${port:${name}}` } } }, health_status });
const dns = (host, name) => ({ endpoint: { address: { socket_address: { address: host, port_value: `\${port:${name}}` } } } });
const retry = (policy, route = {}) => [{ match: all, route: { cluster: '$u', retry_policy: policy, ...route } }];
const sequence = n => async ctx => { const c = await ctx.connect('main', { hidden: true }); let out = ''; for (let i = 0; i < n; i++) { c.write(req('/')); out += (await c.response()).slice(-1); } return out; };
const H = { log: { log_format: { text_format_source: { inline_string: '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT%\n' } } } };
const fail = (status = 503, body = 'bad') => ok(body, '', `${status} X`);
const hidden = { viewUpstream: () => [] };

export default [suite('clusters', [
  // STATIC, STRICT_DNS, LOGICAL_DNS
  { name: 'STATIC: one host', send: [req('/')] },
  { name: 'STATIC: no hosts', clusters: { u: { endpoints: [] } }, send: [req('/')] },
  { name: 'STATIC: no load_assignment at all', clusters: { u: { load_assignment: undefined } }, send: [req('/')] },
  { name: 'STATIC: one dead host of two', upstreams: { dead: 'refuse', a: replies(ok('a')) }, clusters: only({ all: { endpoints: ['dead', 'a'] } }, 'dead', 'a'), routes: toAll, client: async ctx => {
    const c = await ctx.connect('main', { hidden: true }); const seen = new Set(); for (let i = 0; i < 6; i++) { c.write(req('/')); seen.add((await c.response()).slice(9, 12)); } return [...seen].sort();
  }, ...hidden },
  { name: 'STATIC: a host that is marked unhealthy is left out', clusters: lb(health('a', 'HEALTHY'), health('b', 'UNHEALTHY')), routes: toAll, upstreams: three(), client: sequence(6), ...hidden },
  { name: 'STATIC: a host that is marked draining or timed out is left out', clusters: lb(health('a', 'HEALTHY'), health('b', 'UNKNOWN'), health('c', 'DRAINING'), health('c', 'TIMEOUT')), routes: toAll, upstreams: three(), client: async ctx => [...await sequence(8)(ctx)].sort().join(''), ...hidden },
  { name: 'STATIC: all hosts get traffic where most are unhealthy (panic threshold)', clusters: lb(health('a', 'HEALTHY'), health('b', 'UNHEALTHY'), health('c', 'UNHEALTHY')), routes: toAll, upstreams: three(), client: async ctx => [...await sequence(6)(ctx)].sort().join(''), ...hidden },
  { name: 'STATIC: the only host is unhealthy', clusters: lb(health('a', 'DRAINING')), routes: toAll, upstreams: three(), send: [req('/')], ...hidden },
  { name: 'STRICT_DNS: localhost', clusters: { u: { type: 'STRICT_DNS', dns_lookup_family: 'V4_ONLY', endpoints: [dns('localhost', 'u')] } }, send: [req('/')] },
  { name: 'STRICT_DNS: an address instead of a name', clusters: { u: { type: 'STRICT_DNS', endpoints: [dns('127.0.0.1', 'u')] } }, send: [req('/')] },
  { name: 'STRICT_DNS: a name that does not resolve', clusters: { u: { type: 'STRICT_DNS', endpoints: [dns('nothing.invalid', 'u')] } }, client: async ctx => { await ctx.sleep(1500); const c = await ctx.connect(); c.write(req('/')); await c.response(); }, ...H },
  { name: 'STRICT_DNS: two names of which one does not resolve', clusters: { u: { type: 'STRICT_DNS', dns_lookup_family: 'V4_ONLY', endpoints: [dns('nothing.invalid', 'u'), dns('localhost', 'u')] } }, client: async ctx => { await ctx.sleep(1500); const c = await ctx.connect(); c.write(req('/')); await c.response(); } },
  { name: 'LOGICAL_DNS: localhost', clusters: { u: { type: 'LOGICAL_DNS', dns_lookup_family: 'V4_ONLY', endpoints: [dns('localhost', 'u')] } }, send: [req('/')] },
  { name: 'LOGICAL_DNS: auto_host_rewrite', clusters: { u: { type: 'LOGICAL_DNS', dns_lookup_family: 'V4_ONLY', endpoints: [dns('localhost', 'u')] } }, routes: [{ match: all, route: { cluster: '$u', auto_host_rewrite: true } }], send: [req('/')] },
  { name: 'LOGICAL_DNS: a name that does not resolve', clusters: { u: { type: 'LOGICAL_DNS', endpoints: [dns('nothing.invalid', 'u')] } }, client: async ctx => { await ctx.sleep(1500); const c = await ctx.connect(); c.write(req('/')); await c.response(); }, ...H },

  // balancing
  { name: 'ROUND_ROBIN: every host gets its share', upstreams: three(), clusters: only({ all: { endpoints: ['a', 'b', 'c'] } }, 'a', 'b', 'c'), routes: toAll, client: async ctx => { const s = await sequence(9)(ctx); return ['abc', 'bca', 'cab', 'acb', 'bac', 'cba'].some(p => s === p.repeat(3)) ? 'a fixed order, three times' : s; }, ...hidden },
  { name: 'ROUND_ROBIN: weights', upstreams: three(), clusters: only({ all: { endpoints: [weighted('a', 1), weighted('b', 2), weighted('c', 3)] } }, 'a', 'b', 'c'), routes: toAll, client: async ctx => { const s = await sequence(60)(ctx); return ['a', 'b', 'c'].map(n => s.split(n).length - 1); }, ...hidden },
  { name: 'ROUND_ROBIN: one host with a huge weight', upstreams: { a: replies(ok('a')), b: replies(ok('b')) }, clusters: only({ all: { endpoints: [weighted('a', 1), weighted('b', 99)] } }, 'a', 'b'), routes: toAll, client: async ctx => { const s = await sequence(100)(ctx); return [s.length, s.includes('b'), s.split('a').length - 1 <= 2]; }, ...hidden },
  { name: 'LEAST_REQUEST: the idle host is picked', upstreams: { slow: replies([2500, ok('slow')]), b: replies(ok('b')) }, clusters: only({ all: { endpoints: ['slow', 'b'], lb_policy: 'LEAST_REQUEST', least_request_lb_config: { choice_count: 10 } } }, 'slow', 'b'), routes: toAll,
    client: async ctx => { for (let i = 0; i < 60 && ctx.upstreams.slow.wires.length === 0; i++) { const c = await ctx.connect('main', { hidden: true }); c.write(req('/')); await ctx.sleep(30); } return sequence(6)(ctx); }, ...hidden },
  { name: 'LEAST_REQUEST: all hosts are used', upstreams: three(), clusters: only({ all: { endpoints: ['a', 'b', 'c'], lb_policy: 'LEAST_REQUEST' } }, 'a', 'b', 'c'), routes: toAll, client: async ctx => [...new Set(await sequence(60)(ctx))].sort().join(''), ...hidden },
  { name: 'LEAST_REQUEST: a dead host among them', upstreams: { dead: 'refuse', a: replies(ok('a')) }, clusters: only({ all: { endpoints: ['dead', 'a'], lb_policy: 'LEAST_REQUEST' } }, 'dead', 'a'), routes: [{ match: all, route: { cluster: '$all', retry_policy: { retry_on: 'connect-failure', num_retries: 20 } } }], client: sequence(4), ...hidden },
  { name: 'RANDOM: all hosts are used', upstreams: three(), clusters: only({ all: { endpoints: ['a', 'b', 'c'], lb_policy: 'RANDOM' } }, 'a', 'b', 'c'), routes: toAll, client: async ctx => [...new Set(await sequence(60)(ctx))].sort().join(''), ...hidden },
  { name: 'RANDOM: one host', clusters: { u: { lb_policy: 'RANDOM' } }, send: [req('/')] },
  { name: 'RANDOM: no host', clusters: { u: { lb_policy: 'RANDOM', endpoints: [] } }, send: [req('/')] },

  // connect timeout
  { name: 'connect timeout: a host that never answers SYN', upstreams: { u: { make: blackhole } }, clusters: { u: { connect_timeout: '0.3s' } }, send: [req('/'), { res: 1 }], ...H },
  { name: 'connect timeout: HTTP/2 client', hcm: { codec_type: 'HTTP2' }, upstreams: { u: { make: blackhole } }, clusters: { u: { connect_timeout: '0.3s' } }, client: async ctx => { const s = await ctx.h2(); return h2request(s, {}); }, ...H },
  { name: 'connect timeout: retried', upstreams: { u: { make: blackhole } }, clusters: { u: { connect_timeout: '0.3s' } }, routes: retry({ retry_on: 'connect-failure', num_retries: 1 }), send: [req('/'), { res: 1 }], ...H },

  // circuit breakers
  { name: 'circuit breaker: max_pending_requests', clusters: { u: { circuit_breakers: { thresholds: [{ max_connections: 1, max_pending_requests: 1 }] } } }, upstreams: { u: replies([1200, ok()]) }, client: burst(3), ...H, logLines: 3, viewLog: sorted },
  { name: 'circuit breaker: max_requests', clusters: { u: { circuit_breakers: { thresholds: [{ max_requests: 1 }] } } }, upstreams: { u: replies([1200, ok()]) }, client: burst(2), ...H, logLines: 2, viewLog: sorted },
  { name: 'circuit breaker: max_connections queues the rest', clusters: { u: { circuit_breakers: { thresholds: [{ max_connections: 1 }] } } }, upstreams: { u: replies([200, ok()]) }, client: burst(3) },
  { name: 'circuit breaker: max_retries', clusters: { u: { circuit_breakers: { thresholds: [{ max_retries: 0 }] } } }, upstreams: { u: replies(fail()) }, routes: retry({ retry_on: '5xx', num_retries: 3 }), send: [req('/')], ...H },
  { name: 'circuit breaker: priority HIGH has its own', clusters: { u: { circuit_breakers: { thresholds: [{ priority: 'HIGH', max_requests: 0 }, { priority: 'DEFAULT', max_requests: 5 }] } } }, routes: [{ match: { prefix: '/h' }, route: { cluster: '$u', priority: 'HIGH' } }, { match: all, route: { cluster: '$u' } }], send: [req('/h'), { res: 1 }, req('/d')] },
  { name: 'circuit breaker: grpc overflow', clusters: { u: { circuit_breakers: { thresholds: [{ max_requests: 0 }] } } }, send: ['POST /s/m HTTP/1.1\r\nHost: a.test\r\nContent-Type: application/grpc\r\nContent-Length: 1\r\n\r\nx'], ...H },

  // a stale reused connection
  { name: 'stale connection: upstream closes when the second request comes, no retry policy', upstreams: { u: replies(ok('one'), { end: true }, ok('three')) }, send: [req('/1'), { res: 1 }, 100, req('/2'), { res: 1 }], ...H, logLines: 2,
    differs: { id: 'stale-connection-retry', envoy: t => t.includes('503 UC'), plenipo: t => t.includes('three') && !t.includes('503') } },
  { name: 'stale connection: POST is never sent twice', upstreams: { u: replies(ok('one'), { end: true }, ok('three')) }, send: [req('/1'), { res: 1 }, 100, req('/2', '', 'body'), { res: 1 }], ...H, logLines: 2 },
  { name: 'stale connection: a first connection that closes is not retried', upstreams: { u: replies({ end: true }, ok('two')) }, send: [req('/1'), { res: 1 }], ...H },
  { name: 'stale connection: part of an answer came, no retry', upstreams: { u: replies(ok('one'), ['HTTP/1.1 200 OK\r\n', 50, { reset: true }], ok('three')) }, send: [req('/1'), { res: 1 }, 300, req('/2'), { res: 1 }], ...H, logLines: 2 },
]), suite('retries', [
  { name: 'retries 5xx: until it works', upstreams: { u: replies(fail(), fail(500), ok('good')) }, routes: retry({ retry_on: '5xx', num_retries: 3 }), send: [req('/')], ...H },
  { name: 'retries 5xx: gives up after num_retries, default 1', upstreams: { u: replies(fail(), fail(502), ok('good')) }, routes: retry({ retry_on: '5xx' }), send: [req('/')], ...H },
  { name: 'retries 5xx: 4xx is not one', upstreams: { u: replies(fail(429), ok()) }, routes: retry({ retry_on: '5xx' }), send: [req('/')], ...H },
  { name: 'retries 5xx: body is replayed', upstreams: { u: replies(fail(), ok('good')) }, routes: retry({ retry_on: '5xx' }), send: [req('/', '', 'the body')], ...H },
  { name: 'retries 5xx: chunked body is replayed', upstreams: { u: replies(fail(), ok('good')) }, routes: retry({ retry_on: '5xx' }), send: ['POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n'], ...H },
  { name: 'retries 5xx: connection refused and reset count too', upstreams: { u: replies({ end: true }, ok('good')) }, routes: retry({ retry_on: '5xx' }), send: [req('/')], ...H },
  { name: 'retries 5xx: attempt count header', vhosts: [{ name: 'v', domains: ['*'], include_request_attempt_count: true, include_attempt_count_in_response: true, routes: retry({ retry_on: '5xx', num_retries: 2 }) }], upstreams: { u: replies(fail(), fail(), ok('good')) }, send: [req('/')] },
  { name: 'retries 5xx: refused while the body is too big to keep', listener: { per_connection_buffer_limit_bytes: 1024 }, upstreams: { u: replies(fail(), ok('good')) }, routes: retry({ retry_on: '5xx' }), client: async ctx => { const c = await ctx.connect(); c.write(`POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000\r\n\r\n`); await ctx.sleep(100); for (let i = 0; i < 100; i++) { c.write('x'.repeat(1000)); } await c.response(); }, viewUpstream: saw => saw.map(w => ({ ...w, bytes: w.bytes.split('\r\n')[0] })), ...H },
  { name: 'retries 5xx: while the request body is still coming', upstreams: { u: repliesAtHead(fail()) }, routes: retry({ retry_on: '5xx', num_retries: 1 }), send: ['POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 6\r\n\r\nabc', 1000, 'def', { res: 1 }], ...H },
  { name: 'retries 5xx: an answer that began is not retried', upstreams: { u: replies(['HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab', 50, { reset: true }], ok('good')) }, routes: retry({ retry_on: '5xx,reset' }), send: [req('/')], ...H },
  { name: 'retries 5xx: on the virtual host', vhosts: [{ name: 'v', domains: ['*'], retry_policy: { retry_on: '5xx', num_retries: 2 }, routes: [{ match: all, route: { cluster: '$u' } }] }], upstreams: { u: replies(fail(), fail(), ok('good')) }, send: [req('/')], ...H },
  { name: 'retries 5xx: HEAD', upstreams: { u: replies('HTTP/1.1 503 X\r\ncontent-length: 3\r\n\r\n', 'HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n') }, routes: retry({ retry_on: '5xx' }), send: ['HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n'], ...H },
  { name: 'retries connect-failure: goes to another host', upstreams: { dead: 'refuse', a: replies(ok('a')) }, clusters: only({ all: { endpoints: ['dead', 'a'] } }, 'dead', 'a'), routes: [{ match: all, route: { cluster: '$all', retry_policy: { retry_on: 'connect-failure', num_retries: 2 } } }], client: sequence(4), ...hidden },
  { name: 'retries connect-failure: all dead', upstreams: { u: 'refuse' }, routes: retry({ retry_on: 'connect-failure', num_retries: 2 }), send: [req('/')], ...H },
  { name: 'retries connect-failure: a 503 answer is not one', upstreams: { u: replies(fail(), ok()) }, routes: retry({ retry_on: 'connect-failure' }), send: [req('/')], ...H },
  { name: 'retries connect-failure: POST with a body', upstreams: { dead: 'refuse', a: replies(ok('a')) }, clusters: only({ all: { endpoints: ['dead', 'a'] } }, 'dead', 'a'), routes: [{ match: all, route: { cluster: '$all', retry_policy: { retry_on: 'connect-failure', num_retries: 5 } } }], client: async ctx => { const c = await ctx.connect('main', { hidden: true }); let out = ''; for (let i = 0; i < 4; i++) { c.write(req('/', '', 'body')); out += (await c.response()).slice(-1); } return out; }, ...hidden },
  { name: 'retries reset: upstream closes before the answer', upstreams: { u: replies({ end: true }, ok('good')) }, routes: retry({ retry_on: 'reset' }), send: [req('/')], ...H },
  { name: 'retries reset: upstream resets before the answer', upstreams: { u: replies({ reset: true }, ok('good')) }, routes: retry({ retry_on: 'reset' }), send: [req('/', '', 'body')], ...H },
  { name: 'retries reset: gives up', upstreams: { u: replies({ end: true }) }, routes: retry({ retry_on: 'reset', num_retries: 2 }), send: [req('/')], ...H },
  { name: 'retries reset: 503 answer is not one', upstreams: { u: replies(fail(), ok()) }, routes: retry({ retry_on: 'reset' }), send: [req('/')], ...H },
  { name: 'retries reset: malformed answer', upstreams: { u: replies('nonsense\r\n\r\n', ok('good')) }, routes: retry({ retry_on: 'reset' }), send: [req('/')], ...H },
  { name: 'retries reset: per_try_timeout', upstreams: { u: replies([1500, ok('late')], ok('good')) }, routes: retry({ retry_on: 'reset', per_try_timeout: '0.3s' }), send: [req('/'), { res: 1 }], ...H },
  { name: 'retries reset: the whole timeout still counts', upstreams: { u: replies([1500, ok('late')]) }, routes: retry({ retry_on: 'reset', num_retries: 10, per_try_timeout: '0.3s' }, { timeout: '0.5s' }), send: [req('/'), { res: 1 }], ...H },
  { name: 'retries reset: HTTP/2 refused stream', clusters: { u: h2upstream() }, upstreams: { u: h2((stream, r, up) => up.requests.length === 1 ? stream.close(7) : (stream.respond({ ':status': 200 }, { sendDate: false }), stream.end('good'))) }, routes: retry({ retry_on: 'refused-stream' }), send: [req('/')], ...H },
  { name: 'retries other policies: gateway-error and retriable-4xx', upstreams: { u: replies(fail(502), fail(409), ok('good')) }, routes: retry({ retry_on: 'gateway-error,retriable-4xx', num_retries: 3 }), send: [req('/')], ...H },
  { name: 'retries other policies: retriable-status-codes', upstreams: { u: replies(fail(418), ok('good')) }, routes: retry({ retry_on: 'retriable-status-codes', retriable_status_codes: [418] }), send: [req('/')], ...H },
  { name: 'retries other policies: grpc-status in headers', upstreams: { u: replies(ok('', 'content-type: application/grpc\r\ngrpc-status: 14\r\n'), ok('good')) }, routes: retry({ retry_on: 'unavailable' }), send: ['POST /s/m HTTP/1.1\r\nHost: a.test\r\nContent-Type: application/grpc\r\nContent-Length: 1\r\n\r\nx'], ...H },
])];

function sorted(text) { return text.split('\n').filter(Boolean).sort().join('\n'); }

function burst(n) {
  return async ctx => {
    const cs = [];
    for (let i = 0; i < n; i++) { const c = await ctx.connect(); c.write(req(`/${i}`)); cs.push(c); await ctx.sleep(150); }
    await Promise.all(cs.map(c => c.response()));
  };
}

/** A port whose accept queue is full: SYNs are dropped, as by a host that is not there. */
function blackhole() {
  const fillers = [];
  const server = net.createServer();
  return {
    lastActivity: 0,
    async listen() {
      const { spawn } = await import('node:child_process');
      // Node always accepts, so the listening socket is a child's that never does.
      this.child = spawn('python3', ['-c', 'import socket,sys,time\ns=socket.socket(); s.bind(("127.0.0.1",0)); s.listen(0); print(s.getsockname()[1],flush=True)\nsys.stdin.read()'], { stdio: ['pipe', 'pipe', 'inherit'] });
      this.port = await new Promise(r => this.child.stdout.once('data', d => r(Number(d))));
      for (let i = 0; i < 3; i++) { const s = net.connect(this.port, '127.0.0.1'); s.on('error', () => {}); fillers.push(s); }
      await new Promise(r => setTimeout(r, 100));
      server.close?.();
      return this;
    },
    saw: () => [],
    close() { for (const f of fillers) f.destroy(); this.child.stdin.end(); this.child.kill(); },
  };
}
