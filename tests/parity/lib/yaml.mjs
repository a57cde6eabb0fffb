// Writes a plain object as block-style YAML, so that the file both proxies read is YAML and not JSON.

/** Returns `value` as YAML text. Strings are always double-quoted (a JSON string is a YAML string). */
export function toYaml(value, indent = 0) {
  const pad = ' '.repeat(indent);
  if (Array.isArray(value)) {
    return value.map(item => {
      if (isLeaf(item)) return `${pad}- ${leaf(item)}\n`;
      const block = toYaml(item, indent + 2);
      return `${pad}- ${block.slice(indent + 2)}`;
    }).join('');
  }
  return Object.entries(value).filter(([, v]) => v !== undefined).map(([key, v]) =>
    `${pad}${/^[A-Za-z_]\w*$/.test(key) ? key : JSON.stringify(key)}:${isLeaf(v) ? ` ${leaf(v)}\n` : `\n${toYaml(v, indent + 2)}`}`).join('');
}

function isLeaf(v) {
  return v === null || typeof v !== 'object' || Object.keys(v).length === 0;
}

function leaf(v) {
  if (Array.isArray(v)) return '[]';
  if (v !== null && typeof v === 'object') return '{}';
  return JSON.stringify(v);
}
