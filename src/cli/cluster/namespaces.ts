/** The namespaces of the mesh, from their labels and the reports of agents. Pure. */
import { waypointNamedBy } from '../../findings/waypoints.js';
import { isStrict, meshModeOf } from '../../model/object-settings.js';
import type { Agent } from './agents.js';
import type { GatewayItem } from './waypoint-status.js';

export interface NamespaceItem {
  readonly metadata: { readonly name: string; readonly labels?: Readonly<Record<string, string>> };
}

export interface NamespaceStatus {
  readonly name: string;
  /** The label of the namespace, or `pods` if only labels of pods enroll some. */
  readonly mesh: 'enabled' | 'pods';
  readonly mode: 'strict' | 'permissive';
  /** Waypoint that the labels of the namespace name, as `<namespace>/<name>`. */
  readonly waypoint?: string;
  /** Why this waypoint serves nothing. Undefined if it serves, or if this is unknown. */
  readonly waypointWhy?: string;
  /** Pods that agents have enrolled, without nodes whose agent does not respond. */
  readonly pods: number;
  readonly waiting: number;
}

export interface NamespaceInput {
  readonly namespaces: readonly NamespaceItem[];
  /** Undefined if they could not be read. */
  readonly gateways?: readonly GatewayItem[];
  /** `spec.mode` of MeshSettings. */
  readonly meshMode: 'strict' | 'permissive';
  readonly agents: readonly Agent[];
}

/** `<cluster>//Pod/<namespace>/<name>` */
const namespaceOfPod = (uid: string): string => uid.split('//Pod/').at(1)?.split('/').at(0) ?? '';

/** Namespaces that are enrolled or have enrolled pods, sorted by name. */
export function namespaceStatuses({
  namespaces,
  gateways,
  meshMode,
  agents,
}: NamespaceInput): NamespaceStatus[] {
  const held = new Map<string, number>();
  const waiting = new Map<string, number>();
  const add = (to: Map<string, number>, uid: string): void => {
    const namespace = namespaceOfPod(uid);
    to.set(namespace, (to.get(namespace) ?? 0) + 1);
  };
  for (const { status } of agents) {
    for (const { uid } of status?.pods ?? []) add(held, uid);
    for (const uid of Object.keys(status?.waiting ?? {})) add(waiting, uid);
  }
  const whyNot = (waypoint: string): string | undefined => {
    if (!gateways) return undefined;
    const gateway = gateways.find(
      ({ metadata: { namespace = 'default', name } }) => `${namespace}/${name}` === waypoint,
    );
    if (!gateway) return 'there is no such Gateway';
    const programmed = gateway.status?.conditions?.find(({ type }) => type === 'Programmed');
    if (programmed?.status === 'True') return undefined;
    return programmed ? `${programmed.reason ?? 'not programmed'}` : 'not read yet';
  };
  return namespaces
    .flatMap((item): NamespaceStatus[] => {
      const { name, labels = {} } = item.metadata;
      const enabled = meshModeOf(labels) === 'enabled';
      const pods = held.get(name) ?? 0;
      const wait = waiting.get(name) ?? 0;
      if (!enabled && pods + wait === 0) return [];
      const waypoint = waypointNamedBy(item, name);
      const why = waypoint === undefined ? undefined : whyNot(waypoint);
      const says = labels['weft.dev/mode'] !== undefined;
      return [
        {
          name,
          mesh: enabled ? 'enabled' : 'pods',
          mode: says ? (isStrict(labels) ? 'strict' : 'permissive') : meshMode,
          ...(waypoint === undefined ? {} : { waypoint }),
          ...(why === undefined ? {} : { waypointWhy: why }),
          pods,
          waiting: wait,
        },
      ];
    })
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Rows of a table, with its header first. `unknown`: some agents did not report their pods. */
export function namespaceRows(statuses: readonly NamespaceStatus[], unknown: boolean): (readonly string[])[] {
  return [
    ['NAMESPACE', 'MESH', 'MODE', 'WAYPOINT', 'PODS'],
    ...statuses.map(({ name, mesh, mode, waypoint, waypointWhy, pods, waiting }) => [
      name,
      mesh === 'enabled' ? 'enabled' : 'some pods',
      mode,
      waypoint === undefined ? 'none' : `${waypoint}${waypointWhy === undefined ? '' : ` (${waypointWhy})`}`,
      `${pods} of ${pods + waiting}${unknown ? ', others unknown' : ''}`,
    ]),
  ];
}
