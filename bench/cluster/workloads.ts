/** The workloads of the Jobs: those of one machine, with a note about what differs on a cluster. */
import { atRate, bulk, capacity, churn, pingPong } from '../mesh/workloads.js';
import type { Workload } from '../result/result.js';
import { protocols } from './plan.js';

const unpinned = 'On a cluster nothing is pinned to a CPU.';
const cpu =
  "CPU is that of processes: the load's and the server's; Envoy's, or that of the waypoint and of the agents of both nodes, including other traffic that the agents relay meanwhile.";
const here = (of: Workload): Workload => ({ ...of, about: `${of.about}. ${unpinned} ${cpu}` });

export const workloads: readonly Workload[] = [
  pingPong,
  bulk,
  churn,
  ...protocols.flatMap((protocol) => [capacity(protocol), atRate(protocol)]),
].map(here);
