// Asks real Envoy whether it would load a configuration.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';

const cache = process.env.PLENIPO_CACHE || join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'plenipo');

/** Real Envoy 1.40, which `npm test` installs. */
export const envoyBin = process.env.ENVOY_BIN || join(cache, 'venv', 'bin', 'envoy');

/** Envoy's verdict on a bootstrap: `{ ok, output }`. */
export function envoyValidate(bootstrap) {
  const folder = mkdtempSync(join(tmpdir(), 'plenipo-envoy-'));
  try {
    const file = join(folder, 'envoy.json');
    writeFileSync(file, JSON.stringify(bootstrap));
    const result = spawnSync(envoyBin, ['--mode', 'validate', '-c', file, '-l', 'warning', '--use-dynamic-base-id'], {
      encoding: 'utf8',
      timeout: 60_000,
    });
    if (result.error) throw result.error;
    return { ok: result.status === 0, output: `${result.stdout}${result.stderr}` };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
