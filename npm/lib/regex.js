// Turns a JavaScript RegExp into Envoy's RE2 syntax, or refuses what RE2 cannot do.
'use strict';

const check = require('./check.js');
const { invalidArgument } = require('./errors.js');

/** Flags that change which text matches; others only matter to JavaScript's own methods. */
const MEANING = { i: 'i', s: 's', m: 'm' };

/** An Envoy RegexMatcher, which must match the whole text. */
function safeRegex(value, what) {
  if (!(value instanceof RegExp)) throw invalidArgument(`${what} must be a RegExp, got ${check.show(value)}`);
  const beyond = /\(\?(?:<?[=!])|\\[1-9]|\\k</.exec(value.source.replace(/\\\\/g, ''));
  if (beyond) throw invalidArgument(`${what} must not use look-around or back-references: matching takes linear time (RE2), got ${check.show(value)}`);
  const flags = [...value.flags].map((flag) => MEANING[flag] ?? '').join('');
  // JavaScript escapes the slash in `source`; RE2 spells named groups with a P.
  const source = value.source.replace(/\\([\s\S])/g, (all, letter) => (letter === '/' ? '/' : all)).replace(/\(\?</g, '(?P<');
  return { regex: flags ? `(?${flags})${source}` : source };
}

module.exports = { safeRegex };
