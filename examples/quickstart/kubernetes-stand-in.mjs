// A small stand-in for the Kubernetes API, in a process of its own: list, watch, get and write of Services and EndpointSlices.
// It is no Kubernetes: it checks one token, keeps everything in memory, and knows nothing but these two kinds.
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { setInterval } from 'node:timers';
import { pathToFileURL } from 'node:url';

const KINDS = {
  services: { group: '', apiVersion: 'v1', kind: 'Service' },
  endpointslices: { group: 'discovery.k8s.io', apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice' },
};
const PATH = /^\/(?:api\/v1|apis\/discovery\.k8s\.io\/v1)(?:\/namespaces\/([^/]+))?\/(services|endpointslices)(?:\/([^/]+))?$/;

/** Changes that a watch can still start from; an older resourceVersion is answered 410. */
const HISTORY = 1000;
const BODY_LIMIT = 1 << 20;

/** A Kubernetes Status object. */
function status(code, reason, message) {
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, reason, code };
}

/** Whether `a=b,c!=d,e in (f,g)` selects an object, given how to read one of its fields. */
function selects(selector, read) {
  return (selector ?? '')
    .split(/,(?![^(]*\))/)
    .filter(Boolean)
    .every((term) => {
      const [, set, values] = /^(\S+) in \(([^)]*)\)$/.exec(term.trim()) ?? [];
      if (set !== undefined) return values.split(',').includes(read(set));
      const [, key, operator, value] = /^([^=!]+)(==|=|!=)(.*)$/.exec(term.trim()) ?? [undefined, term.trim(), undefined, undefined];
      const has = read(key);
      if (operator === undefined) return has !== undefined;
      return operator === '!=' ? has !== value : has === value;
    });
}

