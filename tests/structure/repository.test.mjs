// Holds the repository to its habits: a lockfile for any registry, no lifecycle hooks, first lines that say what a file does.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..', '..');
const json = (file) => JSON.parse(readFileSync(join(root, file), 'utf8'));
const files = execFileSync('git', ['ls-files', '-z'], { cwd: root, encoding: 'utf8' }).split('\0').filter((file) => file && existsSync(join(root, file)));

test('the lockfile records no registry address', () => {
  const { packages } = json('package-lock.json');
  const wrong = Object.entries(packages).filter(([, entry]) => entry.resolved && !entry.link).map(([name]) => name);
  assert.deepEqual(wrong, []);
  assert.ok(Object.keys(packages).length > 1);
});

test('package.json has no lifecycle hook and only exact versions', () => {
  const { scripts, devDependencies, dependencies, private: isPrivate } = json('package.json');
  const hooks = /^(pre|post)|^(install|prepare|publish|version|dependencies)$/;
  assert.deepEqual(Object.keys(scripts).filter((name) => hooks.test(name)), []);
  for (const [name, version] of Object.entries(devDependencies)) assert.match(version, /^\d+\.\d+\.\d+$/, name);
  assert.equal(dependencies, undefined);
  assert.equal(isPrivate, true);
});

test('npm start and npm test use nothing but what Node brings', () => {
  const own = files.filter((file) => /^scripts\/.*\.mjs$/.test(file));
  assert.ok(own.length >= 5);
  for (const file of own) {
    for (const [, name] of readFileSync(join(root, file), 'utf8').matchAll(/^\s*(?:import|export)\b[^'"]*?from\s+'([^']+)'/gm)) {
      assert.match(name, /^(node:|\.)/, `${file} imports ${name}`);
    }
  }
});

test('the first line of every source file says what it does', () => {
  const sources = files.filter((file) => /\.(rs|mjs|cjs|js|sh|d\.ts)$/.test(file));
  const wrong = sources.filter((file) => {
    const [first, second = ''] = readFileSync(join(root, file), 'utf8').split('\n');
    const line = first.startsWith('#!') ? second : first;
    return !/^(\/\/[/!]?|#|\/\*\*?)\s*\S.{6}/.test(line);
  });
  assert.deepEqual(wrong, []);
});

test('no test is skipped or left for later, and no code is a stub', () => {
  const wrong = [];
  for (const file of files.filter((each) => /\.(rs|mjs|cjs|js)$/.test(each))) {
    const text = readFileSync(join(root, file), 'utf8');
    if (/^\s*#\[ignore\b/m.test(text)) wrong.push(`${file}: an ignored test`);
    if (/\b(?:test|it|describe)\.(?:skip|todo|only)\(/.test(text)) wrong.push(`${file}: a test that is skipped or alone`);
    if (file.endsWith('.rs') && /^\s*(?!\/\/).*\b(?:todo|unimplemented|dbg)!\(/m.test(text)) wrong.push(`${file}: a stub`);
  }
  assert.deepEqual(wrong, []);
});

test('nothing that is built or downloaded is committed', () => {
  const wrong = files.filter((file) => /\.(node|so|dylib|dll|exe|tgz)$|^(target|node_modules|dist)\//.test(file) || statSync(join(root, file)).size > 2 << 20);
  assert.deepEqual(wrong, []);
});

test('links between documents lead somewhere', () => {
  const wrong = [];
  for (const file of files.filter((each) => each.endsWith('.md'))) {
    for (const [, link] of readFileSync(join(root, file), 'utf8').matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)) {
      if (!/^[a-z]+:/.test(link) && !existsSync(join(root, dirname(file), link))) wrong.push(`${file}: ${link}`);
    }
  }
  assert.deepEqual(wrong, []);
});
