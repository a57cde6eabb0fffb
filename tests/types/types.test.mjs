// index.d.ts: it compiles as programs use it, in both module systems, and names exactly what the package exports.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync, mkdirSync, cpSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..', '..');
const require = createRequire(import.meta.url);

describe('tsc --strict', () => {
  let folder;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'plenipo-types-'));
    mkdirSync(join(folder, 'node_modules'));
    symlinkSync(root, join(folder, 'node_modules', 'plenipo'));
    symlinkSync(join(root, 'node_modules', '@types'), join(folder, 'node_modules', '@types'));
    symlinkSync(join(root, 'node_modules', 'undici-types'), join(folder, 'node_modules', 'undici-types'));
    for (const kind of ['module', 'commonjs']) {
      mkdirSync(join(folder, kind));
      writeFileSync(join(folder, kind, 'package.json'), JSON.stringify({ type: kind }));
      cpSync(join(root, 'tests', 'types', 'use.ts'), join(folder, kind, 'use.ts'));
    }
  });
  after(() => rmSync(folder, { recursive: true }));

  const compile = (kind, ...options) => {
    const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
    const flags = ['--noEmit', '--strict', '--target', 'es2022', '--lib', 'es2023,esnext.disposable', '--types', 'node', '--noUncheckedIndexedAccess', '--exactOptionalPropertyTypes'];
    const result = spawnSync(process.execPath, [tsc, ...flags, ...options, join(kind, 'use.ts')], { cwd: folder, encoding: 'utf8', timeout: 120_000 });
    return { status: result.status, output: result.stdout + result.stderr };
  };

  for (const [kind, ...options] of [
    ['module', '--module', 'node16', '--moduleResolution', 'node16'],
    ['commonjs', '--module', 'node16', '--moduleResolution', 'node16'],
    ['module', '--module', 'esnext', '--moduleResolution', 'bundler'],
  ]) {
    test(`${kind}, ${options.at(-1)}`, () => {
      const { status, output } = compile(kind, ...options);
      assert.equal(status, 0, output);
    });
  }
});

describe('index.d.ts', () => {
  const file = join(root, 'index.d.ts');
  const program = ts.createProgram([file], { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.Node16, moduleResolution: ts.ModuleResolutionKind.Node16, strict: true, types: ['node'] });
  const checker = program.getTypeChecker();
  const exported = checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(file)));
  const values = exported.filter((symbol) => symbol.flags & ts.SymbolFlags.Value);
  const real = require(join(root, 'npm', 'lib', 'index.js'));

  test('names exactly what the package exports, both ways in', async () => {
    const names = values.map((symbol) => symbol.name).sort();
    assert.deepEqual(Object.keys(real).sort(), names);
    const imported = await import(join(root, 'npm', 'lib', 'index.mjs'));
    assert.deepEqual(Object.keys(imported).sort(), names);
    for (const name of names) assert.equal(imported[name], real[name], name);
  });

  test('classes have exactly the members that are declared', () => {
    for (const name of ['Proxy', 'ProxyError', 'ConfigError']) {
      const symbol = values.find((each) => each.name === name);
      const declared = [...symbol.members.values()]
        .filter((member) => !(member.flags & ts.SymbolFlags.Constructor) && !member.escapedName.startsWith('__@'))
        .map((member) => member.name);
      const statics = [...symbol.exports.values()].map((member) => member.name).filter((each) => each !== 'prototype');
      const own = Object.getOwnPropertyNames(real[name].prototype).filter((each) => each !== 'constructor');
      // Fields of errors are set by their constructors, not on the prototype.
      const fields = name === 'ProxyError' ? ['code', 'details'] : name === 'ConfigError' ? ['issues'] : [];
      assert.deepEqual([...own.filter((each) => each !== 'name' || name === 'Proxy'), ...fields].sort(), declared.sort(), name);
      assert.deepEqual(Object.getOwnPropertyNames(real[name]).filter((each) => !['length', 'name', 'prototype'].includes(each)).sort(), statics.sort(), name);
    }
    assert.equal(typeof real.Proxy.prototype[Symbol.asyncDispose], 'function');
    const kubernetes = checker.getTypeOfSymbol(values.find((each) => each.name === 'kubernetes'));
    assert.deepEqual(Object.keys(real.kubernetes).sort(), kubernetes.getProperties().map((each) => each.name).sort());
  });

  test('watches and follows have exactly the members that are declared', () => {
    const { ServiceWatch } = require(join(root, 'npm', 'lib', 'kubernetes.js'));
    const { Follow } = require(join(root, 'npm', 'lib', 'follow.js'));
    for (const [name, type] of Object.entries({ ServiceWatch, Follow })) {
      const declared = [...exported.find((each) => each.name === name).members.values()].map((each) => each.name).filter((each) => !each.startsWith('__@'));
      assert.deepEqual(Object.getOwnPropertyNames(type.prototype).filter((each) => each !== 'constructor').sort(), declared.sort(), name);
    }
  });

  test('every code that the sources can give is declared', () => {
    const text = readFileSync(file, 'utf8');
    const known = new Set(text.match(/ERR_PLENIPO_[A-Z_]+/g));
    const sources = ['npm/lib', 'crate'].flatMap((folder) =>
      ts.sys.readDirectory(join(root, folder), ['.js', '.rs']).flatMap((each) => readFileSync(each, 'utf8').match(/['"]ERR_PLENIPO_[A-Z_]+['"]/g) ?? []),
    );
    assert.ok(sources.length > 10);
    for (const code of new Set(sources.map((each) => each.slice(1, -1)))) assert.ok(known.has(code), code);
  });

  test('every item is documented', () => {
    const source = program.getSourceFile(file);
    const bare = [];
    const visit = (node, path) => {
      const named = ts.isFunctionDeclaration(node) || ts.isClassDeclaration(node) || ts.isInterfaceDeclaration(node) || ts.isTypeAliasDeclaration(node) || ts.isPropertySignature(node) || ts.isMethodSignature(node) || ts.isMethodDeclaration(node) || ts.isPropertyDeclaration(node) || ts.isVariableStatement(node);
      const name = named ? `${path}.${node.name?.getText(source) ?? node.getText(source).slice(0, 40)}` : path;
      // Symbol-named members are the language's own, and KubeConfigLike is another package's.
      const own = !/\[(?:Symbol\.|kind)|KubeConfigLike\.|const kind|\.\{/.test(name);
      if (named && own && ts.getJSDocCommentsAndTags(node).length === 0 && !ts.isTypeLiteralNode(node.parent)) bare.push(name);
      ts.forEachChild(node, (child) => visit(child, name));
    };
    visit(source, '');
    assert.deepEqual(bare, []);
  });
});
