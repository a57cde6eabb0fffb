// The differences on purpose that many cases share: what each of the two says then. Each id is explained in docs/differences.md.

const REFUSED = ['client 1 (closed):', '  HTTP/1.1 400 Bad Request', '  content-length: 11', '  content-type: text/plain', '  date: <date>', '  server: envoy', '  connection: close', '  ', '  Bad Request', 'upstream u: no connection'].join('\n');

/** A request that Envoy forwards (`envoy` overrides what it says) and plenipo answers with 400 and closes, without a byte upstream. */
export const stricter = (id, envoy = 'HTTP/1.1 200 OK') => ({ differs: { id, envoy: t => t.includes(envoy) && !t.includes(REFUSED), plenipo: t => t === REFUSED } });

/** An answer that Envoy forwards and plenipo takes for a protocol error: 502, the upstream connection closed. */
export const stricterAnswer = (id, envoy) => ({ differs: { id,
  envoy: t => t.includes(envoy),
  plenipo: t => t.includes('HTTP/1.1 502 Bad Gateway') && t.includes('reset reason: protocol error') && t.includes('upstream u connection 1 (closed):') } });

/** HTTP/2 that Envoy ends by closing without a word; plenipo says `ours` (or one of them) and forwards nothing. */
export const h2says = (...ours) => ({ differs: { id: 'h2-says-why',
  envoy: t => t.startsWith('client 1 (closed):\n  (nothing)\nupstream u: no connection'),
  plenipo: t => ours.some(o => t.startsWith(`client 1 (${/^(RST_STREAM|HEADERS)/.test(o) ? 'open' : 'closed'}):\n  ${o}`)) && t.includes('\nupstream u: no connection') } });
