// The Proxy class: one engine, its life cycle, its changes and its events.
'use strict';

const { EventEmitter } = require('node:events');
const check = require('./check.js');
const { readConfig, readChange, readBootstrapFile, toBootstrap } = require('./config.js');
const { milliseconds } = require('./duration.js');
const { parseEndpoint } = require('./address.js');
const { invalidArgument, stateError, fromNative } = require('./errors.js');
const { Follow } = require('./follow.js');
const native = require('./native.js');

const OPTIONS = ['concurrency', 'serviceCluster', 'serviceNode', 'serviceZone', 'drainTime', 'warmTimeout', 'sharePort'];
const KINDS = ['cluster', 'listener'];

/** How long the answer to /quitquitquit has to be written. */
const QUIT_AFTER_MS = 100;

class Proxy extends EventEmitter {
  #config;
  #options;
  #engine;
  #events;
  #known;
  #changes;
  #starting = false;
  #kept = true;
  #holding = false;

  /** Reads an `envoy.yaml`; what is wrong with the file rejects here, with its lines. */
  static async fromFile(file, options) {
    check.string(file, 'file');
    const proxy = new this(undefined, options);
    proxy.#config = { file, text: await readBootstrapFile(file) };
    return proxy;
  }

  constructor(config, options) {
    super();
    this.#config = readConfig(config, 'the configuration');
    this.#options = readOptions(options);
  }

