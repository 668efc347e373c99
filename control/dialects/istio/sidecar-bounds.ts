/** What Sidecars restrict of the outbound connections of workloads. Pure. */
import { selects, type Labels } from '../../../src/model/labels.js';
import type { NodePod } from '../../../src/model/node-pod.js';
import { byAge } from '../../objects/age.js';
import type { IstioObject } from '../../objects/istio.js';
import type { Registry } from '../../registry/registry.js';

type Sidecar = IstioObject<'Sidecar'>;

/** A host of `egress`. */
export const hostForm = /^(\*|\.|~|[a-z0-9-]+)\/(\*|(\*\.)?[A-Za-z0-9_.-]+)$/;

/** The labels of the workloads that a Sidecar is for; undefined: all of its namespace. */
export const selectorOf = ({ spec }: Sidecar): Labels | undefined => {
  const labels = spec.workloadSelector?.labels;
  return labels && Object.keys(labels).length > 0 ? labels : undefined;
};

/** A host of `egress` as a pattern of src/model/outbound-hosts.ts; undefined: it names nothing. */
function patternOf(host: string, namespace: string): string | undefined {
  if (!hostForm.test(host) || host.startsWith('~/')) return undefined;
  return host.toLowerCase().replace(/^\.\//, `${namespace}/`);
}

/** What a Sidecar restricts of the outbound connections of its workloads. */
export type OutboundBounds = Pick<NodePod, 'outboundUnknown' | 'outboundHosts'>;

/** Undefined: nothing. A Sidecar that cannot be read refuses all connections: it may have been meant to. */
function boundsOf({ spec, invalid }: Sidecar, namespace: string): OutboundBounds | undefined {
  if (invalid !== undefined) return { outboundUnknown: 'refuse', outboundHosts: [] };
  const { egress, outboundTrafficPolicy } = spec;
  if (outboundTrafficPolicy?.mode !== 'REGISTRY_ONLY') return undefined;
  // Without `egress` all hosts are known.
  const patterns = egress?.flatMap(({ hosts }) => hosts.flatMap((host) => patternOf(host, namespace) ?? []));
  return {
    outboundUnknown: 'refuse',
    ...(patterns && !patterns.includes('*/*') ? { outboundHosts: [...new Set(patterns)].sort() } : {}),
  };
}

/**
 * The bounds of the workloads of a namespace, by their labels. In force for a workload is the Sidecar that selects it, else that of its namespace,
 * else that of the root namespace; of several the oldest.
 */
export function outboundOf(
  namespace: string,
  { indexes, rootNamespace }: Registry,
): (labels: Labels) => OutboundBounds | undefined {
  const own = [...indexes.Sidecar.in(namespace)].sort(byAge);
  // What an unreadable object selects is unknown.
  const unread = own.find(({ invalid }) => invalid !== undefined);
  const read = own.filter(({ invalid }) => invalid === undefined);
  const selecting = read.flatMap((sidecar) => {
    const selector = selectorOf(sidecar);
    return selector ? [{ selector, sidecar }] : [];
  });
  const isWide = (one: Sidecar): boolean => !selectorOf(one);
  const wide =
    read.find(isWide) ??
    (namespace === rootNamespace
      ? undefined
      : [...indexes.Sidecar.in(rootNamespace)]
          .sort(byAge)
          .find((one) => one.invalid !== undefined || isWide(one)));
  const known = new Map<Sidecar, OutboundBounds | undefined>();
  return (labels) => {
    const found = unread ?? selecting.find(({ selector }) => selects(selector, labels))?.sidecar ?? wide;
    if (found && !known.has(found)) known.set(found, boundsOf(found, namespace));
    return found && known.get(found);
  };
}
