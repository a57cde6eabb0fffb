// The packages as a user gets them: packed, installed in an empty folder without cargo, and used in every way that package.json promises.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { packMain, packPlatform, publishedManifest, platformManifests } from '../../scripts/lib/pack.mjs';
import { platform, root } from '../../scripts/lib/paths.mjs';
import { which } from '../../scripts/lib/run.mjs';

const exec = promisify(execFile);
const folder = realpathSync(mkdtempSync(join(tmpdir(), 'plenipo-package-')));
const app = join(folder, 'app');
const bin = (name) => join(root, 'node_modules', '.bin', name);
let main;
let native;

// Only Node, npm and a shell: nothing that could build the addon.
const tools = join(folder, 'bin');
mkdirSync(tools);
symlinkSync(process.execPath, join(tools, 'node'));
for (const name of ['npm', 'npx', 'sh', 'env']) symlinkSync(which(name), join(tools, name));
const env = { HOME: folder, PATH: tools, npm_config_cache: join(folder, 'npm-cache'), npm_config_offline: 'true', npm_config_update_notifier: 'false' };

/** Runs a program in the app's folder. Rejects with its output when it fails. */
async function run(file, args, options = {}) {
  try {
    const { stdout } = await exec(file, args, { cwd: app, env, timeout: 120_000, ...options });
    return stdout;
  } catch (error) {
    error.message += `\n${error.stdout}\n${error.stderr}`;
    throw error;
  }
}

function write(name, text) {
  writeFileSync(join(app, name), text);
  return join(app, name);
}

before(async () => {
  native = await packPlatform(folder, platform);
  main = await packMain(folder);
  mkdirSync(app);
  write('package.json', '{ "name": "app", "version": "1.0.0", "private": true }\n');
  await run(join(tools, 'npm'), ['install', '--no-audit', '--no-fund', main.file, native.file]);
});
after(() => rmSync(folder, { recursive: true, force: true }));

test('the main package holds what it needs and nothing else', () => {
  const files = main.files.map(({ path }) => path);
  for (const file of ['LICENSE', 'NOTICE', 'README.md', 'CHANGELOG.md', 'index.d.ts', 'index.d.mts', 'npm/bin/plenipo.js', 'npm/lib/index.js', 'npm/lib/index.mjs']) {
    assert.ok(files.includes(file), `${file} is missing`);
  }
  const foreign = files.filter((file) => !/^(LICENSE|NOTICE|README\.md|CHANGELOG\.md|package\.json|index\.d\.m?ts|npm\/(lib|bin)\/[\w.-]+\.(m?js|d\.ts))$/.test(file));
  assert.deepEqual(foreign, []);
});

test('the manifest names exact platform packages, has no script, and fits the platform manifests', () => {
  const manifest = publishedManifest();
  assert.equal(manifest.private, undefined);
  assert.equal(manifest.scripts, undefined);
  assert.equal(manifest.dependencies, undefined);
  assert.equal(manifest.engines.node, '>=20');
  const platforms = platformManifests();
  assert.deepEqual(manifest.optionalDependencies, Object.fromEntries(Object.values(platforms).map(({ name }) => [name, manifest.version])));
  for (const [name, each] of Object.entries(platforms)) {
    const [os, cpu, libc] = name.split('-');
    assert.deepEqual([each.name, each.os, each.cpu, each.libc], [`@plenipo/${name}`, [os], [cpu], libc === 'gnu' ? ['glibc'] : libc && [libc]]);
    assert.equal(each.main, `plenipo.${name}.node`);
    assert.equal(each.scripts, undefined);
  }
  const lockfile = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));
  assert.equal(lockfile.packages[''].version, manifest.version);
});

test('import and require give the same binding', async () => {
  const script = write('both.mjs', `
    import assert from 'node:assert/strict';
    import { createRequire } from 'node:module';
    import * as imported from 'plenipo';
    const required = createRequire(import.meta.url)('plenipo');
    assert.equal(imported.ConfigError, required.ConfigError);
    assert.equal(imported.Proxy, required.Proxy);
    const cluster = imported.buildCluster('app', ['127.0.0.1:80']);
    assert.equal(cluster.name, 'app');
    const proxy = new required.Proxy({ admin: 0 });
    await proxy.start();
    assert.equal(proxy.state, 'live');
    await proxy.stop();
    console.log('ok');
  `);
  assert.equal(await run(process.execPath, [script]), 'ok\n');
});

test('npx plenipo --version answers without a registry', async () => {
  // With the two dashes, as npm 11's npx takes what follows `--no` for its value otherwise.
  const out = await run(join(tools, 'npx'), ['--no', '--', 'plenipo', '--version']);
  assert.match(out, new RegExp(publishedManifest().version.replaceAll('.', '\\.')));
});