  get state() {
    if (this.#engine === undefined) return this.#starting ? 'starting' : 'new';
    return this.#engine.state();
  }

  get version() {
    return this.#engine === undefined ? '' : this.#engine.version();
  }

  get addresses() {
    return this.#engine === undefined ? [] : native.check(this.#engine.addresses());
  }

  async start(options) {
    const { signal } = check.options(options, 'options', ['signal']);
    check.signal(signal, 'signal');
    if (this.#starting || this.#engine !== undefined) throw stateError(`the proxy was started already (it is ${this.state})`);
    this.#starting = true;
    const { file, text } = this.#config;
    const early = [];
    let events;
    try {
      const options = JSON.stringify({ ...this.#options, owned: file === undefined });
      const engine = new (native.load().Engine)(native.connect(), options);
      // What happens before the start is known to have worked is told afterwards, or not at all.
      events = native.open(
        (event) => (this.#engine === undefined ? early.push(event) : this.#onEvent(event)),
        (bridge, id) => engine.events(id),
      );
      const request = JSON.stringify(file === undefined ? { text: JSON.stringify(toBootstrap(this.#config)) } : { file, text });
      await native.request((bridge, id) => engine.start(id, request), signal);
      this.#engine = engine;
      this.#events = events;
      this.#config = undefined; // It may hold keys, and the engine has it now.
      this.#hold();
    } catch (error) {
      if (events !== undefined) native.close(events);
      throw error;
    } finally {
      this.#starting = false;
    }
    this.#known = JSON.stringify(this.addresses);
    for (const event of early) this.#onEvent(event);
    return this;
  }

  async apply(change, options) {
    const { dryRun, replace, ifVersion, signal } = check.options(options, 'options', ['dryRun', 'replace', 'ifVersion', 'signal']);
    const resources = readChange(change);
    if (dryRun !== undefined) check.boolean(dryRun, 'dryRun');
    if (replace !== undefined) check.boolean(replace, 'replace');
    if (ifVersion !== undefined) check.string(ifVersion, 'ifVersion');
    check.signal(signal, 'signal');
    const engine = this.#running('apply');
    const texts = Object.fromEntries(Object.entries(resources).map(([kind, list]) => [kind, list.map((each) => JSON.stringify(each))]));
    const text = JSON.stringify({ ...texts, dryRun: dryRun === true, replace: replace === true, ifVersion });
    return this.#inOrder(native.request((bridge, id) => engine.apply(id, text), signal));
  }

  async remove(kind, ...names) {
    check.oneOf(kind, 'kind', KINDS);
    names.forEach((name) => check.string(name, 'the name'));
    if (names.length === 0) throw invalidArgument('remove needs at least one name');
    const engine = this.#running('remove');
    return this.#inOrder(native.request((bridge, id) => engine.remove(id, kind, names)));
  }

  async setEndpoints(cluster, endpoints) {
    check.string(cluster, 'cluster');
    const list = check.array(endpoints, 'endpoints').map((each, index) => {
      const { host, port, weight, name } = parseEndpoint(each, `endpoints[${index}]`);
      if (name) throw invalidArgument(`endpoints[${index}] must be an IP address, got ${check.show(host)}`);
      return { address: host, port, weight };
    });
    native.check(this.#running('setEndpoints').setEndpoints(cluster, JSON.stringify(list)));
  }

  follow(source, options) {
    return new Follow(this, source, options);
  }

  async drain(options) {
    const { timeout, signal } = check.options(options, 'options', ['timeout', 'signal']);
    const millis = timeout === undefined ? null : milliseconds(timeout, 'timeout');
    check.signal(signal, 'signal');
    const engine = this.#running('drain');
    return native.request((bridge, id) => engine.drain(id, millis), signal);
  }

  async stop(options) {
    const { grace, force } = check.options(options, 'options', ['grace', 'force']);
    const millis = grace === undefined ? null : milliseconds(grace, 'grace');
    if (force !== undefined) check.boolean(force, 'force');
    if (this.#starting) throw stateError('the proxy is starting; abort that with its signal');
    if (this.#engine === undefined) return;
    await native.request((bridge, id) => this.#engine.stop(id, force === true ? 0 : millis));
    this.#letGo();
  }

  stats(filter) {
    if (filter !== undefined && typeof filter !== 'string' && !(filter instanceof RegExp)) {
      throw invalidArgument(`the filter must be a string or a RegExp, got ${check.show(filter)}`);
    }
    const all = native.check(this.#running('stats').stats(typeof filter === 'string' ? filter : ''));
    if (!(filter instanceof RegExp)) return Object.fromEntries(all);
    const matcher = new RegExp(filter.source, filter.flags.replace(/[gy]/g, '')); // Those flags remember a position.
    return Object.fromEntries(all.filter(([name]) => matcher.test(name)));
  }

  prometheus() {
    return this.#running('prometheus').prometheus();
  }

  dump() {
    const { bootstrap = {}, listeners, clusters } = native.check(this.#running('dump').dump());
    // What runs is told once: with it in the bootstrap as well, the dump could not be started again.
    if (bootstrap.static_resources) {
      delete bootstrap.static_resources.clusters;
      delete bootstrap.static_resources.listeners;
      if (Object.keys(bootstrap.static_resources).length === 0) delete bootstrap.static_resources;
    }
    return { bootstrap, listeners, clusters };
  }

  ref() {
    this.#kept = true;
    if (this.#engine !== undefined && this.state !== 'stopped') this.#hold();
    return this;
  }

  unref() {
    this.#kept = false;
    this.#letGo();
    return this;
  }

  [Symbol.asyncDispose]() {
    return this.stop();
  }

  /** The engine, if it can be asked to do anything. */
  #running(what) {
    if (this.#engine === undefined) throw stateError(`${what} needs a started proxy (it is ${this.state})`);
    if (this.state === 'stopped') throw stateError(`${what} needs a running proxy (it is stopped)`);
    return this.#engine;
  }

  /** Changes take effect in the order of their calls; this lets their promises settle in that order, too. */
  async #inOrder(change) {
    const before = this.#changes;
    this.#changes = Promise.allSettled([before, change]);
    try {
      return await change;
    } finally {
      await before;
    }
  }

  #hold() {
    if (!this.#kept || this.#holding) return;
    this.#holding = true;
    native.hold();
  }

  #letGo() {
    if (!this.#holding) return;
    this.#holding = false;
    native.release();
  }

  #onEvent({ type, value, error }) {
    switch (type) {
      case 'quit':
        // Somebody asked for it on the admin page, and is still to be answered; how it went is told by the event 'stopped'.
        setTimeout(() => this.stop().catch(() => {}), QUIT_AFTER_MS).unref();
        return;
      case 'stopped':
      case 'error':
        this.#letGo();
        native.close(this.#events);
        break;
      default:
    }
    if (error !== undefined) this.emit(type, fromNative(error));
    else if (value === undefined || value === null) this.emit(type);
    else this.emit(type, value);
    if (type === 'applied') this.#tellAddresses();
  }

  /** A change may bring new listeners. */
  #tellAddresses() {
    const { addresses } = this;
    const text = JSON.stringify(addresses);
    if (text === this.#known) return;
    this.#known = text;
    this.emit('listening', addresses);
  }
}

function readOptions(options) {
  const { concurrency, serviceCluster, serviceNode, serviceZone, drainTime, warmTimeout, sharePort } = check.options(options, 'options', OPTIONS);
  if (concurrency !== undefined) check.integer(concurrency, 'concurrency', 1, 1024);
  for (const [key, value] of Object.entries({ serviceCluster, serviceNode, serviceZone })) {
    if (value !== undefined) check.string(value, key);
  }
  const drainTimeMs = drainTime === undefined ? undefined : milliseconds(drainTime, 'drainTime');
  const warmTimeoutMs = warmTimeout === undefined ? undefined : milliseconds(warmTimeout, 'warmTimeout');
  if (sharePort !== undefined) check.boolean(sharePort, 'sharePort');
  return { concurrency, serviceCluster, serviceNode, serviceZone, drainTimeMs, warmTimeoutMs, sharePort };
}

module.exports = { Proxy };
