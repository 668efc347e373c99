/**
 * Connections that a pod opened before it was enrolled. Neither the agent nor the kernel programs handle them, and no identity is known for
 * them. They are listed until they end, and closed if the pod's settings say so and strict mode would refuse them.
 */
import { readdirSync, readlinkSync } from 'node:fs';
import { errorText } from '../../src/base/errors.js';
import { cidrContains, formatSocketAddress } from '../../src/model/address.js';
import type { NodePod } from '../../src/model/node-pod.js';
import type { WorkloadUid } from '../../src/model/workload.js';
import type { MeshView } from '../../src/state/store.js';
import type { LocalPod } from '../worker-ipc.js';
import { connectionsOf, destroyTcp, type PodConnection } from '../pod/sockets.js';
import { planInboundPlain } from '../../src/path/choose-path.js';

const agentPorts: ReadonlySet<number> = new Set([15001, 15006, 15008, 15053]);

/**
 * The connections that are older than capture, out of all that a pod has when its capture is switched on. The others are the agent's own
 * (`ownInodes`), kernel flows (`kernelCookies`), between the pod's own addresses, or excluded. Pure.
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
      // ENOENT: the descriptor was closed meanwhile, and its socket belongs to no one. With any other error, one of our sockets could be
      // taken for the pod's.
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
   * @param inherited socket cookies by network namespace, as the agent that handed over the node listed them. That agent's own sockets in
   *   these network namespaces are not in this process and would be taken for the pods'.
   */
  constructor(private readonly inherited: ReadonlyMap<bigint, ReadonlySet<bigint>> = new Map()) {}

  /** For a successor: the connections that are listed now, of all enrolled pods. */
  cookiesOf(enrolled: Iterable<LocalPod>): Map<bigint, ReadonlySet<bigint>> {
    return new Map(
      [...enrolled].map(({ pod, netns }) => [
        netns.cookie,
        new Set((this.#pods.get(pod.uid)?.connections ?? []).map(({ cookie }) => cookie)),
      ]),
    );
  }

  /**
   * Call once capture is on.
   * @param kernelCookies socket cookies of the kernel flows
   */
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

  /** Removes connections that have ended since. */
  refresh(): void {
    for (const [uid, listed] of this.#pods) {
      let alive: ReadonlySet<bigint>;
      try {
        alive = new Set(connectionsOf(listed.local.netns).map(({ cookie }) => cookie));
      } catch {
        // Unknown: the connections stay listed. If the network namespace is gone, the pod's release removes them.
        continue;
      }
      listed.connections = listed.connections.filter(({ cookie }) => alive.has(cookie));
      if (listed.connections.length === 0) this.#pods.delete(uid);
    }
  }

  /**
   * Closes the connections that the current policies refuse, in pods whose settings ask for it; both ends see a reset. Returns how many
   * were closed. Throws the last NativeError after all pods were tried.
   * @param pod the current settings of a pod
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
