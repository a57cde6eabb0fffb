// Reads from /proc what a process has used: CPU time of all its threads, resident memory, and their peak.
import { readFileSync } from 'node:fs';

/** Clock ticks a second of /proc/PID/stat; Linux shows this one to programs on every architecture. */
const TICKS = 100;

/** CPU time that a process has used so far, in seconds: user and system, ended threads included. */
export function cpuSeconds(pid) {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS;
}

/** One of the sizes in /proc/PID/status, in bytes: VmRSS now, VmHWM at most. */
export function memory(pid, what = 'VmRSS') {
  const kib = new RegExp(`^${what}:\\s+(\\d+) kB`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kib) * 1024;
}

/** The middle one of some numbers. */
export function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
