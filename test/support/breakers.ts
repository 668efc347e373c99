/** Circuit breakers of several workers of one waypoint, in one process. */
import type { ServicePolicy } from '../../src/model/service-policy.js';
import type { Cluster } from '../../src/waypoint/cluster/cluster.js';
import { counterLayout, SharedCounters } from '../../src/waypoint/shared/shared-counters.js';
import { mainProcess, SharedTable } from '../../src/waypoint/shared/shared-table.js';
import { key } from './mesh.js';
import type { TestWaypoint } from './waypoint.js';

/** The counters of so many workers, and those of their main process. */
export function sharedCounters(workers: number): { main: SharedCounters; workers: SharedCounters[] } {
  const layout = { ...counterLayout(workers), slots: 1_024 };
  const words = new Int32Array(SharedTable.bytesOf(layout) / 4);
  const of = (worker: number): SharedCounters =>
    new SharedCounters(new SharedTable(words, layout, worker, 'a secret'), worker);
  return { main: of(mainProcess), workers: Array.from({ length: workers }, (_, worker) => of(worker)) };
}

/** Settings of port 80 of the Service `api`, all set by one TrafficPolicy. */
export function breakerPolicy(settings: Partial<ServicePolicy>): ServicePolicy {
  const origins = Object.keys(settings).map((setting) => ({ setting, object: 'TrafficPolicy shop/api' }));
  return { service: key('api'), port: 80, origins, ...settings };
}

export function clusterOf({ clusters }: TestWaypoint): Cluster {
  const cluster = clusters.ofService(key('api'), 80);
  if (!cluster) throw new Error('the Service api has no cluster');
  return cluster;
}

/** What a cluster has counted in all workers: connections, pending requests, requests. */
export const totals = ({ breaker }: Cluster): number[] => [0, 1, 2].map((kind) => breaker.all.total(kind));