for (const [module, resolution, file] of [['node16', 'node16', 'use.mts'], ['node16', 'node16', 'use.cts'], ['esnext', 'bundler', 'use.ts']]) {
  test(`tsc --strict accepts it as ${module} with ${resolution} (${file})`, async () => {
    const source = (argument) => `
      import { buildCluster, ConfigError, Proxy, type ApplyResult } from 'plenipo';
      export async function push(proxy: Proxy): Promise<ApplyResult> {
        try {
          return await proxy.apply({ clusters: [buildCluster('app', ['127.0.0.1:80'])] });
        } catch (error) {
          if (error instanceof ConfigError) console.error(error.issues.length, error.code);
          throw error;
        }
      }
      buildCluster(${argument}, []);
    `;
    const tsc = (path) =>
      run(bin('tsc'), ['--strict', '--noEmit', '--target', 'es2022', '--module', module, '--moduleResolution', resolution, '--typeRoots', join(root, 'node_modules', '@types'), '--types', 'node', path]);
    await tsc(write(file, source("'app'")));
    await assert.rejects(tsc(write(file, source('1'))), /TS2345|TS2769/); // The types are really read.
  });
}

test("the README's example fits the types, and so does index.d.ts's own", async () => {
  const readme = readFileSync(join(root, 'README.md'), 'utf8');
  const [, example] = /```js\n([^]*?)```/.exec(readme);
  assert.match(example, /from 'plenipo'/);
  const declared = [...readFileSync(join(root, 'index.d.ts'), 'utf8').matchAll(/@example (.*)/g)].map(([, code]) => `${code};`);
  assert.ok(declared.length > 0);
  const imports = "import { buildCluster, buildRoute } from 'plenipo';";
  for (const [name, text] of [['readme.mts', example], ['declared.mts', [imports, ...declared].join('\n')]]) {
    await run(bin('tsc'), ['--strict', '--noEmit', '--target', 'es2022', '--module', 'node16', '--typeRoots', join(root, 'node_modules', '@types'), '--types', 'node', write(name, text)]);
  }
});

test('publint finds nothing', async () => {
  const { publint } = await import('publint');
  const { messages } = await publint({ pkgDir: join(app, 'node_modules', 'plenipo'), pack: false, strict: true });
  assert.deepEqual(messages, []);
});

test('attw finds nothing', async () => {
  await run(bin('attw'), [main.file, '--no-color', '--no-emoji'], { env: { ...process.env } });
});

test('an esbuild bundle with it external runs', async () => {
  write('entry.mjs', `import { buildCluster } from 'plenipo'; console.log(buildCluster('app', []).name);`);
  for (const format of ['esm', 'cjs']) {
    const out = join(app, `bundle.${format === 'esm' ? 'mjs' : 'cjs'}`);
    await run(bin('esbuild'), ['entry.mjs', '--bundle', '--platform=node', `--format=${format}`, '--external:plenipo', `--outfile=${out}`]);
    assert.equal(await run(process.execPath, [out]), 'app\n');
  }
});

test('without the platform package: ERR_PLENIPO_NATIVE_MISSING and what to do, and the builders still work', async () => {
  const bare = join(folder, 'bare');
  mkdirSync(bare);
  writeFileSync(join(bare, 'package.json'), '{ "name": "bare", "version": "1.0.0", "private": true }\n');
  await run(join(tools, 'npm'), ['install', '--no-audit', '--no-fund', '--omit=optional', main.file], { cwd: bare });
  assert.ok(!existsSync(join(bare, 'node_modules', '@plenipo')));
  writeFileSync(join(bare, 'try.cjs'), `
    const { Proxy, buildCluster } = require('plenipo');
    buildCluster('app', []);
    new Proxy({}).start().then(() => process.exit(3), (error) => console.log(JSON.stringify([error.code, error.message])));
  `);
  const [code, message] = JSON.parse(await run(process.execPath, ['try.cjs'], { cwd: bare }));
  assert.equal(code, 'ERR_PLENIPO_NATIVE_MISSING');
  assert.match(message, new RegExp(`${platform}.*npm install --include=optional`, 's'));
});

test('the addon needs no newer glibc than the README states', { skip: process.platform === 'linux' ? false : 'not Linux' }, () => {
  const stated = /glibc (\d+\.\d+) or newer/.exec(readFileSync(join(root, 'README.md'), 'utf8'))?.[1];
  assert.ok(stated, 'the README states no floor');
  assert.ok(readFileSync(join(root, 'npm', 'lib', 'native.js'), 'utf8').includes(`glibc ${stated} or newer`), 'the loader states another floor');
  const addon = readFileSync(join(app, 'node_modules', '@plenipo', platform, basename(native.files.find(({ path }) => path.endsWith('.node')).path)), 'latin1');
  const needed = [...addon.matchAll(/GLIBC_2\.(\d+)/g)].map((match) => Number(match[1]));
  assert.ok(needed.length > 0);
  assert.ok(Math.max(...needed) <= Number(stated.split('.')[1]), `it needs glibc 2.${Math.max(...needed)}, the README says ${stated}`);
});
