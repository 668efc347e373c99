/** Changes a request's path for a rewrite or a redirect. */
import { pathChangeKinds, type PathChange } from '../../model/route.js';

/** The change with characters escaped that a request line cannot contain. Error: the kind of change is unknown. */
export function safePathChange(change: PathChange | undefined): PathChange | undefined {
  if (!change) return undefined;
  const { kind, value } = change;
  if (!pathChangeKinds.includes(kind))
    throw new Error(`path change of unknown kind ${JSON.stringify(kind.slice(0, 64))}`);
  const escaped = value.replace(/[^\x21-\x7e]|#/gu, (character) =>
    [...Buffer.from(character)]
      .map((byte) => `%${byte.toString(16).padStart(2, '0').toUpperCase()}`)
      .join(''),
  );
  return { kind, value: escaped };
}

/** Returns the changed path. `path` includes the query; `prefix`: the path prefix that the rule matched by. */
export function changePath(path: string, change: PathChange, prefix: string | undefined): string {
  const at = path.indexOf('?');
  const [bare, query] = at < 0 ? [path, ''] : [path.slice(0, at), path.slice(at)];
  if (change.kind === 'full') {
    const whole = change.value.startsWith('/') ? change.value : `/${change.value}`;
    // A value with a query of its own replaces the request's (Envoy).
    return whole.includes('?') ? whole : whole + query;
  }
  if (change.kind === 'string-prefix') {
    const replaced = change.value + bare.slice(prefix?.length ?? 0);
    return (replaced.startsWith('/') ? replaced : `/${replaced}`) + query;
  }
  const matched = prefix === undefined || prefix === '/' ? '' : prefix;
  const rest = bare.slice(matched.length);
  const base = change.value.endsWith('/') ? change.value.slice(0, -1) : change.value;
  // Exactly one slash between both parts.
  const joined = rest === '' ? base || '/' : `${base}${rest.startsWith('/') ? '' : '/'}${rest}`;
  return (joined.startsWith('/') ? joined : `/${joined}`) + query;
}
