// Holds the table of clauses in tests/parity/README.md to the cases: at least three for each clause, one of them hostile.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';

const parity = resolve(dirname(fileURLToPath(import.meta.url)), '..', 'parity');

async function caseNames() {
  const files = readdirSync(join(parity, 'cases')).filter((file) => file.endsWith('.mjs'));
  const modules = await Promise.all(files.map((file) => import(pathToFileURL(join(parity, 'cases', file)).href)));
  return modules.flatMap((module) => [module.default].flat()).flatMap((suite) => suite.cases.map((each) => `${suite.name}/${each.name}`));
}

test('every clause has three cases, one of them hostile', async () => {
  const names = await caseNames();
  const rows = readFileSync(join(parity, 'README.md'), 'utf8').split('\n').filter((line) => /^\| .* \| `.*` \| `.*` \|$/.test(line));
  assert.ok(rows.length > 60, 'the table is there');
  const wrong = [];
  for (const row of rows) {
    const [clause, cases, hostile] = row.slice(2, -2).split(' | ');
    const prefixes = [...cases.matchAll(/`([^`]+)`/g)].map(([, prefix]) => prefix);
    const found = names.filter((name) => prefixes.some((prefix) => name.startsWith(prefix)));
    if (found.length < 3) wrong.push(`${clause}: ${found.length} cases`);
    for (const prefix of [...prefixes, hostile.replaceAll('`', '')]) {
      if (!names.some((name) => name.startsWith(prefix))) wrong.push(`${clause}: no case begins with ${prefix}`);
    }
  }
  assert.deepEqual(wrong, []);
});
