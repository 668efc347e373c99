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
