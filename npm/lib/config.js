// Configurations: what callers give becomes the JSON texts that the engine reads; validate and loadConfig.
'use strict';

const { readFile } = require('node:fs/promises');
const check = require('./check.js');
const { splitHostPort } = require('./address.js');
const { ConfigError, invalidArgument } = require('./errors.js');
const native = require('./native.js');

const KINDS = ['clusters', 'listeners'];

/** Checks a Config and returns the bootstrap and the resources in it, copied. */
function readConfig(config, what) {
  const { admin, bootstrap, clusters, listeners } = check.options(config, what, ['admin', 'bootstrap', ...KINDS]);
  const result = bootstrap === undefined ? {} : check.toJson(check.object(bootstrap, `${what}.bootstrap`), `${what}.bootstrap`);
  if (admin !== undefined && admin !== false) result.admin = { ...result.admin, address: adminAddress(admin, `${what}.admin`) };
  return { bootstrap: result, clusters: resources(clusters, `${what}.clusters`), listeners: resources(listeners, `${what}.listeners`) };
}

/** Checks the argument of `apply` and returns its resources, copied. */
function readChange(change) {
  check.object(change, 'the change');
  for (const key of ['admin', 'bootstrap']) {
    if (Object.hasOwn(change, key)) throw invalidArgument(`'${key}' cannot change while the proxy runs; give it to the constructor`);
  }
  const { clusters, listeners } = check.options(change, 'the change', KINDS);
  return { clusters: resources(clusters, 'clusters'), listeners: resources(listeners, 'listeners') };
}

function resources(list, what) {
  if (list === undefined) return [];
  return check.array(list, what).map((each, index) => check.toJson(check.object(each, `${what}[${index}]`), `${what}[${index}]`));
}

/** A number is a port on 127.0.0.1: the admin page has no password. */
function adminAddress(admin, what) {
  const { host, port } =
    typeof admin === 'number'
      ? { host: '127.0.0.1', port: check.integer(admin, what, 0, 65_535) }
      : splitHostPort(check.string(admin, what), what);
  if (port === undefined) throw invalidArgument(`${what} must be a port or an address with one, such as '127.0.0.1:9901', got ${check.show(admin)}`);
  return { socket_address: { address: host, port_value: port } };
}

/** One bootstrap with everything in it, as real Envoy would read it. */
function toBootstrap({ bootstrap, clusters, listeners }) {
  if (clusters.length === 0 && listeners.length === 0) return bootstrap;
  const key = Object.hasOwn(bootstrap, 'staticResources') ? 'staticResources' : 'static_resources';
  const resources = { ...bootstrap[key] };
  if (clusters.length > 0) resources.clusters = [...(resources.clusters ?? []), ...clusters];
  if (listeners.length > 0) resources.listeners = [...(resources.listeners ?? []), ...listeners];
  return { ...bootstrap, [key]: resources };
}

/** Checks a whole configuration without starting anything: YAML or JSON text, or a Config. Returns every problem. */
function validate(config, options) {
  const { file } = check.options(options, 'options', ['file']);
  if (file !== undefined) check.string(file, 'file');
  if (typeof config === 'string') return native.check(native.connect().validate(config, file ?? null, false));
  const text = JSON.stringify(toBootstrap(readConfig(check.object(config, 'the configuration'), 'the configuration')));
  return native.check(native.connect().validate(text, file ?? null, true));
}

/** Reads an `envoy.yaml` or JSON file and returns it as a Config whose `bootstrap` is plain Envoy JSON. */
async function loadConfig(file) {
  check.string(file, 'file');
  const text = await readFile(file, 'utf8');
  return { bootstrap: await native.request((bridge, id) => bridge.load(id, text, file)) };
}

/** Reads a file for `Proxy.fromFile`; what is wrong with it is told now. */
async function readBootstrapFile(file) {
  const text = await readFile(file, 'utf8');
  const errors = validate(text, { file }).filter((issue) => issue.severity === 'error');
  if (errors.length > 0) throw refused(file, errors);
  return text;
}

function refused(file, issues) {
  const more = issues.length > 1 ? ` (and ${issues.length - 1} more)` : '';
  const first = issues[0];
  return new ConfigError(first.code, `${file}${first.line ? `:${first.line}:${first.column}` : ''}: ${first.path}: ${first.message}${more}`, issues);
}

module.exports = { readConfig, readChange, toBootstrap, validate, loadConfig, readBootstrapFile };
