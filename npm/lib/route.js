// buildRoute and buildHost: an Envoy Route and VirtualHost as plain JSON.
'use strict';

const check = require('./check.js');
const { envoyDuration } = require('./duration.js');
const { invalidArgument } = require('./errors.js');
const { safeRegex } = require('./regex.js');
const { merge } = require('./merge.js');

const FORWARDING = ['rewrite', 'timeout', 'retry', 'websocket'];
const OPTIONS = ['name', ...FORWARDING, 'headers', 'responseHeaders', 'envoy'];
const REDIRECTS = {
  301: 'MOVED_PERMANENTLY',
  302: 'FOUND',
  303: 'SEE_OTHER',
  307: 'TEMPORARY_REDIRECT',
  308: 'PERMANENT_REDIRECT',
};
/** A header's name as HTTP allows it. */
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

/** `buildRoute(match, to, options)`. */
function buildRoute(match, to, options) {
  const known = check.options(options, 'options', OPTIONS);
  const route = {};
  if (known.name !== undefined) route.name = check.string(known.name, 'name');
  route.match = routeMatch(match);
  Object.assign(route, routeAction(to, known));
  mutations(route, 'request', known.headers, 'headers');
  mutations(route, 'response', known.responseHeaders, 'responseHeaders');
  if (known.envoy === undefined) return route;
  return merge(route, check.toJson(check.object(known.envoy, 'envoy'), 'envoy'));
}

/** `buildHost(domains, routes)`. */
function buildHost(domains, routes, options) {
  const list = (typeof domains === 'string' ? [domains] : check.array(domains, 'domains')).map((each, index) =>
    domain(each, typeof domains === 'string' ? 'domains' : `domains[${index}]`),
  );
  if (list.length === 0) throw invalidArgument('domains must not be empty');
  const twice = list.find((each, index) => list.findIndex((other) => other.toLowerCase() === each.toLowerCase()) !== index);
  if (twice !== undefined) throw invalidArgument(`domains has ${check.show(twice)} twice`);
  check.array(routes, 'routes');
  const known = check.options(options, 'options', ['name']);
  return {
    name: known.name === undefined ? list[0] : check.string(known.name, 'name'),
    domains: list,
    routes: routes.map((each, index) => check.toJson(check.object(each, `routes[${index}]`), `routes[${index}]`)),
  };
}

function domain(value, what) {
  check.string(value, what);
  if (/[\s/]|:\/\//.test(value) || !/^(?:\*|\*?[^*]+|[^*]+\*)$/.test(value)) {
    throw invalidArgument(`${what} must be a host name, such as 'app.local', '*.app.local', 'app.*' or '*', got ${check.show(value)}`);
  }
  return value;
}

function routeMatch(match) {
  if (typeof match === 'string') return { prefix: path(match, 'match') };
  check.options(check.object(match, 'match'), 'match', ['prefix', 'path', 'regex', 'method', 'headers']);
  const kinds = ['prefix', 'path', 'regex'].filter((kind) => match[kind] !== undefined);
  if (kinds.length > 1) throw invalidArgument(`match takes one of prefix, path and regex, got ${kinds.join(' and ')}`);
  const result = {};
  if (match.regex !== undefined) result.safe_regex = safeRegex(match.regex, 'match.regex');
  else if (match.path !== undefined) result.path = path(match.path, 'match.path');
  else result.prefix = match.prefix === undefined ? '/' : path(match.prefix, 'match.prefix');
  const headers = [];
  if (match.method !== undefined) {
    const method = check.string(match.method, 'match.method');
    if (!TOKEN.test(method)) throw invalidArgument(`match.method must be an HTTP method, got ${check.show(method)}`);
    headers.push({ name: ':method', string_match: { exact: method } });
  }
  for (const [name, value] of Object.entries(match.headers === undefined ? {} : check.object(match.headers, 'match.headers'))) {
    headers.push(headerMatch(name, value));
  }
  if (headers.length > 0) result.headers = headers;
  return result;
}

function headerMatch(name, value) {
  const what = `match.headers[${check.show(name)}]`;
  if (!TOKEN.test(name.replace(/^:/, ''))) throw invalidArgument(`${what} is no header name`);
  if (typeof value === 'boolean') return { name, present_match: value };
  if (value instanceof RegExp) return { name, string_match: { safe_regex: safeRegex(value, what) } };
  if (typeof value !== 'string') throw invalidArgument(`${what} must be a string, a RegExp, true or false, got ${check.show(value)}`);
  return { name, string_match: { exact: value } };
}

