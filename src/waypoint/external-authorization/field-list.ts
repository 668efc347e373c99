/** Lists of header fields: names, names with `*` at the end for all that begin so, or `*` for all. Compiled once per configuration. */

export type FieldList = (name: string) => boolean;

/** @param whenEmpty what an empty list means */
export function fieldList(names: readonly string[], whenEmpty: boolean): FieldList {
  if (names.length === 0) return () => whenEmpty;
  const exact = new Set<string>();
  const prefixes: string[] = [];
  for (const name of names.map((one) => one.toLowerCase()))
    if (name.endsWith('*')) prefixes.push(name.slice(0, -1));
    else exact.add(name);
  if (prefixes.length === 0) return (name) => exact.has(name);
  return (name) => exact.has(name) || prefixes.some((prefix) => name.startsWith(prefix));
}
