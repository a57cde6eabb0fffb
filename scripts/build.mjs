// `npm run build`: installs packages and builds the addon into the clone, nothing else. `-- --release` optimises it.
import { main } from './lib/fail.mjs';
import { buildNative, installNodeModules, needNode } from './lib/setup.mjs';

await main(async () => {
  needNode();
  await installNodeModules();
  const program = await buildNative({ program: true, release: process.argv.includes('--release') });
  console.log(`program: ${program}`);
});
