/**
 * Entries of the node's connection tracking from before a pod was enrolled. A connection to a Service that kube-proxy translated leaves an
 * entry from the client's port to the endpoint. A later kernel flow from the same port straight to that endpoint would get another source
 * port on its way, and would arrive as a connection of an unknown client.
 */
import { readFileSync } from 'node:fs';

const marginMs = 5_000;
const timeWaitSDefault = 120;

/** How long (ms) the agent relays the connections of a pod that was just enrolled; 0 if this node does not track connections. */
export function conntrackSettleMs(root = '/proc/sys/net/netfilter'): number {
  const read = (name: string): number | undefined => {
    let text: string;
    try {
      text = readFileSync(`${root}/${name}`, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined; // the module is not loaded
      return Number.NaN;
    }
    return Number(text);
  };
  const count = read('nf_conntrack_count');
  if (count === undefined || count === 0) return 0;
  // A value that cannot be read counts as the kernel's default. Too long only keeps connections in user space for a while; too short
  // refuses connections.
  const timeWaitS = read('nf_conntrack_tcp_timeout_time_wait') ?? timeWaitSDefault;
  return (Number.isFinite(timeWaitS) ? timeWaitS : timeWaitSDefault) * 1000 + marginMs;
}

/**
 * What is left of the settling time (ms) for a pod that another agent enrolled: connection tracking keeps its entries across a restart or a
 * hand-over.
 * @param attachedAtMs when the pod's hook was attached (epoch ms); if undefined, or later than now because a clock was set back, the whole
 *   time is left
 */
export function settleLeftMs(settleMs: number, attachedAtMs: number | undefined, nowMs: number): number {
  const ageMs = nowMs - (attachedAtMs ?? nowMs);
  return ageMs < 0 ? settleMs : Math.max(0, settleMs - ageMs);
}
