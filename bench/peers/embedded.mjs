// plenipo embedded in Node as a peer: `node embedded.mjs CONFIG`. It finds the package in the folder that it is run in.
import { createRequire } from 'node:module';
import { join } from 'node:path';

const { Proxy } = createRequire(join(process.cwd(), 'index.js'))('plenipo');
const proxy = await Proxy.fromFile(process.argv[2], { concurrency: 1 });
await proxy.start();
process.on('SIGTERM', () => proxy.stop({ force: true }));
