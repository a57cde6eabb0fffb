// `npm test`: installs what the tests need, runs every suite, and ends in a line `N passed, N failed`.
// `npm test -- --only rust,node` runs some of them, `-- --list` names them.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Failure, main } from './lib/fail.mjs';
import { cacheDir, ensureDir, logDir, root, targetDir } from './lib/paths.mjs';
import { mustRun, needTool, seconds } from './lib/run.mjs';
import { buildNative, installDebian, installEnvoy, installNodeModules, needNode, needRust } from './lib/setup.mjs';
import { cargoTest, check, countingProgram, nodeTest } from './lib/suites.mjs';

const MINUTE = 60_000;

// What every suite's programs see: where cargo builds, where our program and the oracle are, and no colours.
const env = { PLENIPO_CACHE: cacheDir, CARGO_TARGET_DIR: targetDir, CARGO_TERM_COLOR: 'never', NO_COLOR: '1', FORCE_COLOR: '0' };

/** Each preparation is done once, by the first suite that needs it. */
const prepared = new Map();
function once(name, body) {
  return () => {
    if (!prepared.has(name)) prepared.set(name, body());
    return prepared.get(name);
  };
}

const packages = once('packages', installNodeModules);
const native = once('native', async () => {
  env.PLENIPO_BIN = await buildNative({ program: true });
});
const envoy = once('envoy', async () => {
  env.ENVOY_BIN = await installEnvoy();
});
const commands = once('commands', () => installDebian({ ip: 'iproute2', openssl: 'openssl', curl: 'curl', cc: 'gcc' }));
const apiServer = once('kube-apiserver', async () => {
  needTool('go', 'to build kube-apiserver for the Kubernetes tests', 'Install Go 1.26 or newer.');
  console.log('kube-apiserver, kube-controller-manager and etcd: building, unless the cache has them');
  await mustRun('tests/kubernetes/ensure.sh', 'bash', ['tests/kubernetes/ensure.sh'], { cwd: root, env, timeoutMs: 20 * MINUTE });
});

const conformance = once('conformance', async () => {
  needTool('go', 'to build the conformance programs', 'Install Go 1.26 or newer.');
  console.log('h2spec, connectconformance and gRPC interop: building, unless the cache has them');
  await mustRun('tests/conformance/tools/ensure.sh', 'bash', ['tests/conformance/tools/ensure.sh'], { cwd: root, env, timeoutMs: 20 * MINUTE });
});

const h3peer = once('h3peer', async () => {
  needTool('go', 'to build the HTTP/3 peer of the parity tests', 'Install Go 1.26 or newer.');
  await mustRun('tests/parity/h3peer/ensure.sh', 'bash', ['tests/parity/h3peer/ensure.sh'], { cwd: root, env, timeoutMs: 10 * MINUTE });
});

const browser = once('browser', () => installDebian({ chromium: 'chromium' }));

