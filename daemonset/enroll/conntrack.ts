/**
 * What the node's connection tracking remembers of a pod from before it entered the mesh. A connection to a Service that
 * kube-proxy translated leaves an entry from the client's port to the endpoint; a connection that the kernel then carries
 * from the same port straight to that endpoint would get another source port on its way, and arrive as a stranger's.
 */
import { readFileSync } from 'node:fs';

const marginMs = 5_000;
const timeWaitSDefault = 120;

/** For how long a pod that was just taken in has to go by the agent; 0 where connections are not tracked here. */
export function conntrackSettleMs(root = '/proc/sys/net/netfilter'): number {
  const read = (name: string): number | undefined => {
    try {
      const value = Number(readFileSync(`${root}/${name}`, 'utf8'));
      return Number.isFinite(value) ? value : undefined;
    } catch {
      return undefined; // the module is not loaded
    }
  };
  if ((read('nf_conntrack_count') ?? 0) === 0) return 0;
  return (read('nf_conntrack_tcp_timeout_time_wait') ?? timeWaitSDefault) * 1000 + marginMs;
}
