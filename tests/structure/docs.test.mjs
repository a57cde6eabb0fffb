// What the documents on the code's structure name exists: files and folders in backticks, and the methods of types.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..', '..');
const source = join(root, 'crate', 'engine', 'src');
const DOCUMENTS = ['ARCHITECTURE.md', 'life-of-a-request.md', 'life-of-an-update.md'];
const files = readdirSync(source, { recursive: true }).map((file) => String(file).replaceAll('\\', '/'));
const code = files.filter((file) => file.endsWith('.rs')).map((file) => readFileSync(join(source, file), 'utf8')).join('\n');

/** The texts in backticks of a document, code blocks left out. */
function quoted(name) {
  const text = readFileSync(join(root, 'docs', name), 'utf8').replace(/```[^]*?```/g, '');
  return [...text.matchAll(/`([^`\n]+)`/g)].map(([, each]) => each);
}

const isPath = (text) => /^[\w./-]+$/.test(text) && (/\.(?:rs|md|txt|mjs|yaml)$/.test(text) || /^(?:crate|docs|npm|tests|bench|examples|scripts)\//.test(text));
/** From the root, from the engine's sources, or the end of a path in these. */
const exists = (path) => existsSync(join(root, path)) || existsSync(join(source, path)) || files.some((file) => file.endsWith(`/${path}`));

test('every path that the documents name exists', () => {
  for (const name of DOCUMENTS) {
    const paths = quoted(name).filter(isPath);
    assert.ok(paths.length > 3, `${name} names no paths`);
    assert.deepEqual(paths.filter((path) => !exists(path)), [], name);
  }
});

test('every method that the documents name exists', () => {
  for (const name of DOCUMENTS) {
    const methods = quoted(name).filter((text) => /^[A-Z]\w+::\w+$/.test(text));
    const missing = methods.filter((text) => {
      const [type, member] = text.split('::');
      return !new RegExp(`\\b(?:struct|enum|trait) ${type}\\b`).test(code) || !new RegExp(`\\b(?:fn ${member}\\b|${member}\\b\\s*[:({,])`).test(code);
    });
    assert.deepEqual(missing, [], name);
  }
});
