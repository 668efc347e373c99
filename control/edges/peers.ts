/** How to ask the other replicas of the control plane. */
import { readFileSync } from 'node:fs';
import type { ControlPlane } from '../../src/discovery/unary-call.js';
import { labelsOf } from '../../src/model/labels.js';
import type { Registry } from '../registry/registry.js';

const replicasMax = 16;

export interface Replica {
  readonly name: string;
  readonly ip: string;
}

/** The other pods of the control plane's Deployment. Pure. */
export function otherReplicas(
  registry: Pick<Registry, 'indexes'>,
  namespace: string,
  own: string,
): Replica[] {
  return registry.indexes.Pod.in(namespace)
    .filter((pod) => labelsOf(pod)['app'] === 'weft-control' && pod.metadata.name !== own)
    .flatMap(({ metadata: { name }, status }) => {
      const ip = status?.podIPs?.[0]?.ip;
      return status?.phase === 'Running' && ip !== undefined ? [{ name, ip }] : [];
    })
    .slice(0, replicasMax);
}

/** Of a control plane on Kubernetes. */
export interface PeerSettings {
  readonly namespace: string;
  /** Name of the own pod. */
  readonly identity: string;
  /** File with the own token. Without it no other replica is asked. */
  readonly peerToken?: string;
  readonly serverName: string;
  readonly port: number;
  readonly roots: () => string;
}

export interface Peers {
  readonly replicas: () => readonly Replica[];
  /** How to call a replica. */
  readonly controlPlane: (replica: Replica) => ControlPlane;
}

/** @param settings undefined: there are no other replicas */
export const peersOf = (registry: Pick<Registry, 'indexes'>, settings: PeerSettings | undefined): Peers => ({
  replicas: () =>
    settings?.peerToken === undefined ? [] : otherReplicas(registry, settings.namespace, settings.identity),
  controlPlane: ({ ip }) => ({
    target: `${ip.includes(':') ? `[${ip}]` : ip}:${settings?.port}`,
    rootPem: () => settings?.roots() ?? '',
    token: () => readFileSync(settings?.peerToken ?? '', 'utf8').trim(),
    serverName: settings?.serverName ?? '',
  }),
});

/** The answers of the other replicas, and the names of those that gave none. Never rejects. */
export async function askReplicas<T>(
  { replicas, controlPlane }: Peers,
  ask: (control: ControlPlane) => Promise<T>,
): Promise<{ readonly answers: readonly T[]; readonly missing: readonly string[] }> {
  const others = replicas();
  const settled = await Promise.allSettled(others.map(async (one) => ask(controlPlane(one))));
  return {
    answers: settled.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : [])),
    missing: others.flatMap(({ name }, i) => (settled[i]?.status === 'fulfilled' ? [] : [name])),
  };
}
