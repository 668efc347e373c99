/** What labels and annotations ask for. Pure; what cannot be read is left out and named, it never costs the object. */
import { parseCidr, type Cidr } from '../../src/model/address.js';
import type { UncapturedReason } from '../../src/model/node-pod.js';
import type { NamespaceObject, PodObject } from './objects.js';

const meshLabel = 'weft.dev/mesh';
export const modeLabel = 'weft.dev/mode';

export type Labels = Readonly<Record<string, string>>;
export const labelsOf = (object: { metadata: { labels?: Labels } } | undefined): Labels =>
  object?.metadata.labels ?? {};
export const namespaceOf = (object: { metadata: { namespace?: string } }): string =>
  object.metadata.namespace ?? 'default';

/** What an object's labels say; the Istio label means the same where Weft's own says nothing. */
function meshMode(labels: Labels): string | undefined {
  const istio = labels['istio.io/dataplane-mode'];
  return labels[meshLabel] ?? (istio === 'ambient' ? 'enabled' : istio === 'none' ? 'disabled' : undefined);
}

/** Pods that say nothing themselves are in the mesh. */
export const isEnrolled = (namespace: NamespaceObject | undefined): boolean =>
  meshMode(labelsOf(namespace)) === 'enabled';

/** Undefined: it is to be held. A pod's own label wins over its namespace's; never host network. */
export function uncapturedBecause(
  pod: PodObject,
  namespace: NamespaceObject | undefined,
): UncapturedReason | undefined {
  if (pod.spec.hostNetwork) return 'host-network';
  const own = meshMode(labelsOf(pod));
  if (own !== undefined) return own === 'enabled' ? undefined : 'disabled-by-label';
  return isEnrolled(namespace) ? undefined : 'namespace-not-enrolled';
}

export function selects(selector: Labels | undefined, labels: Labels): boolean {
  const wanted = Object.entries(selector ?? {});
  return wanted.length > 0 && wanted.every(([key, value]) => labels[key] === value);
}

const list = (text: string | undefined): string[] =>
  (text ?? '')
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');

export const portList = (text: string | undefined): number[] =>
  list(text)
    .map(Number)
    .filter((port) => Number.isInteger(port) && port > 0 && port < 65536);

/** An exclusion that cannot be read excludes nothing. */
export const cidrList = (text: string | undefined): Cidr[] =>
  list(text).flatMap((block) => {
    try {
      return [parseCidr(block)];
    } catch {
      return [];
    }
  });
