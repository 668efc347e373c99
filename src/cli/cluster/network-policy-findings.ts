/** Findings about NetworkPolicies that block tunnels to enrolled pods. Pure. */
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

/** NetworkPolicies that block tunnels to enrolled pods: traffic that arrived in plaintext on 8080 arrives on 15008 instead. Pure. */
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
      // A policy without rules closes its pods to everybody on purpose.
      if (!rules || rules.length === 0 || rules.some(({ ports }) => admits(ports, hbonePort))) continue;
      findings.push({
        level: 'fail',
        what: `NetworkPolicy ${metadata.namespace}/${metadata.name} has no ${type.toLowerCase()} rule for TCP port ${hbonePort}`,
        help: `tunnels between nodes use this port: add { port: ${hbonePort} } to a rule; restrict the ports of the application with an AccessPolicy`,
      });
    }
  }
  return findings;
}