const suites = {
  format: {
    what: 'cargo fmt --check',
    needs: [needRust],
    run: () => check('format', 'cargo', ['fmt', '--all', '--check', '--', '--color', 'never'], { env, timeoutMs: 2 * MINUTE }),
  },
  lint: {
    what: 'cargo clippy, warnings are errors',
    needs: [needRust],
    run: () => check('lint', 'cargo', ['clippy', '--locked', '--workspace', '--all-targets', '--', '-D', 'warnings'], { env, timeoutMs: 20 * MINUTE }),
  },
  structure: {
    what: "the modules' directions, generated files, and what the repository may hold",
    needs: [packages],
    run: () => nodeTest('structure', ['tests/structure'], { env, timeoutMs: 5 * MINUTE }),
  },
  rust: {
    what: 'cargo test, every crate',
    needs: [needRust, commands, native, envoy, apiServer],
    run: () => cargoTest('rust', ['--workspace'], { env, timeoutMs: 30 * MINUTE }),
  },
  types: {
    what: 'index.d.ts',
    needs: [packages, native],
    run: () => nodeTest('types', ['tests/types'], { env, timeoutMs: 5 * MINUTE }),
  },
  node: {
    what: 'the Node API',
    needs: [packages, commands, native, envoy],
    run: () => nodeTest('node', ['tests/node'], { env, timeoutMs: 15 * MINUTE, concurrency: 2 }),
  },
  parity: {
    what: 'the same bytes to real Envoy and to us',
    needs: [packages, commands, native, envoy, h3peer],
    run: () => countingProgram('parity', process.execPath, ['tests/parity/run.mjs'], { env, timeoutMs: 8 * MINUTE }),
  },
  conformance: {
    what: "others' conformance programs",
    needs: [packages, commands, native, conformance, browser],
    run: () => nodeTest('conformance', ['tests/conformance'], { env, timeoutMs: 10 * MINUTE, concurrency: 1 }),
  },
  kubernetes: {
    what: 'a real kube-apiserver',
    needs: [packages, commands, native, apiServer],
    run: () => nodeTest('kubernetes', ['tests/kubernetes'], { env, timeoutMs: 20 * MINUTE, concurrency: 1 }),
  },
  examples: {
    what: 'the examples',
    needs: [packages, native],
    run: () => nodeTest('examples', ['tests/examples'], { env, timeoutMs: 10 * MINUTE, concurrency: 1 }),
  },
  package: {
    what: 'the packed packages, installed elsewhere',
    needs: [packages, native],
    run: () => nodeTest('package', ['tests/package'], { env, timeoutMs: 10 * MINUTE, concurrency: 1 }),
  },
};

/** One suite, with what it needs; whatever goes wrong is a failure of that suite, and so is running no test at all. */
async function runSuite(name) {
  const started = performance.now();
  const suite = suites[name];
  console.log(`\n== ${name}: ${suite.what}`);
  let result;
  try {
    for (const prepare of suite.needs) await prepare();
    result = await suite.run();
    if (result.passed + result.failed === 0) result = { ...result, failed: 1, detail: 'it ran no test' };
  } catch (error) {
    result = { passed: 0, failed: 1, skipped: 0, detail: error instanceof Failure ? error.message : error.stack };
  }
  if (result.failed > 0) console.log(result.detail);
  const log = join(logDir, `${name}.log`);
  console.log(`${name}: ${result.passed} passed, ${result.failed} failed${result.skipped ? `, ${result.skipped} skipped` : ''} in ${seconds(started)}${existsSync(log) ? ` (${log})` : ''}`);
  return { name, ...result, took: seconds(started) };
}

await main(async () => {
  const { values } = parseArgs({ options: { only: { type: 'string' }, list: { type: 'boolean', default: false } } });
  if (values.list) {
    for (const [name, suite] of Object.entries(suites)) console.log(`${name.padEnd(12)}${suite.what}`);
    return;
  }
  const names = values.only ? values.only.split(',') : Object.keys(suites);
  for (const name of names) {
    if (!suites[name]) throw new Failure(`there is no suite '${name}'; there are: ${Object.keys(suites).join(', ')}.`);
  }
  needNode();
  const started = performance.now();
  const results = [];
  for (const name of names) results.push(await runSuite(name));

  const sum = (key) => results.reduce((total, each) => total + each[key], 0);
  console.log(`\n${'suite'.padEnd(12)}${'passed'.padStart(8)}${'failed'.padStart(8)}${'time'.padStart(12)}`);
  for (const { name, passed, failed, took } of results) console.log(`${name.padEnd(12)}${String(passed).padStart(8)}${String(failed).padStart(8)}${took.padStart(12)}`);
  console.log(`in ${seconds(started)}\n`);
  console.log(`${sum('passed')} passed, ${sum('failed')} failed${sum('skipped') ? `, ${sum('skipped')} skipped` : ''}`);
  if (sum('failed') > 0) process.exitCode = 1;
});
