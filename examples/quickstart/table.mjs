// Prints rows as a table with aligned columns: text to the left, numbers to the right.

/** The lines of a table; `rows` are arrays as long as `head`. */
export function table(head, rows) {
  const text = [head, ...rows].map((row) => row.map((cell) => String(cell ?? '')));
  const width = head.map((_, column) => Math.max(...text.map((row) => row[column].length)));
  const numeric = head.map((_, column) => text.slice(1).every((row) => /^([-\d.]+x?)?$/.test(row[column])) && rows.some((row) => row[column] !== ''));
  const line = (row) => `  ${row.map((cell, i) => (numeric[i] ? cell.padStart(width[i]) : cell.padEnd(width[i]))).join('   ')}`.trimEnd();
  return [line(text[0]), `  ${width.map((each) => '-'.repeat(each)).join('   ')}`, ...text.slice(1).map(line)].join('\n');
}