/** Creates the server; `token` is what clients must present, `bookmarkMs` how often a watch gets a bookmark. */
export function createStandIn({ token, bookmarkMs = 5_000, history = HISTORY } = {}) {
  const objects = new Map(); // `resource/namespace/name` to object
  const changes = []; // { version, resource, type, object, previous }
  const watchers = new Set();
  let version = 1;

  function record(resource, type, object, previous) {
    version += 1;
    object.metadata.resourceVersion = String(version);
    changes.push({ version, resource, type, object, previous });
    if (changes.length > history) changes.shift();
    for (const watcher of watchers) watcher.change(changes.at(-1));
  }

  function matcher(resource, namespace, query) {
    return (object) =>
      (!namespace || object.metadata.namespace === namespace) &&
      selects(query.get('labelSelector'), (key) => object.metadata.labels?.[key]) &&
      selects(query.get('fieldSelector'), (key) => key.split('.').reduce((at, part) => at?.[part], object));
  }

  function all(resource, matches) {
    return [...objects].filter(([key, object]) => key.startsWith(`${resource}/`) && matches(object)).map(([, object]) => object);
  }

  function watch(request, response, resource, matches, query) {
    const { apiVersion, kind } = KINDS[resource];
    const send = (type, object) => response.write(`${JSON.stringify({ type, object })}\n`);
    const bookmark = (annotations) =>
      send('BOOKMARK', { kind, apiVersion, metadata: { resourceVersion: String(version), creationTimestamp: null, ...(annotations && { annotations }) } });
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();

    const asked = query.get('resourceVersion');
    const initial = query.get('sendInitialEvents') === 'true';
    // Without a version the watch starts with what exists, as does one that asks for the initial events.
    const from = initial || !asked || asked === '0' ? undefined : Number(asked);
    if (from !== undefined && (Number.isNaN(from) || (changes.length > 0 && from < changes[0].version - 1))) {
      send('ERROR', status(410, 'Expired', `too old resource version: ${asked} (${version})`));
      response.end();
      return;
    }
    const change = ({ resource: changed, type, object, previous }) => {
      if (changed !== resource) return;
      const is = type !== 'DELETED' && matches(object);
      const was = previous ? matches(previous) : type === 'DELETED' && matches(object);
      if (is) send(was ? 'MODIFIED' : 'ADDED', object);
      else if (was) send('DELETED', object);
    };
    if (from === undefined) {
      for (const object of all(resource, matches)) send('ADDED', object);
      if (initial) bookmark({ 'k8s.io/initial-events-end': 'true' });
    } else {
      for (const each of changes) if (each.version > from) change(each);
    }
    const watcher = { change };
    watchers.add(watcher);
    const bookmarks = query.get('allowWatchBookmarks') === 'true' ? setInterval(bookmark, bookmarkMs, undefined) : undefined;
    const limit = Number(query.get('timeoutSeconds')) || 300;
    const end = setTimeout(() => response.end(), limit * 1000);
    response.on('close', () => {
      watchers.delete(watcher);
      clearInterval(bookmarks);
      clearTimeout(end);
    });
  }

  function write(method, resource, namespace, name, body) {
    const key = `${resource}/${namespace}/${name ?? body?.metadata?.name}`;
    const existing = objects.get(key);
    if (method === 'DELETE') {
      if (!existing) return [404, status(404, 'NotFound', `${resource} "${name}" not found`)];
      objects.delete(key);
      record(resource, 'DELETED', structuredClone(existing));
      return [200, { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success' }];
    }
    if (!body?.metadata?.name || (name && name !== body.metadata.name)) return [400, status(400, 'BadRequest', 'metadata.name is missing or not the one in the path')];
    if (method === 'POST' && existing) return [409, status(409, 'AlreadyExists', `${resource} "${body.metadata.name}" already exists`)];
    if (method === 'PUT' && !existing) return [404, status(404, 'NotFound', `${resource} "${name}" not found`)];
    if (method === 'PUT' && body.metadata.resourceVersion && body.metadata.resourceVersion !== existing.metadata.resourceVersion) {
      return [409, status(409, 'Conflict', 'the object has been modified; please apply your changes to the latest version and try again')];
    }
    const object = {
      ...body,
      kind: KINDS[resource].kind,
      apiVersion: KINDS[resource].apiVersion,
      metadata: {
        ...body.metadata,
        namespace,
        uid: existing?.metadata.uid ?? randomUUID(),
        creationTimestamp: existing?.metadata.creationTimestamp ?? new Date().toISOString().replace(/\.\d+/, ''),
      },
    };
    objects.set(key, object);
    record(resource, existing ? 'MODIFIED' : 'ADDED', object, existing);
    return [existing ? 200 : 201, object];
  }

  const server = createServer(async (request, response) => {
    const answer = (code, value) => {
      response.writeHead(code, { 'content-type': 'application/json' });
      response.end(`${JSON.stringify(value)}\n`);
    };
    try {
      const url = new URL(request.url, 'http://stand-in');
      if (url.pathname === '/readyz') return answer(200, 'ok');
      if (token && request.headers.authorization !== `Bearer ${token}`) return answer(401, status(401, 'Unauthorized', 'Unauthorized'));
      if (url.pathname === '/version') return answer(200, { major: '1', minor: '0', gitVersion: 'v1.0.0-plenipo-stand-in' });
      const [, namespace, resource, name] = PATH.exec(url.pathname) ?? [];
      if (!resource || url.pathname.startsWith('/apis/') !== Boolean(KINDS[resource].group)) {
        return answer(404, status(404, 'NotFound', 'the stand-in serves only services and endpointslices'));
      }
      if (request.method === 'GET' && name) {
        const object = objects.get(`${resource}/${namespace}/${name}`);
        return object ? answer(200, object) : answer(404, status(404, 'NotFound', `${resource} "${name}" not found`));
      }
      if (request.method === 'GET') {
        const matches = matcher(resource, namespace, url.searchParams);
        if (['true', '1'].includes(url.searchParams.get('watch'))) return watch(request, response, resource, matches, url.searchParams);
        const { apiVersion, kind } = KINDS[resource];
        return answer(200, { kind: `${kind}List`, apiVersion, metadata: { resourceVersion: String(version) }, items: all(resource, matches) });
      }
      if (!['POST', 'PUT', 'DELETE'].includes(request.method) || !namespace || (request.method === 'POST') === Boolean(name)) {
        return answer(405, status(405, 'MethodNotAllowed', 'the server does not allow this method on the requested resource'));
      }
      let text = '';
      for await (const part of request.setEncoding('utf8')) {
        text += part;
        if (text.length > BODY_LIMIT) return answer(413, status(413, 'RequestEntityTooLarge', 'the body is too large'));
      }
      let body;
      try {
        body = text ? JSON.parse(text) : undefined;
      } catch (error) {
        return answer(400, status(400, 'BadRequest', error.message));
      }
      return answer(...write(request.method, resource, namespace, name, body));
    } catch (error) {
      if (!response.headersSent) answer(500, status(500, 'InternalError', error.message));
      else response.destroy();
    }
  });
  return server;
}

// As a program: takes its token from the environment and tells its parent the port.
if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const server = createStandIn({ token: process.env.STAND_IN_TOKEN });
  server.listen(Number(process.argv[2] ?? 0), '127.0.0.1', () => {
    const { port } = server.address();
    if (process.send) process.send({ port });
    else console.log(`a stand-in for the Kubernetes API on http://127.0.0.1:${port}`);
  });
  process.on('disconnect', () => process.exit());
  process.on('SIGINT', () => process.send || process.exit());
}
