// Runs a test file in network and mount namespaces of its own: no port of this machine is taken, its resolv.conf and its
// service account folder can be replaced, and addresses such as a pod's exist nowhere else.
import { spawn, spawnSync } from 'node:child_process';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';

const LIMIT = 240_000;
const MARK = 'PLENIPO_TEST_NAMESPACE';

/**
 * Call it first, with `import.meta.url`. True: this is the process inside, go on. False: the file has run in a child inside,
 * whose reports went to our output and whose status is ours; there is nothing left to do.
 */
export async function inNamespace(url) {
  if (process.env[MARK] === '1') {
    run('ip', 'link', 'set', 'lo', 'up');
    return true;
  }
  // Root of the machine may make namespaces as it is; others are root in a user namespace of their own.
  const flags = process.getuid() === 0 ? ['-nm'] : ['-Urnm'];
  const command = [...flags, '--kill-child', '--fork', process.execPath, ...process.execArgv, fileURLToPath(url)];
  const child = spawn('unshare', command, { stdio: 'inherit', env: { ...process.env, [MARK]: '1' } });
  // A handle that a failed test left open must not keep the run waiting.
  const late = setTimeout(() => {
    console.error(`${fileURLToPath(url)}: not done after ${LIMIT / 1_000} s`);
    child.kill('SIGKILL');
  }, LIMIT);
  const [code, signal] = await new Promise((resolve, reject) => {
    child.once('error', (error) => reject(new Error(`unshare (util-linux) is needed to run these tests: ${error.message}`)));
    child.once('exit', (...end) => resolve(end));
  });
  clearTimeout(late);
  process.exitCode = signal ? 128 + constants.signals[signal] : code;
  return false;
}

/** Runs a command that must succeed; gives its output. */
export function run(command, ...args) {
  const { status, error, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (error) throw new Error(`${command}: ${error.message}`);
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr || stdout}`);
  return stdout.trim();
}
