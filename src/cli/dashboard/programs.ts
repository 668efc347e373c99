/** Health, versions and certificates of the mesh's programs. Pure. */
import type { ProgramState } from '../../model/mesh-snapshot.js';
import type { ClusterStatus } from '../cluster/status.js';
import type { WaypointStatus as GatewayStatus } from '../cluster/waypoint-status.js';
import type { NodeStatus, Status, WaypointStatus } from '../status.js';

const earliest = (times: readonly (string | undefined)[]): { certificateExpiresMs?: number } => {
  const ends = times
    .flatMap((time) => (time === undefined ? [] : [Date.parse(time)]))
    .filter(Number.isFinite);
  return ends.length === 0 ? {} : { certificateExpiresMs: Math.min(...ends) };
};
const because = (reasons: readonly (string | undefined)[]): { why?: string } => {
  const why = reasons.filter((one) => one !== undefined && one !== '').join('; ');
  return why === '' ? {} : { why };
};
/** Problems of certificates, waiting pods, and resources that a program of another version cannot decode. */
const agentProblems = ({
  waiting,
  certificates = [],
  undecodable = [],
}: Pick<NodeStatus, 'waiting' | 'certificates' | 'undecodable'>): readonly string[] => [
  ...Object.entries(waiting).map(([uid, why]) => `${uid} waits: ${why}`),
  ...certificates.flatMap(({ id, error }) =>
    error === undefined ? [] : [`no certificate for ${id}: ${error}`],
  ),
  ...undecodable.map(({ type, why }) => `cannot decode ${type}: ${why}`),
];

function agentProgram(status: NodeStatus): ProgramState {
  const { node, ready, why, control, version, undecodable = [], certificates = [] } = status;
  return {
    kind: 'agent',
    name: node,
    ...(version === undefined ? {} : { version }),
    health: ready ? 'ready' : 'not-ready',
    ...because([why, ...agentProblems(status)]),
    ...(control === undefined ? {} : { isInSync: control === 'connected' && undecodable.length === 0 }),
    ...earliest(certificates.map(({ notAfter }) => notAfter)),
  };
}

function waypointProgram({ gateway, ready, why, report }: WaypointStatus): ProgramState {
  return {
    kind: 'waypoint',
    name: gateway,
    ...(report?.version === undefined ? {} : { version: report.version }),
    health: ready ? 'ready' : 'not-ready',
    ...because([why]),
    ...(report
      ? { isInSync: report.control.state === 'connected' && (report.undecodable ?? []).length === 0 }
      : {}),
    ...earliest([report?.certificate?.notAfter]),
  };
}

/** @param rootExpires when the root certificate of the control plane expires, if it is known */
export function testbedPrograms(status: Status, rootExpires: string | undefined): ProgramState[] {
  const { control } = status;
  return [
    ...(control === undefined
      ? []
      : [
          {
            kind: 'control-plane' as const,
            name: 'control',
            health: control === 'running' ? ('ready' as const) : ('not-ready' as const),
            ...because([
              control === 'running' ? undefined : 'it has ended: changes wait until it runs again',
            ]),
            ...earliest([rootExpires]),
          },
        ]),
    ...status.nodes.map(agentProgram),
    ...(status.waypoints ?? []).map(waypointProgram),
  ];
}

/** The tag of an image. */
const versionOf = (image: string): string | undefined => /:([^:/@]+)(?:@.*)?$/.exec(image)?.[1];

/** @param waypoints undefined: they could not be read */
export function clusterPrograms(
  status: ClusterStatus,
  waypoints: readonly GatewayStatus[] | undefined,
): ProgramState[] {
  const { control, nodes, failures } = status;
  const version = control && versionOf(control.image);
  return [
    ...(control
      ? [
          {
            kind: 'control-plane' as const,
            name: 'weft-control',
            ...(version === undefined ? {} : { version }),
            health:
              control.ready >= control.wanted && control.ready > 0
                ? ('ready' as const)
                : ('not-ready' as const),
            ...because([
              control.ready < control.wanted
                ? `${control.ready} of ${control.wanted} replicas are ready`
                : undefined,
              ...failures,
            ]),
          },
        ]
      : []),
    ...nodes.map(({ name, agent }): ProgramState => {
      if (!agent?.status)
        return {
          kind: 'agent',
          name,
          health: agent ? 'unknown' : 'not-ready',
          why: agent
            ? (agent.why ?? 'it does not respond')
            : 'the node has no agent: its enrolled pods are closed',
        };
      const { ready, control: link, ...report } = agent.status;
      const text = link.state === 'connected' || link.why === '' ? link.state : `${link.state} (${link.why})`;
      const one = agentProgram({
        node: name,
        ready: ready && agent.isPodUnready !== true,
        control: text,
        ...report,
      });
      return agent.isPodUnready === true
        ? { ...one, ...because(['the kubelet reports its pod as not ready', one.why]) }
        : one;
    }),
    ...(waypoints ?? []).map(({ namespace, name, programmed, why, available, wanted }): ProgramState => ({
      kind: 'waypoint',
      name: `${namespace}/${name}`,
      health: programmed && available > 0 ? 'ready' : 'not-ready',
      ...because([why, available < wanted ? `${available} of ${wanted} replicas are available` : undefined]),
    })),
  ];
}
