// How long the choice of a route takes, without a proxy around it: an example program of the engine, optimised.
import { root } from '../../scripts/lib/paths.mjs';
import { mustRun } from '../../scripts/lib/run.mjs';

const MINUTE = 60_000;
const CARGO = ['--quiet', '--locked', '--release', '-p', 'plenipo-engine', '--example', 'lookups'];

/** Nanoseconds of a lookup by kind of condition and by number of routes or virtual hosts: { exact: { 10: 45, …, 10000: 190 }, … }. */
export async function measureLookups(core) {
  console.log('  lookups: cargo build, optimised');
  await mustRun('cargo build', 'cargo', ['build', ...CARGO], { cwd: root, timeoutMs: 20 * MINUTE });
  const { output } = await mustRun('lookups', 'taskset', ['-c', String(core), 'cargo', 'run', ...CARGO], { cwd: root, timeoutMs: MINUTE });
  return JSON.parse(output.trim().split('\n').at(-1));
}
