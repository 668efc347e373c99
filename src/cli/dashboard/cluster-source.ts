/** Programs and problems of a cluster, as far as the caller's account may read them. */
import type { KubeConfig } from '@kubernetes/client-node';
import { errorText } from '../../base/errors.js';
import { version } from '../../base/version.js';
import type { Problem } from '../../model/mesh-snapshot.js';
import type { Finding } from '../../findings/finding.js';
import { agentFindings } from '../cluster/agent-findings.js';
import type { Agent } from '../cluster/agents.js';
import { UnreadKinds } from '../cluster/list.js';
import { objectFindings } from '../cluster/object-findings.js';
import { configurationFindings } from '../cluster/configuration.js';
import { clusterStatus, type ClusterStatus } from '../cluster/status.js';
import { readWaypointPrograms } from '../cluster/waypoint.js';
import { waypointPods } from '../cluster/waypoint-pods.js';
import { read, type Reading } from './assemble.js';
import { clusterPrograms, waypointGaps, type ClusterWaypoints } from './programs.js';
import { allProblems, findingProblems } from './problems.js';
import type { DashboardFlags, MeshSource } from './sources.js';
import { tried } from './tried.js';

/** Errors of one part are its reason. */
const part = <T>(what: string, reading: Promise<T>): Promise<Reading<T>> =>
  tried(
    what,
    reading.then((value) => read(value)),
  );

async function clusterWaypoints(
  config: KubeConfig,
  namespace: string | undefined,
): Promise<ClusterWaypoints> {
  const [gateways, pods] = await Promise.allSettled([
    readWaypointPrograms(config, namespace),
    waypointPods(config, namespace),
  ]);
  return {
    ...(gateways.status === 'fulfilled'
      ? { gateways: gateways.value.waypoints }
      : { gatewaysWhy: errorText(gateways.reason) }),
    ...(gateways.status === 'fulfilled' && gateways.value.deploymentsWhy !== undefined
      ? { deploymentsWhy: gateways.value.deploymentsWhy }
      : {}),
    ...(pods.status === 'fulfilled' ? { pods: pods.value } : { podsWhy: errorText(pods.reason) }),
  };
}

export function clusterSource(config: KubeConfig, flags: DashboardFlags): MeshSource {
  const { rootNamespace: root, namespace } = flags;
  // Programs are read more often than problems, and all of it costs many lists.
  let latest: Promise<Reading<ClusterStatus>> | undefined;
  return {
    mesh: { kind: 'cluster', name: config.getCurrentContext(), version },
    programsMs: 15_000,
    // The API server has other clients.
    pausePerReading: 9,
    programs: async () => {
      latest = part('programs', clusterStatus(config, root));
      const [status, waypoints] = await Promise.all([latest, clusterWaypoints(config, namespace)]);
      const why = [...status.why, ...waypointGaps(waypoints)];
      if (!status.value) return { why };
      // Waypoints were read for themselves, of one namespace if only that is shown.
      const unknown = status.value.unknown.filter((one) => !one.startsWith('waypoints: '));
      return read(clusterPrograms(status.value, waypoints), [...unknown, ...why]);
    },
    problems: async () => {
      const unread = new UnreadKinds();
      const [configuration, objects] = await Promise.all([
        part('problems of objects', configurationFindings(config, unread.add)),
        part('problems of references', objectFindings(config, root, unread.add)),
      ]);
      const status = (await latest)?.value;
      const agents = (status?.nodes ?? []).flatMap(({ agent }): readonly Agent[] => (agent ? [agent] : []));
      const findings: readonly Finding[] = [
        ...(configuration.value ?? []),
        ...(objects.value ?? []),
        ...agentFindings(agents, [], Date.now()),
      ];
      const failures = (status?.failures ?? []).map((what): Problem => ({ level: 'fail', what }));
      const why = [...configuration.why, ...objects.why, ...unread.texts()];
      // Without objects, only programs could have been looked at.
      return configuration.value || objects.value
        ? read(allProblems(failures, findingProblems(findings)), why)
        : { why };
    },
  };
}
