// `npm run coverage`: prints how many fields of Envoy's API plenipo supports, of all that there are.
import { main } from './lib/fail.mjs';
import { root, targetDir } from './lib/paths.mjs';
import { mustRun } from './lib/run.mjs';
import { needNode, needRust } from './lib/setup.mjs';

await main(async () => {
  needNode();
  needRust();
  const args = ['run', '--locked', '--quiet', '-p', 'plenipo-api', '--example', 'coverage', '--', 'crate/engine/src/config/supported.txt'];
  const { output } = await mustRun('cargo run', 'cargo', args, { cwd: root, env: { CARGO_TARGET_DIR: targetDir, CARGO_TERM_COLOR: 'never' } });
  console.log(output.trim().split('\n').at(-1));
});
