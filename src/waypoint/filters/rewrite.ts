/** The path that a rewrite or a redirect makes of a request's. */
import type { PathChange } from '../../model/route.js';

/** `path` with its query; `prefix`: what the rule matched. */
export function changePath(path: string, change: PathChange, prefix: string | undefined): string {
  const at = path.indexOf('?');
  const [bare, query] = at < 0 ? [path, ''] : [path.slice(0, at), path.slice(at)];
  if (change.kind === 'full')
    return (change.value.startsWith('/') ? change.value : `/${change.value}`) + query;
  const matched = prefix === undefined || prefix === '/' ? '' : prefix;
  const rest = bare.slice(matched.length);
  const base = change.value.endsWith('/') ? change.value.slice(0, -1) : change.value;
  // One slash between both, whatever either ends or begins with; never none at all.
  const joined = rest === '' ? base || '/' : `${base}${rest.startsWith('/') ? '' : '/'}${rest}`;
  return (joined.startsWith('/') ? joined : `/${joined}`) + query;
}
