// The quickstart as `npm start` runs it: the proof, staying up and being stopped, and its options.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { get } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import { root } from '../../scripts/lib/paths.mjs';
import { startEmbedded } from '../../examples/quickstart/embedded.mjs';

const LIMIT_MS = 60_000;

/** Runs the quickstart without a terminal; `until` may stop it by SIGTERM once its output fits. */
function quickstart(t, args, until) {
  const child = spawn(process.execPath, [join(root, 'examples', 'quickstart', 'main.mjs'), ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  t.after(() => child.kill('SIGKILL'));
  let output = '';
  const timer = setTimeout(() => child.kill('SIGKILL'), LIMIT_MS);
  return new Promise((resolve, reject) => {
    const take = async (text) => {
      output += text;
      const match = until?.pattern.exec(output);
      if (!match) return;
      const { action } = until;
      until = undefined;
      try {
        await action(match);
        child.kill('SIGTERM');
      } catch (error) {
        reject(error);
      }
    };
    child.stdout.setEncoding('utf8').on('data', take);
    child.stderr.setEncoding('utf8').on('data', take);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, output });
    });
  });
}

function fetchText(url) {
  return new Promise((resolve, reject) => {
    get(url, { agent: false }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text) => {
        body += text;
      });
      response.on('end', () => resolve({ status: response.statusCode, body }));
    }).on('error', reject);
  });
}

test('--once proves the main job and exits with status 0', async (t) => {
  const { code, output } = await quickstart(t, ['--once']);
  assert.equal(code, 0, output);
  assert.match(output, /a stand-in for the Kubernetes API \(it is not Kubernetes\)/);
  assert.match(output, /800 requests sent, 800 answered 200, 0 lost/);
  assert.match(output, /upstream-4 .* joined/);
  assert.match(output, /Proof: discovered, built, pushed/);
});

test('without --once it stays up with proxy and admin page, and SIGTERM stops it cleanly', async (t) => {
  const pattern = /proxy\s+(http:\S+)\n\s+admin\s+(http:\S+)[^]*It stays up/;
  let proxyUrl;
  const { code, signal, output } = await quickstart(t, [], {
    pattern,
    async action([, proxy, admin]) {
      proxyUrl = proxy;
      assert.match((await fetchText(proxy)).body, /^hello from upstream-[234]\n$/);
      assert.equal((await fetchText(`${admin}ready`)).body, 'LIVE\n');
      const { body } = await fetchText(`${admin}clusters`);
      assert.match(body, /^app::/m);
    },
  });
  assert.deepEqual([code, signal], [0, null], output);
  await assert.rejects(fetchText(proxyUrl), { code: 'ECONNREFUSED' });
});

test('--kubeconfig and --service use the API that the file names', async (t) => {
  const embedded = await startEmbedded(2);
  t.after(() => embedded.stop());
  const { code, output } = await quickstart(t, ['--once', '--kubeconfig', embedded.kubeconfig, '--service', 'app', '--port', '80']);
  assert.equal(code, 0, output);
  assert.ok(!output.includes('stand-in'), output);
  for (const { address } of embedded.upstreams) assert.ok(output.includes(address), `${address} is not in\n${output}`);
  assert.match(output, /200\s+upstream-[12]/);
});

test('an API server that refuses the token is an error that names it, with status 1', async (t) => {
  const embedded = await startEmbedded(1);
  t.after(() => embedded.stop());
  const config = JSON.parse(readFileSync(embedded.kubeconfig, 'utf8'));
  config.users[0].user.token = 'tampered';
  writeFileSync(embedded.kubeconfig, JSON.stringify(config));
  const { code, output } = await quickstart(t, ['--once', '--kubeconfig', embedded.kubeconfig, '--service', 'app']);
  assert.equal(code, 1, output);
  assert.match(output, /ERR_PLENIPO_KUBE_AUTH/);
  assert.ok(!output.includes('tampered'));
});

test('a wrong option is named, with status 2, and --help explains all', async (t) => {
  const wrong = await quickstart(t, ['--servise', 'app']);
  assert.equal(wrong.code, 2);
  assert.match(wrong.output, /--servise/);
  const alone = await quickstart(t, ['--service', 'app']);
  assert.equal(alone.code, 2);
  assert.match(alone.output, /go together/);
  const help = await quickstart(t, ['--help']);
  assert.equal(help.code, 0);
  for (const option of ['--once', '--kubeconfig', '--service', '--namespace', '--port', '--listen', '--admin']) assert.ok(help.output.includes(option), option);
});