function path(value, what) {
  check.string(value, what);
  if (!value.startsWith('/')) throw invalidArgument(`${what} must start with '/', got ${check.show(value)}`);
  if (/[?#\s]/.test(value)) throw invalidArgument(`${what} must be a path without query, fragment or blanks, got ${check.show(value)}`);
  return value;
}

function routeAction(to, options) {
  if (typeof to === 'string') return { route: { cluster: check.string(to, 'to'), ...forwarding(options) } };
  check.object(to, 'to');
  if (to.weighted !== undefined) {
    check.options(to, 'to', ['weighted']);
    return { route: { weighted_clusters: weighted(to.weighted), ...forwarding(options) } };
  }
  const local = to.redirect !== undefined ? 'redirect' : to.respond !== undefined ? 'respond' : undefined;
  if (local === undefined) {
    if (typeof to.name !== 'string' || to.name === '') {
      throw invalidArgument(`to must be a cluster or its name, or have 'weighted', 'redirect' or 'respond', got ${check.show(to)}`);
    }
    return { route: { cluster: to.name, ...forwarding(options) } };
  }
  const useless = FORWARDING.find((key) => options[key] !== undefined);
  if (useless) throw invalidArgument(`'${useless}' has no use in a route that answers by itself`);
  return local === 'redirect' ? { redirect: redirect(to) } : { direct_response: respond(to) };
}

function weighted(weights) {
  const entries = Object.entries(check.object(weights, 'to.weighted'));
  if (entries.length === 0) throw invalidArgument('to.weighted must name a cluster');
  const clusters = entries.map(([name, weight]) => ({
    name: check.string(name, 'a name in to.weighted'),
    weight: check.integer(weight, `to.weighted[${check.show(name)}]`, 0, 4_294_967_295),
  }));
  const total = clusters.reduce((sum, { weight }) => sum + weight, 0);
  if (total < 1 || total > 4_294_967_295) throw invalidArgument(`the weights in to.weighted must add up to 1 to 4294967295, got ${total}`);
  return { clusters };
}

/** Parts of the URL that are not written are kept from the request. */
function redirect(to) {
  check.options(to, 'to', ['redirect', 'status']);
  const target = check.string(to.redirect, 'to.redirect');
  const match = /^(?:(https?):\/\/([^/?#\s@]*))?(\/[^\s#]*)?$/.exec(target);
  if (!match) throw invalidArgument(`to.redirect must be an absolute URL, a path, or 'https://', got ${check.show(target)}`);
  const [, scheme, authority, location] = match;
  const result = {};
  if (scheme === 'https') result.https_redirect = true;
  else if (scheme) result.scheme_redirect = scheme;
  if (authority) {
    const [, host, port] = /^(.*?)(?::(\d+))?$/.exec(authority);
    result.host_redirect = host;
    if (port !== undefined) result.port_redirect = check.integer(Number(port), 'the port of to.redirect', 1, 65_535);
  } else if (scheme && location) {
    throw invalidArgument(`to.redirect has no host, got ${check.show(target)}`);
  } else if (scheme === 'http') {
    throw invalidArgument(`to.redirect must name a host after 'http://'`);
  }
  if (location) result.path_redirect = location;
  const status = to.status ?? 301;
  if (!Object.hasOwn(REDIRECTS, status)) throw invalidArgument(`to.status must be 301, 302, 303, 307 or 308, got ${check.show(status)}`);
  result.response_code = REDIRECTS[status];
  return result;
}

function respond(to) {
  check.options(to, 'to', ['respond', 'body']);
  const result = { status: check.integer(to.respond, 'to.respond', 200, 599) };
  if (to.body !== undefined) {
    if (typeof to.body !== 'string') throw invalidArgument(`to.body must be a string, got ${check.show(to.body)}`);
    if (Buffer.byteLength(to.body) > 4096) throw invalidArgument('to.body must not be longer than 4096 bytes');
    if (to.body !== '') result.body = { inline_string: to.body };
  }
  return result;
}

function forwarding({ rewrite, timeout, retry, websocket }) {
  const result = {};
  if (rewrite !== undefined) result.prefix_rewrite = path(rewrite, 'rewrite');
  if (timeout !== undefined) result.timeout = timeout === false ? '0s' : envoyDuration(timeout, 'timeout');
  if (retry !== undefined) result.retry_policy = retryPolicy(retry);
  if (websocket !== undefined && check.boolean(websocket, 'websocket')) result.upgrade_configs = [{ upgrade_type: 'websocket' }];
  return result;
}

function retryPolicy(retry) {
  check.options(check.object(retry, 'retry'), 'retry', ['attempts', 'on', 'perTry']);
  const on = check.array(retry.on ?? ['connect-failure'], 'retry.on').map((each, index) => {
    if (typeof each !== 'string' || !/^[a-z0-9-]+$/.test(each)) {
      throw invalidArgument(`retry.on[${index}] must be a condition such as 'connect-failure', got ${check.show(each)}`);
    }
    return each;
  });
  if (on.length === 0) throw invalidArgument('retry.on must not be empty');
  const result = { retry_on: on.join(','), num_retries: check.integer(retry.attempts, 'retry.attempts', 1, 4_294_967_295) };
  if (retry.perTry !== undefined) result.per_try_timeout = envoyDuration(retry.perTry, 'retry.perTry');
  return result;
}

/** `set` replaces a header, `add` appends a value, `remove` takes it away. */
function mutations(route, side, value, what) {
  if (value === undefined) return;
  check.options(check.object(value, what), what, ['set', 'add', 'remove']);
  const add = [];
  for (const [key, action] of [['set', 'OVERWRITE_IF_EXISTS_OR_ADD'], ['add', 'APPEND_IF_EXISTS_OR_ADD']]) {
    for (const [name, text] of Object.entries(value[key] === undefined ? {} : check.object(value[key], `${what}.${key}`))) {
      headerName(name, `${what}.${key}`);
      if (typeof text !== 'string' || /[\0\r\n]/.test(text)) {
        throw invalidArgument(`${what}.${key}[${check.show(name)}] must be a string without line breaks, got ${check.show(text)}`);
      }
      add.push({ header: { key: name, value: text }, append_action: action });
    }
  }
  const remove = check.array(value.remove ?? [], `${what}.remove`).map((name) => headerName(name, `${what}.remove`));
  if (add.length > 0) route[`${side}_headers_to_add`] = add;
  if (remove.length > 0) route[`${side}_headers_to_remove`] = remove;
}

function headerName(name, what) {
  if (typeof name !== 'string' || !TOKEN.test(name)) throw invalidArgument(`${what} must name headers, got ${check.show(name)}`);
  return name;
}

module.exports = { buildRoute, buildHost };
