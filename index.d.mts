// The public API for `import`: the same declarations as for `require`.
export * from './index.js';
