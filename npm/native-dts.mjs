// Writes npm/lib/native.d.ts from what napi's macros noted while the addon was compiled; `--check` only compares.
import { readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const file = join(here, 'lib', 'native.d.ts');
const cache = process.env.PLENIPO_CACHE || join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'plenipo');
const target = resolve(process.env.CARGO_TARGET_DIR || join(cache, 'target'));

/** The notes of the newest compilation. */
function newestNotes() {
  const notes = [];
  for (const profile of ['debug', 'release']) {
    const build = join(target, profile, 'build');
    let folders = [];
    try {
      folders = readdirSync(build);
    } catch {
      continue; // That profile was never built.
    }
    for (const folder of folders) {
      const path = join(build, folder, 'out', 'plenipo-node');
      const stat = folder.startsWith('plenipo-node-') ? statSync(path, { throwIfNoEntry: false }) : undefined;
      if (stat?.isFile()) notes.push({ path, at: stat.mtimeMs });
    }
  }
  if (notes.length === 0) throw new Error(`the addon was not built in ${target}; run 'npm run build'`);
  return notes.sort((a, b) => b.at - a.at)[0].path;
}

/** The declarations that the notes stand for. */
export function generate() {
  // cargo clippy compiles the crate twice at once, into the same file: the one that emptied it last is whole, the other's notes are the same ones.
  const lines = new Set(readFileSync(newestNotes(), 'utf8').split('\n').filter(Boolean));
  const items = [...lines].map((line) => JSON.parse(line));
  const classes = new Map();
  const functions = [];
  for (const { kind, name, def, js_doc: doc } of items) {
    if (kind === 'struct') classes.set(name, { doc, members: classes.get(name)?.members ?? [] });
    else if (kind === 'impl') {
      const known = classes.get(name) ?? { doc: '', members: [] };
      known.members.push(...def.split('\n').map((line) => `  ${line.trim().replace(/^static /, 'static ')}`));
      classes.set(name, known);
    } else if (kind === 'fn') functions.push(`${doc}export declare ${def}\n`);
    else throw new Error(`napi noted a ${kind} (${name}), which this program does not know`);
  }
  const texts = [...classes].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, { doc, members }]) => `${doc}export declare class ${name} {\n${members.join('\n')}\n}\n`);
  return `// Made by npm/native-dts.mjs from crate/node; do not edit. What the addon exports; only npm/lib uses it.\n\n${[...texts, ...functions.sort()].join('\n')}`;
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const text = generate();
  if (!process.argv.includes('--check')) writeFileSync(file, text);
  else if (text !== readFileSync(file, 'utf8')) {
    console.error(`npm/lib/native.d.ts is not what crate/node exports; run 'node npm/native-dts.mjs'`);
    process.exitCode = 1;
  }
}
