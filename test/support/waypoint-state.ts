/** What a waypoint of a testbed shows: its clusters, and its metrics. */
import { adminGet, adminPort } from '../../src/cli/admin.js';
import { waypointNetns, type WaypointReplica } from '../../src/cli/standalone/waypoint.js';

export interface ShownEndpoint {
  readonly workload: string;
  readonly state: string;
  readonly ejectedBecause?: string;
  readonly failedCheck?: string;
  readonly connections: number;
}
interface Worker {
  readonly clusters: readonly { readonly name: string; readonly endpoints: readonly ShownEndpoint[] }[];
}

/** The endpoint of the pod in a Service's cluster, as each worker that has the cluster sees it. */
export async function shownBy(
  waypoint: WaypointReplica,
  cluster: string,
  pod: string,
): Promise<ShownEndpoint[]> {
  const workers = JSON.parse(await adminGet(waypointNetns(waypoint), adminPort, '/clusters')) as Worker[];
  return workers.flatMap(({ clusters }) =>
    clusters
      .filter(({ name }) => name === cluster)
      .flatMap(({ endpoints }) => endpoints.filter(({ workload }) => workload.endsWith(`/${pod}`))),
  );
}

/** The sum of a metric's series that have the text in their labels, for example the name of a cluster. */
export async function metricOf(waypoint: WaypointReplica, name: string, labels: string): Promise<number> {
  const text = await adminGet(waypointNetns(waypoint), 15020, '/metrics');
  return text
    .split('\n')
    .filter((line) => line.startsWith(`${name}{`) && line.includes(labels))
    .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}
