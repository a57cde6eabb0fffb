// Throw-away certificates: a CA, and a certificate for `app.local` and 127.0.0.1 that it signed.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Makes PEM texts `{ ca, cert, key }`. */
export function makeCerts() {
  const folder = mkdtempSync(join(tmpdir(), 'plenipo-certs-'));
  const openssl = (...args) => execFileSync('openssl', args, { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] });
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  try {
    openssl('req', '-x509', ...newKey, '-keyout', 'ca.key', '-out', 'ca.pem', '-days', '2', '-subj', '/CN=test CA');
    openssl('req', ...newKey, '-keyout', 'key.pem', '-out', 'req.pem', '-subj', '/CN=app.local');
    writeFileSync(join(folder, 'ext'), 'subjectAltName=DNS:app.local,IP:127.0.0.1\n');
    openssl('x509', '-req', '-in', 'req.pem', '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2', '-extfile', 'ext', '-out', 'cert.pem');
    const read = (name) => readFileSync(join(folder, name), 'utf8');
    return { ca: read('ca.pem'), cert: read('cert.pem'), key: read('key.pem') };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
