/**
 * Patterns of destinations, `<namespace>/<host>`: each part is a name or `*`, and the host may begin with `*.`. Pure.
 */

function matches(pattern: string, namespace: string, hostname: string | undefined): boolean {
  const slash = pattern.indexOf('/');
  const [ofNamespace, host] = [pattern.slice(0, slash), pattern.slice(slash + 1)];
  if (slash < 0 || (ofNamespace !== '*' && ofNamespace !== namespace)) return false;
  if (host === '*') return true;
  if (hostname === undefined) return false;
  return host.startsWith('*.') ? hostname.endsWith(host.slice(1)) : host === hostname;
}

/**
 * Whether one of the patterns names a destination.
 * @param hostname undefined: the destination has no host name, so that only its namespace can be named
 */
export const isListed = (
  patterns: readonly string[],
  namespace: string,
  hostname: string | undefined,
): boolean => patterns.some((pattern) => matches(pattern, namespace, hostname));
