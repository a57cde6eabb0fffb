// Error classes of the package, and the one place where what the engine reports becomes one of them.
'use strict';

/** An error of the proxy; `code` is one of the stable `ERR_PLENIPO_*` codes. */
class ProxyError extends Error {
  constructor(code, message, options = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    if (options.details !== undefined) this.details = options.details;
  }

  get name() {
    return 'ProxyError';
  }
}

/** A configuration that was refused; `issues` holds every problem found. */
class ConfigError extends ProxyError {
  constructor(code, message, issues, options) {
    super(code, message, options);
    this.issues = issues;
  }

  get name() {
    return 'ConfigError';
  }

  /** All issues as text, one a line, as a compiler prints them. */
  format(options = {}) {
    return this.issues.map((issue) => formatIssue(issue, options.color === true)).join('\n');
  }
}

/** One issue as one line: `envoy.yaml:12:7: error: clusters[0].lb_policy: …; expected …; got …; did you mean …? [CODE]`. */
function formatIssue(issue, color) {
  const paint = (style, text) => (color ? `\x1b[${style}m${text}\x1b[0m` : text);
  let place = issue.file === undefined ? '' : `${issue.file}:`;
  if (issue.line !== undefined && issue.column !== undefined) place += `${issue.line}:${issue.column}:`;
  let text = place && `${paint('1', place)} `;
  text += `${paint(issue.severity === 'error' ? '31;1' : '33;1', `${issue.severity}:`)} `;
  if (issue.path) text += `${paint('1', issue.path)}: `;
  text += issue.message;
  if (issue.expected !== undefined) text += `; expected ${issue.expected}`;
  if (issue.got !== undefined) text += `; got ${issue.got}`;
  if (issue.hint !== undefined) text += `; ${issue.hint}`;
  return `${text} ${paint('2', `[${issue.code}]`)}`;
}

/** The TypeError for a wrong argument. */
function invalidArgument(message) {
  const error = new TypeError(message);
  error.code = 'ERR_PLENIPO_INVALID_ARG';
  return error;
}

/** The error of a call that its AbortSignal ended, in the shape that Node's own functions use. */
function abortError(reason) {
  const error = new Error('The operation was aborted', { cause: reason });
  error.name = 'AbortError';
  error.code = 'ABORT_ERR';
  return error;
}

/** The error for a call that the proxy's state does not allow. */
function stateError(message) {
  return new ProxyError('ERR_PLENIPO_STATE', message);
}

/**
 * Makes the error that a failure reported by the addon stands for: `{ code, message, issues?, details?, system? }`.
 * `system` is the operating system's error (`code`, `syscall`, `address`, `port`) and becomes the `cause`.
 */
function fromNative(failure, reason) {
  if (failure.code === 'ABORT_ERR') return abortError(reason);
  if (failure.code === 'ERR_PLENIPO_INVALID_ARG') return invalidArgument(failure.message);
  const options = { details: failure.details };
  if (failure.system) options.cause = Object.assign(new Error(failure.system.message ?? failure.message), failure.system);
  if (failure.issues) return new ConfigError(failure.code, failure.message, failure.issues, options);
  return new ProxyError(failure.code, failure.message, options);
}

module.exports = { ProxyError, ConfigError, formatIssue, invalidArgument, abortError, stateError, fromNative };
