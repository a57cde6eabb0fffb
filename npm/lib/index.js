// The package: everything that `require('plenipo')` gives.
'use strict';

const { buildCluster, buildRoute, buildHost, buildListener } = require('./builders.js');
const { validate, loadConfig } = require('./config.js');
const { ProxyError, ConfigError } = require('./errors.js');
const { kubernetes } = require('./kubernetes.js');
const { Proxy } = require('./proxy.js');

// Named one by one, so that Node's reader of CommonJS exports finds them for `import`.
exports.Proxy = Proxy;
exports.buildCluster = buildCluster;
exports.buildRoute = buildRoute;
exports.buildHost = buildHost;
exports.buildListener = buildListener;
exports.kubernetes = kubernetes;
exports.validate = validate;
exports.loadConfig = loadConfig;
exports.ProxyError = ProxyError;
exports.ConfigError = ConfigError;
