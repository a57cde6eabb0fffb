// Durations: what callers write (milliseconds, or text such as '250ms'), and what Envoy's JSON and the engine take.
'use strict';

const { show } = require('./check.js');
const { invalidArgument } = require('./errors.js');

const NANOS = { ms: 1_000_000n, s: 1_000_000_000n, m: 60_000_000_000n, h: 3_600_000_000_000n };

/** Protobuf's limit for a Duration: about 10,000 years. */
const MAX_SECONDS = 315_576_000_000n;

/** A duration in nanoseconds, as a BigInt. */
function nanoseconds(value, what) {
  let number;
  let unit = 'ms';
  if (typeof value === 'number' && Number.isFinite(value) && value >= 0) {
    number = value.toFixed(6); // Whole nanoseconds.
  } else if (typeof value === 'string') {
    const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(value);
    if (match) [, number, unit] = match;
  }
  const match = number === undefined ? null : /^(\d{1,18})(?:\.(\d+))?$/.exec(number);
  if (!match) {
    throw invalidArgument(`${what} must be a duration: milliseconds as a number, or text such as '250ms', '15s', '5m', '1h'; got ${show(value)}`);
  }
  const fraction = (match[2] ?? '').slice(0, 15);
  const nanos = BigInt(match[1]) * NANOS[unit] + (BigInt(fraction || '0') * NANOS[unit]) / 10n ** BigInt(fraction.length);
  if (nanos > MAX_SECONDS * NANOS.s) throw invalidArgument(`${what} must not be longer than ${MAX_SECONDS} s, got ${show(value)}`);
  return nanos;
}

/** A duration as Envoy's JSON has it, such as `0.25s`. */
function envoyDuration(value, what) {
  const nanos = nanoseconds(value, what);
  const fraction = (nanos % NANOS.s).toString().padStart(9, '0').replace(/0+$/, '');
  return `${nanos / NANOS.s}${fraction && `.${fraction}`}s`;
}

/** A duration in milliseconds, as a number. */
function milliseconds(value, what) {
  return Number(nanoseconds(value, what)) / 1e6;
}

module.exports = { envoyDuration, milliseconds };
