// Runs the load generators, wrk and h2load, and reads what they print.
import { execFile } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { promisify } from 'node:util';

const exec = promisify(execFile);
const options = (seconds) => ({ timeout: (seconds + 30) * 1000, maxBuffer: 1 << 26 });

const UNITS = { us: 1e-3, ms: 1, s: 1e3, m: 6e4 };

/** wrk's and h2load's times, such as `1.23ms`, in milliseconds. */
export function milliseconds(text) {
  const [, number, unit] = /^([\d.]+)(us|ms|s|m)$/.exec(text) ?? [];
  if (!unit) throw new Error(`'${text}' is no time`);
  return Number(number) * UNITS[unit];
}

/** Reads wrk's report with `--latency`. */
export function readWrk(text) {
  const [, requests, took] = /(\d+) requests in ([\d.]+m?u?s)/.exec(text) ?? [];
  if (!requests) throw new Error(`wrk said:\n${text}`);
  const bad = /Non-2xx or 3xx responses: (\d+)/.exec(text)?.[1];
  const sockets = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(text);
  const at = (percent) => milliseconds(new RegExp(`^\\s+${percent}%\\s+(\\S+)`, 'm').exec(text)[1]);
  const seconds = milliseconds(took) / 1000;
  return {
    requests: Number(requests),
    seconds,
    failed: Number(bad ?? 0) + (sockets ? sockets.slice(1).reduce((sum, each) => sum + Number(each), 0) : 0),
    p50: at(50),
    p99: at(99),
  };
}

/** HTTP/1.1 for some seconds over kept-alive connections. */
export async function wrk(core, url, { seconds, connections = 64, headers = [] }) {
  const args = ['-c', String(core), 'wrk', '-t1', `-c${connections}`, `-d${seconds}s`, '--latency', '--timeout', '5s', '-H', 'Host: app.local'];
  for (const header of headers) args.push('-H', header);
  const { stdout } = await exec('taskset', [...args, url], options(seconds));
  return readWrk(stdout);
}

/** Reads h2load's report, and its log of one line a request: start, status, microseconds. */
export function readH2load(text, log) {
  const [, took] = /finished in ([\d.]+m?u?s)/.exec(text) ?? [];
  const [, , , , succeeded, failed, errored, timeout] = /requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout/.exec(text) ?? [];
  if (!took || succeeded === undefined) throw new Error(`h2load said:\n${text}`);
  const other = /status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx/.exec(text);
  const times = log.split('\n').filter(Boolean).map((line) => Number(line.split('\t')[2])).sort((a, b) => a - b);
  const at = (share) => times[Math.min(times.length - 1, Math.floor(times.length * share))] / 1000;
  return {
    requests: Number(succeeded),
    seconds: milliseconds(took) / 1000,
    failed: Number(failed) + Number(errored) + Number(timeout) + Number(other?.[3] ?? 0) + Number(other?.[4] ?? 0),
    p50: at(0.5),
    p99: at(0.99),
  };
}

/** HTTP/2 (in clear text by prior knowledge, or TLS by the URL) for some seconds: `connections` x `streams`. */
export async function h2load(core, url, { seconds, connections = 16, streams = 10, log }) {
  rmSync(log, { force: true });
  const args = ['-c', String(core), 'h2load', '-t1', `-c${connections}`, `-m${streams}`, '-D', String(seconds), `--log-file=${log}`, '-H', ':authority: app.local', url];
  const { stdout } = await exec('taskset', args, options(seconds));
  return readH2load(stdout, readFileSync(log, 'utf8'));
}
