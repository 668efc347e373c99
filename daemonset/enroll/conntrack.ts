/**
 * What the node's connection tracking remembers of a pod from before it entered the mesh. A connection to a Service that
 * kube-proxy translated leaves an entry from the client's port to the endpoint; a connection that the kernel then carries
 * from the same port straight to that endpoint would get another source port on its way, and arrive as a stranger's.
 */
import { readFileSync } from 'node:fs';

const marginMs = 5_000;
const timeWaitSDefault = 120;

/** For how long a pod that was just enrolled has to go by the agent; 0 where connections are not tracked here. */
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
  // What could not be read counts as the kernel's default: too long costs a while by the agent, too short refuses connections.
  const timeWaitS = read('nf_conntrack_tcp_timeout_time_wait') ?? timeWaitSDefault;
  return (Number.isFinite(timeWaitS) ? timeWaitS : timeWaitSDefault) * 1000 + marginMs;
}

/**
 * What is left of it for a pod that another agent has enrolled: a restart or a hand-over makes connection tracking forget nothing.
 * @param attachedAtMs epoch, of the pod's hook; undefined, or later than now after a clock was set back: all of it is left
 */
export function settleLeftMs(settleMs: number, attachedAtMs: number | undefined, nowMs: number): number {
  const ageMs = nowMs - (attachedAtMs ?? nowMs);
  return ageMs < 0 ? settleMs : Math.max(0, settleMs - ageMs);
}
