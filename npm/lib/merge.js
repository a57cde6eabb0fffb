// Merges hand-written Envoy JSON over a built object, whichever way its field names are written.
'use strict';

const { isPlainObject } = require('./check.js');

/** Objects are merged field by field; anything else replaces what was there. `over` is already a copy. */
function merge(base, over) {
  for (const [key, value] of Object.entries(over)) {
    // 'connectTimeout' must replace 'connect_timeout', or the message would hold the field twice.
    const snake = key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    const name = Object.hasOwn(base, snake) ? snake : key;
    const both = Object.hasOwn(base, name) && isPlainObject(base[name]) && isPlainObject(value);
    const merged = both ? merge(base[name], value) : value;
    Object.defineProperty(base, name, { value: merged, enumerable: true, configurable: true, writable: true });
  }
  return base;
}

module.exports = { merge };
