/** Health, versions and certificates of the mesh's programs. Pure. */
import type { ProgramState, ProgramsUnread } from '../../model/mesh-snapshot.js';
import type { ClusterStatus } from '../cluster/status.js';
import type { WaypointPod, WaypointReport } from '../cluster/waypoint-pods.js';
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
  const { node, ready, why, control, version, undecodable = [] } = status;
  return {
    kind: 'agent',
    name: node,
    ...(version === undefined ? {} : { version }),
    health: ready ? 'ready' : 'not-ready',
    ...because([why, ...agentProblems(status)]),
    ...(control === undefined ? {} : { isInSync: control === 'connected' && undecodable.length === 0 }),
    ...earliest(status.certificates?.map(({ notAfter }) => notAfter) ?? []),
    ...(status.certificates?.length === 0 ? { hasNoCertificate: true as const } : {}),
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

export interface ProgramsView {
  readonly programs: readonly ProgramState[];
  readonly unread: readonly ProgramsUnread[];
}

/** What could be read of the waypoints of a cluster; `…Why`: why it could not. */
export interface ClusterWaypoints {
  readonly gateways?: readonly GatewayStatus[];
  readonly gatewaysWhy?: string;
  readonly deploymentsWhy?: string;
  readonly pods?: readonly WaypointPod[];
  readonly podsWhy?: string;
}

/** Whether a part of the status could not be read, and why. */
const unreadOf = ({ unknown }: ClusterStatus, part: string): string | undefined =>
  unknown.find((one) => one.startsWith(`${part}: `));

function controlProgram(status: ClusterStatus): ProgramState[] {
  const { control, failures } = status;
  if (unreadOf(status, 'the control plane') !== undefined) return [];
  const name = 'weft-control';
  if (!control)
    return [{ kind: 'control-plane', name, health: 'not-ready', why: 'there is none in this namespace' }];
  const version = versionOf(control.image);
  return [
    {
      kind: 'control-plane',
      name,
      ...(version === undefined ? {} : { version }),
      health: control.ready >= control.wanted && control.ready > 0 ? 'ready' : 'not-ready',
      ...because([
        control.ready < control.wanted
          ? `${control.ready} of ${control.wanted} replicas are ready`
          : undefined,
        ...failures,
      ]),
    },
  ];
}

function nodeProgram(
  { name, agent }: ClusterStatus['nodes'][number],
  agentsWhy: string | undefined,
): ProgramState {
  if (!agent && agentsWhy !== undefined) return { kind: 'agent', name, health: 'unknown', why: agentsWhy };
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
}

/** The version of a waypoint's pods: several while it is updated. */
const versionsOf = (reports: readonly WaypointReport[]): { version?: string } => {
  const versions = [...new Set(reports.flatMap(({ version }) => version ?? []))].sort();
  return versions.length === 0 ? {} : { version: versions.join(' and ') };
};

/** In sync if all of its pods are; what one of them does not say is not known. */
function syncOf(pods: readonly WaypointPod[]): { isInSync?: boolean } {
  const known = pods.map(({ report }) => report?.isInSync);
  if (known.includes(false)) return { isInSync: false };
  return known.length === 0 || known.includes(undefined) ? {} : { isInSync: true };
}

function gatewayProgram(
  { namespace, name, programmed, why, available, wanted }: GatewayStatus,
  { pods = [], deploymentsWhy }: ClusterWaypoints,
): ProgramState {
  const own = pods.filter(({ gateway }) => gateway === `${namespace}/${name}`);
  const reports = own.flatMap(({ report }) => report ?? []);
  const isCounted = deploymentsWhy === undefined;
  return {
    kind: 'waypoint',
    name: `${namespace}/${name}`,
    ...versionsOf(reports),
    health: !programmed ? 'not-ready' : !isCounted ? 'unknown' : available > 0 ? 'ready' : 'not-ready',
    ...because([
      why,
      !isCounted
        ? `how many replicas are available is not known: ${deploymentsWhy}`
        : available < wanted
          ? `${available} of ${wanted} replicas are available`
          : undefined,
    ]),
    ...syncOf(own),
    // The first that expires is not known while one of them is not.
    ...(own.every(({ report }) => report?.notAfter !== undefined)
      ? earliest(reports.map(({ notAfter }) => notAfter))
      : {}),
  };
}

function* programsUnread(status: ClusterStatus, waypoints: ClusterWaypoints): Generator<ProgramsUnread> {
  const control = unreadOf(status, 'the control plane');
  if (control !== undefined) yield { kind: 'control-plane', why: control };
  const agents = unreadOf(status, 'agents') ?? unreadOf(status, 'nodes');
  if (agents !== undefined) yield { kind: 'agent', why: agents };
  if (!waypoints.gateways) yield { kind: 'waypoint', why: waypoints.gatewaysWhy ?? 'they were not read' };
}

export const clusterPrograms = (status: ClusterStatus, waypoints: ClusterWaypoints): ProgramsView => {
  const agentsWhy = unreadOf(status, 'agents');
  return {
    programs: [
      ...controlProgram(status),
      ...status.nodes.map((node) => nodeProgram(node, agentsWhy)),
      ...(waypoints.gateways ?? []).map((one) => gatewayProgram(one, waypoints)),
    ],
    unread: [...programsUnread(status, waypoints)],
  };
};

/** What could not be read of waypoints: sentences. */
export function* waypointGaps(waypoints: ClusterWaypoints): Generator<string> {
  const { gatewaysWhy, deploymentsWhy, pods = [], podsWhy } = waypoints;
  if (gatewaysWhy !== undefined) return yield `waypoints: ${gatewaysWhy}`;
  if (deploymentsWhy !== undefined) yield `waypoints: replicas are not known: ${deploymentsWhy}`;
  const what = 'versions, certificates and configuration';
  if (podsWhy !== undefined) yield `waypoints: ${what} are not known: ${podsWhy}`;
  const silent = pods.filter(({ report }) => !report);
  const [first] = silent;
  if (!first) return;
  const others = silent.length > 1 ? ` and ${silent.length - 1} more` : '';
  yield `waypoints: ${what} of ${first.gateway} (pod ${first.pod})${others} are not known: ${first.why ?? 'no response'}`;
}
