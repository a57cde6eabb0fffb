// `npm run pack`: builds the addon optimised and writes the tarballs of the main package and of this platform's into dist/.
import { join, relative } from 'node:path';
import { main } from './lib/fail.mjs';
import { packMain, packPlatform } from './lib/pack.mjs';
import { platform, root } from './lib/paths.mjs';
import { buildNative, installNodeModules, needNode } from './lib/setup.mjs';

await main(async () => {
  needNode();
  await installNodeModules();
  await buildNative({ release: true });
  const destination = join(root, 'dist');
  for (const { file, size } of [await packPlatform(destination, platform), await packMain(destination)]) {
    console.log(`${relative(root, file)}  ${(size / 1e6).toFixed(1)} MB`);
  }
});
