/**
 * Names of fields that were received as never indexed. Such a field must be sent on as never indexed (RFC 7541, section 7.1.3), but a list of
 * fields has no place for that mark. So the mark is remembered by the name, for all connections of the process: the field is never indexed
 * on its way to the next hop, whatever became of the list in between.
 */
const names = new Set<string>();
const namesMax = 256;

/** Longer names are never indexed. */
export const indexedNameBytesMax = 64;

let version = 0;
/** Changes whenever a name was added. */
export function sensitiveVersion(): number {
  return version;
}

/** Remembers a name. When there are too many, no name outside the encoder's own list is indexed any more. */
export function addSensitive(name: string): void {
  if (names.size > namesMax || name.length > indexedNameBytesMax || names.has(name)) return;
  // Whether a cookie is indexed depends on its length.
  if (name === 'cookie') return;
  names.add(name);
  version++;
}

/** `isKnown`: the encoder has a rule of its own for this name. */
export function isSensitive(name: string, isKnown: boolean): boolean {
  return names.has(name) || (!isKnown && (names.size > namesMax || name.length > indexedNameBytesMax));
}
