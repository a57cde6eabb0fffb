// Loading: without the native part, builders work and everything else fails with a remedy; import and require give the same objects.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..', '..');
const require = createRequire(import.meta.url);
const { platformName } = require('../../npm/lib/native.js');

test('import and require give the same objects', async () => {
  const imported = await import('../../npm/lib/index.mjs');
  const required = require('../../npm/lib/index.js');
  assert.ok(Object.keys(required).length > 5);
  for (const [name, value] of Object.entries(required)) assert.equal(imported[name], value, name);
});

test('the platform is named as the addon file is', () => {
  assert.match(platformName(), /^[a-z0-9]+-[a-z0-9]+(-(gnu|musl))?$/);
  assert.equal(platformName().startsWith(`${process.platform}-${process.arch}`), true);
});

describe('without the native part', () => {
  let folder;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'plenipo-bare-'));
    for (const each of ['lib', 'bin']) cpSync(join(root, 'npm', each), join(folder, 'npm', each), { recursive: true });
  });
  after(() => rmSync(folder, { recursive: true }));

  const run = (code) => spawnSync(process.execPath, ['-e', code], { cwd: folder, encoding: 'utf8', timeout: 30_000 });
  const probe = `
    const p = require('./npm/lib/index.js');
    p.buildCluster('app', ['10.0.0.1:80']);
    const seen = [];
    const note = (e) => seen.push([e instanceof p.ProxyError, e.code, e.message]);
    try { p.validate('{}'); } catch (e) { note(e); }
    try { p.kubernetes.watch({ service: 'a' }); } catch (e) { note(e); }
    Promise.allSettled([new p.Proxy().start(), p.kubernetes.discover({ service: 'a' })]).then((all) => {
      for (const each of all) note(each.reason);
      console.log(JSON.stringify(seen));
    });`;

  test('builders work, the rest names the remedy', () => {
    const { stdout, stderr, status } = run(probe);
    assert.equal(status, 0, stderr);
    const seen = JSON.parse(stdout);
    assert.equal(seen.length, 4);
    for (const [isProxyError, code, message] of seen) {
      assert.equal(isProxyError, true);
      assert.equal(code, 'ERR_PLENIPO_NATIVE_MISSING');
      assert.match(message, new RegExp(platformName()));
      assert.match(message, /npm install --include=optional|Prebuilt are/);
    }
  });

  test('a broken file says why it cannot be loaded', () => {
    const file = join(folder, 'npm', `plenipo.${platformName()}.node`);
    writeFileSync(file, 'not a library');
    try {
      const { stdout, stderr, status } = run(probe);
      assert.equal(status, 0, stderr);
      for (const [, code, message] of JSON.parse(stdout)) {
        assert.equal(code, 'ERR_PLENIPO_NATIVE_MISSING');
        assert.match(message, /could not be loaded: /);
      }
    } finally {
      rmSync(file);
    }
  });

  test('the command fails with the remedy, not with a stack', () => {
    const { stderr, status } = spawnSync(process.execPath, ['npm/bin/plenipo.js', '--version'], { cwd: folder, encoding: 'utf8', timeout: 30_000 });
    assert.equal(status, 1);
    assert.match(stderr, /^plenipo: plenipo has no native part/);
    assert.doesNotMatch(stderr, /\n\s+at /);
  });
});
