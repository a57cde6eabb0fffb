// Runs suites/api.mjs in namespaces of its own.
import { inNamespace } from './lib/namespace.mjs';

if (await inNamespace(import.meta.url)) await import('./suites/api.mjs');
