// Makes the packages that are published: the main one, and one for each platform with the addon in it.
// The manifest in the clone is private and has no dependency on the platform packages, as those exist only after a release;
// the published one is made from it here.
import { copyFileSync, cpSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Failure } from './fail.mjs';
import { ensureDir, root } from './paths.mjs';
import { mustRun } from './run.mjs';
import { npmEnv } from './setup.mjs';

const platformsDir = join(root, 'npm', 'platforms');
const readJson = (file) => JSON.parse(readFileSync(file, 'utf8'));

/** The manifests of all platform packages, by platform. */
export function platformManifests() {
  return Object.fromEntries(readdirSync(platformsDir).sort().map((name) => [name, readJson(join(platformsDir, name, 'package.json'))]));
}

/** The manifest of the main package as it is published: exact versions of the platform packages, nothing that only a clone needs. */
export function publishedManifest() {
  const { private: _private, scripts: _scripts, devDependencies: _dev, ...manifest } = readJson(join(root, 'package.json'));
  const platforms = Object.values(platformManifests());
  for (const { name, version } of platforms) {
    if (version !== manifest.version) throw new Failure(`${name} has version ${version}, plenipo ${manifest.version}; they must be equal.`);
  }
  return { ...manifest, optionalDependencies: Object.fromEntries(platforms.map(({ name, version }) => [name, version])) };
}

async function npmPack(folder, destination) {
  const { output } = await mustRun('npm pack', 'npm', ['pack', folder, '--pack-destination', destination, '--json', '--ignore-scripts'], { cwd: root, env: npmEnv });
  const [packed] = JSON.parse(output.slice(output.indexOf('[\n')));
  return { file: join(destination, packed.filename), ...packed };
}

/** Stages a package in a temporary folder, packs it, and removes the folder. */
async function staged(destination, manifest, fill) {
  const folder = mkdtempSync(join(tmpdir(), 'plenipo-pack-'));
  try {
    writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
    for (const file of ['LICENSE', 'NOTICE']) copyFileSync(join(root, file), join(folder, file));
    fill(folder);
    return await npmPack(folder, ensureDir(destination));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Packs the main package into `destination`; returns npm's description of it, with `file`, its path. */
export function packMain(destination) {
  const manifest = publishedManifest();
  return staged(destination, manifest, (folder) => {
    for (const each of [...manifest.files, 'README.md']) cpSync(join(root, each), join(folder, each), { recursive: true });
  });
}

/** Packs one platform's package with the addon from the clone into `destination`. */
export function packPlatform(destination, platform) {
  const manifest = platformManifests()[platform];
  if (!manifest) throw new Failure(`there is no package for ${platform}; see npm/platforms.`);
  const addon = join(root, 'npm', manifest.main);
  if (!existsSync(addon)) throw new Failure(`${addon} is missing.`, 'npm run build makes it.');
  return staged(destination, manifest, (folder) => copyFileSync(addon, join(folder, manifest.main)));
}
