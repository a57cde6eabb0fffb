// `npm start`: installs, builds, and runs the quickstart example; its options are passed on (`npm start -- --help`).
import { main } from './lib/fail.mjs';
import { buildNative, installNodeModules, needNode, needRust } from './lib/setup.mjs';

await main(async () => {
  const options = process.argv.slice(2);
  const quickstart = new URL('../examples/quickstart/main.mjs', import.meta.url);
  const { parse } = await import(new URL('../examples/quickstart/options.mjs', import.meta.url));
  if (!parse(options)) return; // It asked for help only, or a wrong option was named: no need to build first.
  needNode();
  needRust(); // Before anything is installed.
  await installNodeModules();
  await buildNative();
  const { quickstart: go } = await import(quickstart);
  await go(options);
});
