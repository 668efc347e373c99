/** Of the namespaces of peers those whose resources a reader may know. */

/** Namespaces for which the reader's right is asked. */
const peerNamespacesMax = 64;

/**
 * Asks for the right in all namespaces first, since that is one review.
 * @param mayRead asked with undefined: all namespaces
 * @returns `left`: how many namespaces were not asked for, and so are not readable
 */
export async function readableNamespaces(
  namespaces: readonly string[],
  mayRead: (namespace: string | undefined) => Promise<boolean>,
  onLimit: (limit: string) => void,
): Promise<{ readonly named: ReadonlySet<string>; readonly left: number }> {
  if (namespaces.length === 0) return { named: new Set(), left: 0 };
  if (await mayRead(undefined)) return { named: new Set(namespaces), left: 0 };
  const checked = namespaces.slice(0, peerNamespacesMax);
  const left = namespaces.length - checked.length;
  if (left > 0) onLimit('metrics-api-peers');
  const allowed = await Promise.all(checked.map(mayRead));
  return { named: new Set(checked.filter((_, index) => allowed[index])), left };
}
