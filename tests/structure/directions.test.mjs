// Reads every `use` and path of the engine and holds them to the directions of docs/ARCHITECTURE.md.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..', '..');
const source = join(root, 'crate', 'engine', 'src');

/** Modules on the path of a request: they never see an API message, the door, or where a change came from. */
const DATA_PLANE = ['listener', 'http', 'tcp', 'filter', 'route', 'forward', 'cluster', 'balance', 'upstream', 'tls', 'transport', 'snapshot', 'access_log', 'stats', 'error', 'format', 'stream_info', 'worker'];

/** What a data-plane module may not import. A filter's config.rs and everything in config/ translate API messages, so they may. */
const CONTROL_SIDE = ['config', 'control', 'xds', 'source'];

/** Pure modules: no runtime, so that their tests need none. */
const PURE = ['route', 'balance'];

/** Removes comments and the contents of string literals, so that only code is read. */
export function code(text) {
  return text
    .replace(/\/\*[^]*?\*\//g, '')
    .replace(/r(#*)"[^]*?"\1/g, '""')
    .replace(/"(?:[^"\\]|\\[^])*"/g, '""')
    .replace(/\/\/[^\n]*/g, '');
}

/** Removes the tests at the end of a file: what they use is their own affair. */
function withoutTests(text) {
  const at = text.search(/#\[cfg\(test\)\]\s*(?:pub(?:\([^)]*\))?\s+)?mod\s+\w+\s*\{/);
  return at < 0 ? text : text.slice(0, at);
}

/** The paths that a file names: `use a::{b, c::d}` gives a::b and a::c::d, and a plain `a::b` in the code counts as well. */
export function paths(text) {
  const found = new Set();
  const expand = (prefix, rest) => {
    const part = rest.trim();
    const brace = part.indexOf('{');
    if (brace < 0) {
      found.add(prefix + part.replace(/\s+as\s+\w+$/, ''));
      return;
    }
    const inner = part.slice(brace + 1, part.lastIndexOf('}'));
    let depth = 0;
    let from = 0;
    for (let i = 0; i <= inner.length; i += 1) {
      if (inner[i] === '{') depth += 1;
      if (inner[i] === '}') depth -= 1;
      if ((inner[i] === ',' && depth === 0) || i === inner.length) {
        if (inner.slice(from, i).trim()) expand(prefix + part.slice(0, brace).trim(), inner.slice(from, i));
        from = i + 1;
      }
    }
  };
  const uses = /\buse\s+((?:[^;{}]|\{[^;]*\})+);/g;
  for (const [, tree] of text.matchAll(uses)) expand('', tree);
  for (const [path] of text.replace(uses, '').matchAll(/\b(?:crate|super|plenipo_api|tokio)(?:\s*::\s*\w+)+/g)) found.add(path.replace(/\s/g, ''));
  return [...found].map((path) => path.replace(/^::/, ''));
}

/** A crate-absolute form of `self::` and `super::`, given the module path of the file. */
export function absolute(path, module) {
  const parts = path.split('::');
  if (parts[0] === 'self') return ['crate', ...module, ...parts.slice(1)].join('::');
  let up = 0;
  while (parts[up] === 'super') up += 1;
  return up === 0 ? path : ['crate', ...module.slice(0, Math.max(0, module.length - up)), ...parts.slice(up)].join('::');
}

/** All modules of the engine with the absolute paths that each names. */
function modules() {
  return readdirSync(source, { recursive: true })
    .map(String)
    .filter((file) => file.endsWith('.rs') && !/(^|\/)tests?(\/|\.rs$)|_tests?\.rs$/.test(file))
    .map((file) => {
      const parts = file.replace(/\.rs$/, '').split('/');
      if (['mod', 'lib'].includes(parts.at(-1))) parts.pop();
      const text = withoutTests(code(readFileSync(join(source, file), 'utf8')));
      return { file: relative(root, join(source, file)), parts, imports: paths(text).map((path) => absolute(path, parts)) };
    });
}

const all = modules();
const top = ({ parts }) => parts[0];

/** Whether a file translates API messages by design. */
const translates = ({ parts }) => parts[0] === 'filter' && parts.at(-1) === 'config' && parts.length > 2;

test('there is an engine to look at', () => {
  assert.ok(all.length > 10, `${all.length} files`);
  for (const name of ['http', 'snapshot', 'filter']) assert.ok(all.some((each) => top(each) === name), `no module '${name}'`);
});

test('the data plane never imports the API, the door, or a source of changes', () => {
  const wrong = [];
  for (const each of all) {
    if (!DATA_PLANE.includes(top(each))) continue;
    for (const path of each.imports) {
      const [crate, module] = path.split('::');
      if (crate === 'plenipo_api' && !translates(each)) wrong.push(`${each.file}: ${path}`);
      if (crate === 'crate' && CONTROL_SIDE.includes(module) && !(translates(each) && module === 'config')) wrong.push(`${each.file}: ${path}`);
    }
  }
  assert.deepEqual(wrong, []);
});

test('route and balance are pure: they do not import tokio', () => {
  const wrong = all.filter((each) => PURE.includes(top(each))).flatMap((each) => each.imports.filter((path) => /^tokio\b/.test(path)).map((path) => `${each.file}: ${path}`));
  assert.deepEqual(wrong, []);
});

test('modules of the path do not import upwards', () => {
  const forbidden = {
    upstream: ['forward', 'listener', 'filter', 'route'],
    route: ['forward', 'listener', 'filter', 'upstream', 'cluster'],
    balance: ['forward', 'listener', 'filter', 'upstream', 'route', 'http'],
    tls: ['forward', 'listener', 'filter', 'upstream', 'cluster'], // It may use route's matchers: they are pure.
    forward: ['listener'],
    stats: ['forward', 'listener', 'filter', 'route', 'upstream', 'cluster'],
    error: ['forward', 'listener', 'filter', 'route', 'upstream', 'cluster', 'snapshot'],
  };
  const wrong = [];
  for (const each of all) {
    for (const path of each.imports) {
      const [crate, module] = path.split('::');
      if (crate === 'crate' && forbidden[top(each)]?.includes(module)) wrong.push(`${each.file}: ${path}`);
    }
  }
  assert.deepEqual(wrong, []);
});

test('the engine knows neither napi nor kube', () => {
  const wrong = all.flatMap((each) => each.imports.filter((path) => /^(napi|kube|k8s_openapi|plenipo_(kube|cli|node))\b/.test(path)).map((path) => `${each.file}: ${path}`));
  assert.deepEqual(wrong, []);
});

test('the reader of paths sees through groups, aliases, comments, strings, self and super', () => {
  const text = code(`
    use crate::{config::{self, listener as l}, stats::Counter}; // use crate::xds::Stream;
    /* use crate::control::door; */ let s = "use crate::source::file;"; let r = r#"crate::xds"#;
    fn f() { super::super::control::submit(crate::xds::Ack) }
    use self::inner::X; use super::body::Body;
  `);
  const seen = paths(text).map((path) => absolute(path, ['http', 'connection']));
  for (const path of ['crate::config::self', 'crate::config::listener', 'crate::stats::Counter', 'crate::xds::Ack', 'crate::http::connection::inner::X', 'crate::http::body::Body']) {
    assert.ok(seen.includes(path), `${path} is not in ${seen}`);
  }
  assert.ok(!seen.some((path) => /xds::Stream|door|source/.test(path)), `${seen}`);
});
