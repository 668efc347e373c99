/**
 * Names of fields that were received as never indexed. Such a field must be sent on as never indexed (RFC 7541, section 7.1.3), but a list of
 * fields has no place for that mark. So the mark is remembered by the name, for all connections of the process: the field is never indexed
 * on its way to the next hop, whatever became of the list in between.
 */
const names = new Set<string>();
const namesMax = 256;

/** Longer names are never indexed. */
export const indexedNameBytesMax = 64;
/** Longer paths are not indexed. */
export const indexedPathBytesMax = 128;

/**
 * Names whose values are no secrets. A mark on one of them is ignored: otherwise one peer could make the heads of all connections of the
 * process many times as long.
 */
export const publicNames: readonly string[] = (
  ':authority :method :scheme :status content-type user-agent te accept accept-encoding accept-language grpc-encoding ' +
  'grpc-accept-encoding grpc-status server via cache-control vary x-forwarded-proto x-powered-by'
).split(' ');
const isPublic = new Set(publicNames);

/** Paths are public or secret each by itself. The oldest of too many is forgotten. */
const paths = new Set<string>();
const pathsMax = 256;

let version = 0;
/** Changes whenever a name was added. */
export function sensitiveVersion(): number {
  return version;
}

/** Remembers the name of a field, of `:path` the value. When there are too many, no name outside the encoder's own list is indexed any more. */
export function addSensitive(name: string, value: string): void {
  if (name === ':path') return addPath(value);
  if (names.size > namesMax || name.length > indexedNameBytesMax || names.has(name)) return;
  // Whether a cookie is indexed depends on its length.
  if (name === 'cookie' || isPublic.has(name)) return;
  names.add(name);
  version++;
}

function addPath(path: string): void {
  // A longer path is not indexed anyway.
  if (path.length > indexedPathBytesMax || paths.has(path)) return;
  paths.add(path);
  const [oldest] = paths;
  if (paths.size > pathsMax && oldest !== undefined) paths.delete(oldest);
}

export function isSensitivePath(path: string): boolean {
  return paths.size > 0 && paths.has(path);
}

/** `isKnown`: the encoder has a rule of its own for this name. */
export function isSensitive(name: string, isKnown: boolean): boolean {
  return names.has(name) || (!isKnown && (names.size > namesMax || name.length > indexedNameBytesMax));
}
