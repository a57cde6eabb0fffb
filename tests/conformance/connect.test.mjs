// connectconformance: Connect, gRPC and gRPC-Web calls of a reference client through the proxy to a reference server, HTTP/1.1 and HTTP/2, clear text and TLS.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { runTool, tool } from './lib/tools.mjs';

/** How many cases the program makes of its default features and this one; without TLS and with protobuf only they are 1130. */
const CASES = 3800;
const CONFIG = 'features:\n  supportsHalfDuplexBidiOverHttp1: true\n';
/** Patterns of cases that may fail, each with its reason above it. The program itself demands that they do fail. */
const KNOWN = [];

test('connectconformance: every case passes', { timeout: 150_000 }, async () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'plenipo-connect-'));
  try {
    const config = path.join(folder, 'features.yaml');
    fs.writeFileSync(config, CONFIG);
    const wrapper = path.join(import.meta.dirname, 'lib', 'connect-server.mjs');
    const args = ['--mode', 'server', '--conf', config, ...KNOWN.flatMap((each) => ['--known-failing', each]), '--', process.execPath, wrapper, tool('referenceserver'), folder];
    const { code, output } = await runTool(tool('connectconformance'), args, { timeoutMs: 120_000 });
    assert.equal(code, 0, output.slice(-10_000));
    assert.match(output, new RegExp(`^${CASES - KNOWN.length} passed, 0 failed`, 'm'), output.slice(-10_000));
    const carried = fs.readdirSync(folder).filter((file) => file.endsWith('.requests')).map((file) => Number(fs.readFileSync(path.join(folder, file), 'utf8')));
    const all = carried.reduce((sum, each) => sum + each, 0);
    // A call that its client cancels at once may never leave it.
    assert.ok(all >= CASES * 0.95, `only ${all} requests went through the proxy`);
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
});
