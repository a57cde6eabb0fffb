// npm/lib/native.d.ts is generated: it must be what the addon that was built exports.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { generate } from '../../npm/native-dts.mjs';

const require = createRequire(import.meta.url);
const committed = readFileSync(new URL('../../npm/lib/native.d.ts', import.meta.url), 'utf8');

test('native.d.ts has not drifted from crate/node', () => {
  assert.equal(generate(), committed, "run 'node npm/native-dts.mjs'");
});

test('native.d.ts names what the addon exports', () => {
  const addon = require('../../npm/lib/native.js').load();
  const declared = [...committed.matchAll(/^export declare (?:class|function) (\w+)/gm)].map(([, name]) => name);
  assert.deepEqual(Object.keys(addon).sort(), declared.sort());
  for (const [, name, body] of committed.matchAll(/^export declare class (\w+) \{\n([^]*?)\n\}/gm)) {
    const members = [...body.matchAll(/^ {2}(?!static)(\w+)\(/gm)].map(([, member]) => member);
    assert.deepEqual(Object.getOwnPropertyNames(addon[name].prototype).sort(), members.sort());
  }
});
