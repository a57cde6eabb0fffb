// h2spec, the HTTP/2 conformance program, against a listener in clear text and one with TLS.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { cluster, freePort, listener, subject, withProxy } from './lib/proxies.mjs';
import { runTool, tool } from './lib/tools.mjs';

/** Every case passes. (Envoy 1.40, by `PROXY=envoy`, passes 134.) A case that may fail is named here, as `section: description`, with the reason. */
const KNOWN = new Map([]);

const upstream = http.createServer((request, response) => request.resume().on('end', () => response.end('0123456789'.repeat(10))));
before(() => new Promise((resolve) => upstream.listen(0, '127.0.0.1', resolve)));
after(() => upstream.close());

/** The cases of a JUnit report: `{ name, failed }`. */
function cases(report) {
  return [...report.matchAll(/<testcase ([^>]*?)(?:\/>|>([\s\S]*?)<\/testcase>)/g)].map(([, attributes, inside = '']) => {
    const attribute = (name) => new RegExp(`\\b${name}="([^"]*)"`).exec(attributes)[1].replaceAll('&#34;', '"').replaceAll('&#39;', "'").replaceAll('&gt;', '>').replaceAll('&lt;', '<').replaceAll('&amp;', '&');
    return { name: `${attribute('package')}: ${attribute('classname')}`, failed: /<(failure|error)\b/.test(inside), skipped: /<skipped\b/.test(inside), why: inside };
  });
}

for (const tls of [false, true]) {
  test(`h2spec, ${tls ? 'TLS' : 'clear text'}`, { timeout: 120_000 }, async () => {
    const h2spec = tool('h2spec');
    const port = await freePort();
    // AUTO takes an invalid preface for HTTP/1 and answers that with 400 before it closes, which h2spec does not expect.
    const manager = { codec_type: tls ? 'AUTO' : 'HTTP2' };
    await withProxy({ listeners: () => [listener('in', port, { cluster: 'up', tls: tls ? ['h2'] : undefined, manager })], clusters: [cluster('up', upstream.address().port)] }, async ({ folder }) => {
      const report = path.join(folder, 'report.xml');
      const { output } = await runTool(h2spec, ['-h', '127.0.0.1', '-p', String(port), '-o', '2', '-j', report, ...(tls ? ['-t', '-k'] : [])], { timeoutMs: 100_000 });
      const all = cases(fs.readFileSync(report, 'utf8'));
      const failed = all.filter((each) => each.failed).map((each) => each.name);
      if (subject === 'envoy') console.log(`${failed.length} of ${all.length} failed`, failed);
      assert.equal(all.length, 145, output.slice(-2000));
      assert.deepEqual(failed.filter((name) => !KNOWN.has(name)), [], output.slice(output.indexOf('Failures:')));
      assert.deepEqual([...KNOWN.keys()].filter((name) => !failed.includes(name)), [], 'these pass now: take them out of KNOWN');
    });
  });
}
