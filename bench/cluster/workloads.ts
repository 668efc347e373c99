/** What Jobs measure, as the comparison of one machine names it, with what is different on a cluster. */
import { atRate, bulk, capacity, churn, pingPong } from '../mesh/workloads.js';
import type { Workload } from '../result/result.js';
import { protocols } from './plan.js';

const unpinned = 'On a cluster nothing is pinned to a CPU.';
const cpu =
  "CPU is of processes: the load's and the server's; Envoy's, or that of the agents of both nodes and of the waypoint, with whatever else the agents carry meanwhile.";
const here = (of: Workload): Workload => ({ ...of, about: `${of.about}. ${unpinned} ${cpu}` });

export const workloads: readonly Workload[] = [
  pingPong,
  bulk,
  churn,
  ...protocols.flatMap((protocol) => [capacity(protocol), atRate(protocol)]),
].map(here);
