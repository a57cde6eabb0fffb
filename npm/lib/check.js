// Checks of arguments: each throws a TypeError with a code before anything was done.
'use strict';

const { inspect } = require('node:util');
const { invalidArgument } = require('./errors.js');

/** How deep a configuration may be nested; Envoy's protobuf parser stops at 100 as well. */
const MAX_DEPTH = 100;

/** A value as an error message shows it: short, on one line. */
function show(value) {
  const text = inspect(value, { depth: 0, breakLength: Infinity, maxStringLength: 60, maxArrayLength: 3 });
  return text.length > 100 ? `${text.slice(0, 99)}…` : text;
}

/** Whether a value is an object of the kind that literals make. */
function isPlainObject(value) {
  if (typeof value !== 'object' || value === null) return false;
  const proto = Object.getPrototypeOf(value);
  // An object of another realm (node:vm, a test runner) has another Object.prototype: one step from the root as well.
  return proto === null || Object.getPrototypeOf(proto) === null;
}

function object(value, what) {
  if (!isPlainObject(value) || Array.isArray(value)) throw invalidArgument(`${what} must be an object, got ${show(value)}`);
  return value;
}

/** Checks that an options object has only known keys; undefined is an empty one. */
function options(value, what, known) {
  if (value === undefined) return {};
  object(value, what);
  for (const key of Object.keys(value)) {
    if (known.includes(key)) continue;
    const near = nearest(key, known);
    throw invalidArgument(`${what} has no option ${show(key)}${near ? `; did you mean '${near}'?` : `; known are ${known.join(', ')}`}`);
  }
  return value;
}

function string(value, what) {
  if (typeof value !== 'string' || value === '') throw invalidArgument(`${what} must be a string that is not empty, got ${show(value)}`);
  return value;
}

function boolean(value, what) {
  if (typeof value !== 'boolean') throw invalidArgument(`${what} must be true or false, got ${show(value)}`);
  return value;
}

function array(value, what) {
  if (!Array.isArray(value)) throw invalidArgument(`${what} must be an array, got ${show(value)}`);
  return value;
}

function integer(value, what, min, max) {
  if (!Number.isInteger(value) || value < min || value > max) {
    throw invalidArgument(`${what} must be a whole number from ${min} to ${max}, got ${show(value)}`);
  }
  return value;
}

function oneOf(value, what, values) {
  if (!values.includes(value)) throw invalidArgument(`${what} must be one of ${values.map((each) => `'${each}'`).join(', ')}, got ${show(value)}`);
  return value;
}

function signal(value, what) {
  if (value === undefined) return undefined;
  if (typeof value !== 'object' || value === null || typeof value.aborted !== 'boolean' || typeof value.addEventListener !== 'function') {
    throw invalidArgument(`${what} must be an AbortSignal, got ${show(value)}`);
  }
  return value;
}

/**
 * Copies a value that is to become Envoy JSON, so that later changes by the caller do not matter.
 * What JSON cannot say is refused, since JSON.stringify would drop it silently. Byte arrays become base64, as protobuf's JSON has it.
 */
function toJson(value, what) {
  return copy(value, what, 0, new Set());
}

function copy(value, path, depth, above) {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return value;
    case 'number':
      if (!Number.isFinite(value)) throw invalidArgument(`${path} must be a finite number, got ${value}`);
      return value;
    case 'bigint':
      return value.toString(); // Protobuf's JSON writes 64-bit numbers as strings.
    case 'object':
      break;
    default:
      throw invalidArgument(`${path} cannot be part of a configuration: ${show(value)}`);
  }
  if (value === null) return null;
  if (value instanceof Uint8Array) return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64');
  if (depth >= MAX_DEPTH) throw invalidArgument(`${path} is nested more than ${MAX_DEPTH} levels deep`);
  if (above.has(value)) throw invalidArgument(`${path} contains itself`);
  above.add(value);
  let result;
  if (Array.isArray(value)) {
    result = value.map((each, index) => copy(each, `${path}[${index}]`, depth + 1, above));
    // Array.map leaves holes alone.
    for (let index = 0; index < value.length; index++) {
      if (!(index in value)) throw invalidArgument(`${path}[${index}] is missing`);
    }
  } else {
    if (!isPlainObject(value)) throw invalidArgument(`${path} must be plain data, got ${show(value)}`);
    result = {};
    for (const key of Object.keys(value)) {
      if (value[key] === undefined) continue;
      const each = copy(value[key], `${path}.${key}`, depth + 1, above);
      Object.defineProperty(result, key, { value: each, enumerable: true, configurable: true, writable: true });
    }
  }
  above.delete(value);
  return result;
}

/** The known word nearest to what was written, if it is near enough to be a slip. */
function nearest(word, known) {
  const limit = Math.max(1, Math.min(3, Math.floor(word.length / 3)));
  let best;
  for (const candidate of known) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance <= limit && (best === undefined || distance < best.distance)) best = { distance, candidate };
  }
  return best?.candidate;
}

/** Edit distance; a swap of neighbours counts once. */
function editDistance(a, b) {
  if (a.length > 64) return Infinity;
  const rows = [Array.from({ length: b.length + 1 }, (_, index) => index)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      row[j] = Math.min(rows[i - 1][j] + 1, row[j - 1] + 1, rows[i - 1][j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) row[j] = Math.min(row[j], rows[i - 2][j - 2] + 1);
    }
    rows.push(row);
  }
  return rows[a.length][b.length];
}

module.exports = { show, isPlainObject, object, options, string, boolean, array, integer, oneOf, signal, toJson };
