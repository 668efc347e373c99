/**
 * Connections that a pod made before it was taken into the mesh: nothing carries them, no identity is known of them. They are
 * listed for as long as they live, and cut where settings say so and strict mode would refuse them.
 */
import { readdirSync, readlinkSync } from 'node:fs';
import { errorText } from '../../src/base/errors.js';
import { cidrContains, formatSocketAddress } from '../../src/model/address.js';
import type { NodePod } from '../../src/model/node-pod.js';
import type { WorkloadUid } from '../../src/model/workload.js';
import type { MeshView } from '../../src/state/store.js';
import type { LocalPod } from '../worker-ipc.js';
import { connectionsOf, destroyTcp, type PodConnection } from '../pod/sockets.js';
import { planInboundPlain } from '../proxy/choose-path.js';

const agentPorts: ReadonlySet<number> = new Set([15001, 15006, 15008, 15053]);

/**
 * Of the connections that a pod has at the moment its capture was switched on: those that came before. What came after is
 * the agent's own (`ownInodes`), the kernel's (`kernelCookies`), between the pod's own addresses, or excluded.
 */
export function preexistingOf(
  connections: readonly PodConnection[],
  pod: NodePod,
  ownInodes: ReadonlySet<number>,
  kernelCookies: ReadonlySet<bigint>,
): PodConnection[] {
  const own = new Set(pod.addresses);
  const loopback = (ip: string): boolean => ip.startsWith('127.') || ip === '::1';
  return connections.filter(
    ({ local, remote, inode, cookie }) =>
      !loopback(local.ip) &&
      !(own.has(local.ip) && own.has(remote.ip)) &&
      !agentPorts.has(local.port) &&
      !agentPorts.has(remote.port) &&
      !ownInodes.has(inode) &&
      !kernelCookies.has(cookie) &&
      !pod.excludeInboundPorts.includes(local.port) &&
      !pod.excludeOutboundPorts.includes(remote.port) &&
      !pod.excludeOutboundCidrs.some((block) => cidrContains(block, remote.ip)),
  );
}

/** Inodes of this process's sockets. */
function ownSockets(): Set<number> {
  const inodes = new Set<number>();
  for (const fd of readdirSync('/proc/self/fd')) {
    try {
      const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/self/fd/${fd}`))?.[1];
      if (inode !== undefined) inodes.add(Number(inode));
    } catch (error) {
      // The descriptor was closed meanwhile: its socket is nobody's. Another error would make a socket of ours somebody else's.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
  return inodes;
}

interface Listed {
  readonly local: LocalPod;
  connections: readonly PodConnection[];
}

export class Preexisting {
  readonly #pods = new Map<WorkloadUid, Listed>();

  /**
   * @param inherited socket cookies by network namespace, as the agent that handed the node over listed them. Its own sockets in these
   * namespaces are none of this process, and would be taken for the pods'.
   */
  constructor(private readonly inherited: ReadonlyMap<bigint, ReadonlySet<bigint>> = new Map()) {}

  /** For a successor: what is listed now, of all pods that are held. */
  cookiesOf(held: Iterable<LocalPod>): Map<bigint, ReadonlySet<bigint>> {
    return new Map(
      [...held].map(({ pod, netns: place }) => [
        place.cookie,
        new Set((this.#pods.get(pod.uid)?.connections ?? []).map(({ cookie }) => cookie)),
      ]),
    );
  }

  /** Call once capture is on; `kernelCookies`: cookies of the connections in the live table. */
  admit(local: LocalPod, kernelCookies: ReadonlySet<bigint>): void {
    const listed = this.inherited.get(local.netns.cookie);
    const found = preexistingOf(connectionsOf(local.netns), local.pod, ownSockets(), kernelCookies).filter(
      ({ cookie }) => listed?.has(cookie) ?? true,
    );
    if (found.length > 0) this.#pods.set(local.pod.uid, { local, connections: found });
  }

  dismiss(uid: WorkloadUid): void {
    this.#pods.delete(uid);
  }

  get size(): number {
    return [...this.#pods.values()].reduce((sum, { connections }) => sum + connections.length, 0);
  }

  /** Forgets those that have ended since. */
  refresh(): void {
    for (const [uid, listed] of this.#pods) {
      let alive: ReadonlySet<bigint>;
      try {
        alive = new Set(connectionsOf(listed.local.netns).map(({ cookie }) => cookie));
      } catch {
        // Not known: they stay listed. Where the namespace is gone, the pod is released, and they are dismissed with it.
        continue;
      }
      listed.connections = listed.connections.filter(({ cookie }) => alive.has(cookie));
      if (listed.connections.length === 0) this.#pods.delete(uid);
    }
  }

  /**
   * Cuts what the present policies would not let in, in pods that say so; both ends see a reset. `pod`: its settings of
   * now. Returns how many were cut; throws the last NativeError where the kernel could not, after all pods were tried.
   */
  cut(view: MeshView, pod: (uid: WorkloadUid) => NodePod | undefined): number {
    let cut = 0;
    let failure: unknown;
    for (const [uid, { local, connections }] of this.#pods) {
      const now = pod(uid);
      if (!now?.cutPreexisting) continue;
      const refused = connections.filter(
        (one) => planInboundPlain(view, { pod: now, local: one.local, remote: one.remote }).kind === 'refuse',
      );
      try {
        cut += destroyTcp(local.netns, refused);
      } catch (error) {
        failure = error;
      }
    }
    if (cut > 0) this.refresh();
    if (failure !== undefined) throw failure instanceof Error ? failure : new Error(errorText(failure));
    return cut;
  }

  describe(): object[] {
    this.refresh();
    return [...this.#pods].map(([pod, { connections }]) => ({
      pod,
      connections: connections.map(({ local, remote }) => ({
        local: formatSocketAddress(local),
        remote: formatSocketAddress(remote),
      })),
    }));
  }
}
