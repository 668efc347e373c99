/** Clusters without connections: for tests of what is decided before a connection is opened. */
import { ClusterManager } from '../../src/waypoint/cluster/cluster-manager.js';
import { defaultLimits } from '../../src/waypoint/limits.js';
import type { WaypointState } from '../../src/waypoint/state/waypoint-state.js';

/** The clusters of a state. Every attempt to connect fails. */
export const clustersOf = (state: WaypointState): ClusterManager =>
  new ClusterManager(
    state,
    () => Promise.reject(new Error('no connection is opened in this test')),
    defaultLimits,
    () => undefined,
  );
