/** NetworkPolicies that keep tunnels from pods of the mesh. Pure. */
import type { Finding } from '../../findings/finding.js';

const hbonePort = 15008;

interface PolicyPort {
  readonly port?: number | string;
  readonly endPort?: number;
  readonly protocol?: string;
}
export interface NetworkPolicyItem {
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly spec: {
    readonly policyTypes?: readonly string[];
    readonly ingress?: readonly { readonly ports?: readonly PolicyPort[] }[];
    readonly egress?: readonly { readonly ports?: readonly PolicyPort[] }[];
  };
}

const admits = (ports: readonly PolicyPort[] | undefined, port: number): boolean =>
  ports === undefined ||
  ports.length === 0 ||
  ports.some(
    ({ port: from, endPort, protocol = 'TCP' }) =>
      protocol === 'TCP' &&
      (from === undefined ||
        from === port ||
        (typeof from === 'number' && from <= port && port <= (endPort ?? from))),
  );

/** Policies of the CNI that keep tunnels from pods of the mesh: what was plain on 8080 comes on 15008. Pure. */
export function networkPolicyFindings(
  policies: readonly NetworkPolicyItem[],
  isEnrolled: (namespace: string) => boolean,
): Finding[] {
  const findings: Finding[] = [];
  for (const { metadata, spec } of policies) {
    if (!isEnrolled(metadata.namespace)) continue;
    const types = spec.policyTypes ?? ['Ingress', ...(spec.egress ? ['Egress'] : [])];
    for (const [type, rules] of [
      ['Ingress', spec.ingress],
      ['Egress', spec.egress],
    ] as const) {
      if (!types.includes(type)) continue;
      // Without any rule it closes its pods to everybody: that is what it is for.
      if (!rules || rules.length === 0 || rules.some(({ ports }) => admits(ports, hbonePort))) continue;
      findings.push({
        level: 'fail',
        what: `NetworkPolicy ${metadata.namespace}/${metadata.name} lets no ${type.toLowerCase()} rule have TCP port ${hbonePort}`,
        help: `connections between nodes of the mesh come on that port: add { port: ${hbonePort} } to a rule; AccessPolicy says who may reach which port of the application`,
      });
    }
  }
  return findings;
}
