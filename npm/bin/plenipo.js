#!/usr/bin/env node
// The `plenipo` command: the same Rust library as the program of that name, reached through the addon.
'use strict';

let addon;
try {
  addon = require('../lib/native.js').load();
} catch (error) {
  process.stderr.write(`plenipo: ${error.message}\n`);
  process.exit(1);
}
// Blocks until the command has ended; it handles its own signals.
process.exit(addon.cli(process.argv.slice(2)));
