/**
 * Parses a request's target once. The same normalized target is matched and forwarded, so that the waypoint and the endpoint do not differ in
 * how they read the path, as far as a proxy can know. RFC 9112, section 3.2; RFC 3986, section 6.2.2.
 */

import { normalizeAuthority } from '../../policy/host.js';
import { normalizePath, TargetError } from '../../policy/path.js';

export interface Target {
  /** host[:port] in lower case, without trailing dots. */
  readonly authority: string;
  /** The normalized path, with the query unchanged. */
  readonly path: string;
}

/**
 * Parses a target. Throws TargetError.
 * @param host the host header's value; a target in absolute form takes precedence
 * @param mergeSlashes as in `normalizePath`
 */
export function parseTarget(
  method: string,
  target: string,
  host: string | undefined,
  mergeSlashes = true,
): Target {
  if (method === 'CONNECT') throw new TargetError('CONNECT is not supported');
  if (target.charCodeAt(0) === 0x2f) {
    return { authority: authorityOf(host), path: normalizePath(target, mergeSlashes) };
  }
  if (target === '*') {
    if (method !== 'OPTIONS') throw new TargetError('the target * is only for OPTIONS');
    return { authority: authorityOf(host), path: '*' };
  }
  const match = /^https?:\/\/([^/?]*)(.*)$/i.exec(target);
  if (!match) throw new TargetError('the target is neither a path nor a URL');
  const rest = match[2] ?? '';
  if ((match[1] ?? '').includes('@')) throw new TargetError('the target contains a user');
  return {
    authority: authorityOf(match[1]),
    path: normalizePath(rest.startsWith('/') ? rest : `/${rest}`, mergeSlashes),
  };
}

const authorities = new Map<string, string>();
function authorityOf(host: string | undefined): string {
  if (host === undefined) return '';
  let known = authorities.get(host);
  if (known === undefined) {
    known = normalizeAuthority(host);
    if (authorities.size >= 4096) authorities.clear();
    if (host.length <= 256) authorities.set(host, known);
  }
  return known;
}
