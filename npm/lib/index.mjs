// The package for `import`: the same objects as for `require`, so that there is one addon and one ConfigError.
export {
  Proxy,
  buildCluster,
  buildRoute,
  buildHost,
  buildListener,
  kubernetes,
  validate,
  loadConfig,
  ProxyError,
  ConfigError,
} from './index.js';
