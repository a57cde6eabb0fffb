// The builders: pure functions from a few arguments to plain Envoy JSON, which real Envoy loads as well.
'use strict';

const { buildCluster } = require('./cluster.js');
const { buildRoute, buildHost } = require('./route.js');
const { buildListener } = require('./listener.js');

module.exports = { buildCluster, buildRoute, buildHost, buildListener };
