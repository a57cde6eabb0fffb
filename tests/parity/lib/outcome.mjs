// What a case brought out, as plain text: normalised where two runs of one proxy differ too, and nowhere else.

/**
 * Renders an outcome { clients, upstreams, extra, log, stats } as lines. `ports` maps a port to its name; `own` is the set of texts that the case
 * itself sent (a request id that the client chose is not random).
 */
export function render(outcome, ports, own) {
  const lines = [];
  outcome.clients.forEach((c, i) => lines.push(`client ${i + 1} (${c.state})${c.note ? ` ${c.note}` : ''}:`, ...bytes(c.bytes)));
  for (const [name, saw] of Object.entries(outcome.upstreams)) {
    if (Array.isArray(saw)) saw.forEach((w, i) => lines.push(`upstream ${name} connection ${i + 1} (${w.state})${w.tls ? ` ${JSON.stringify(w.tls)}` : ''}:`, ...bytes(w.bytes)));
    else lines.push(`upstream ${name}: ${saw.sessions} sessions`, ...saw.requests.flatMap((r, i) => h2lines(`request ${i + 1}`, r)));
    if (Array.isArray(saw) && saw.length === 0) lines.push(`upstream ${name}: no connection`);
  }
  if (outcome.extra !== undefined) lines.push('extra:', ...extraLines(outcome.extra));
  if (outcome.log !== undefined) lines.push('log:', ...bytes(outcome.log));
  if (outcome.stats !== undefined) lines.push('stats:', ...outcome.stats.map(s => `  ${s}`));
  return normalise(lines.join('\n'), ports, own);
}

function extraLines(extra) {
  if (Array.isArray(extra)) return extra.flatMap((x, i) => x && typeof x === 'object' && 'headers' in x ? h2lines(`exchange ${i + 1}`, x) : extraLines(x));
  if (extra && typeof extra === 'object' && 'headers' in extra) return h2lines('exchange', extra);
  if (typeof extra === 'string') return bytes(extra);
  return JSON.stringify(extra, null, 2).split('\n').map(l => `  ${l}`);
}

function h2lines(title, r) {
  const { headers, body, trailers, ...rest } = r;
  return [`  ${title}: ${JSON.stringify(rest)}`, ...(headers ?? []).map(([n, v]) => `    ${n}: ${escape(v)}`), `    body ${JSON.stringify(body)}`, ...(trailers ?? []).map(([n, v]) => `    trailer ${n}: ${v}`)];
}

/** CRLF ends a line; every other unprintable byte, and a bare LF, is shown as an escape. */
function bytes(text) {
  if (text === '') return ['  (nothing)'];
  return text.split('\r\n').map(l => `  ${escape(l)}`);
}

function escape(s) {
  return String(s).replace(/[\\\x00-\x1f\x7f-\xff]/g, ch => ch === '\\' ? '\\\\' : ch === '\n' ? '\\n' : ch === '\r' ? '\\r' : ch === '\t' ? '\\t' : `\\x${ch.charCodeAt(0).toString(16).padStart(2, '0')}`);
}

const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g;

export function normalise(text, ports, own) {
  const seen = [];
  return text
    .replace(/\b(date: )\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT/gi, '$1<date>')
    .replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g, '<time>')
    .replace(UUID, id => own.has(id) ? id : `<uuid ${seen.indexOf(id) + 1 || seen.push(id)}>`) // numbered, so that one id stays one id
    .replace(/(x-envoy-expected-rq-timeout-ms: )(\d+)/gi, (_, n, ms) => `${n}${ms % 500 === 0 || ms < 500 && ms % 100 === 0 ? ms : '<what is left>'}`)
    .replace(/(x-envoy-upstream-service-time: )\d+/gi, '$1<n>')
    .replace(/127\.0\.0\.1:(\d{4,5})\b/g, (_, p) => `127.0.0.1:${ports.get(Number(p)) ?? '<port>'}`)
    .replace(/(localhost:|port_value\\?":\s*)(\d{5})\b/g, (_, h, p) => `${h}${ports.get(Number(p)) ?? '<port>'}`);
}

/** A line diff, Envoy's lines with -, ours with +, a little context. */
export function diff(a, b) {
  const [x, y] = [a.split('\n'), b.split('\n')];
  const table = Array.from({ length: x.length + 1 }, () => new Uint32Array(y.length + 1));
  for (let i = x.length - 1; i >= 0; i--) for (let j = y.length - 1; j >= 0; j--) table[i][j] = x[i] === y[j] ? table[i + 1][j + 1] + 1 : Math.max(table[i + 1][j], table[i][j + 1]);
  const out = [];
  let i = 0, j = 0;
  while (i < x.length || j < y.length) {
    if (i < x.length && j < y.length && x[i] === y[j]) { out.push(`  ${x[i]}`); i++; j++; }
    else if (i < x.length && (j >= y.length || table[i + 1][j] >= table[i][j + 1])) out.push(`- ${x[i++]}`);
    else out.push(`+ ${y[j++]}`);
  }
  const keep = new Set();
  out.forEach((l, k) => { if (l[0] !== ' ') for (let d = -3; d <= 3; d++) keep.add(k + d); });
  return out.map((l, k) => keep.has(k) ? l : null).filter((l, k, all) => l !== null || all[k - 1] !== null).map(l => l ?? '  ...').slice(0, 120).join('\n');
}
