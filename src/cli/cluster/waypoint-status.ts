/** Status of a waypoint from its Gateway, its pods and the labels that name it, as table rows. Pure. */
import { admitsNamespace, type AllowedRoutes } from '../../kubernetes/allowed-routes.js';
import { waypointNamedBy } from '../../findings/waypoints.js';
import { table } from './table.js';

export const gatewayClassName = 'weft-waypoint';
/** Of what belongs to a Gateway: its name. */
export const gatewayNameLabel = 'gateway.networking.k8s.io/gateway-name';
export const waypointPodSelector = `gateway.networking.k8s.io/gateway-class-name=${gatewayClassName}`;

interface Meta {
  readonly name: string;
  readonly namespace?: string;
  readonly generation?: number;
  readonly labels?: Readonly<Record<string, string>>;
}
export interface Labelled {
  readonly metadata: Meta;
}
interface ConditionItem {
  readonly type: string;
  readonly status: string;
  readonly reason?: string;
  readonly message?: string;
  readonly observedGeneration?: number;
}
export interface GatewayItem extends Labelled {
  readonly spec: {
    readonly gatewayClassName: string;
    readonly listeners?: readonly { readonly protocol: string; readonly allowedRoutes?: AllowedRoutes }[];
  };
  readonly status?: {
    readonly addresses?: readonly { readonly value?: string }[];
    readonly conditions?: readonly ConditionItem[];
  };
}
export interface DeploymentItem extends Labelled {
  readonly spec: { readonly replicas?: number };
  readonly status?: { readonly availableReplicas?: number };
}

export interface WaypointStatus {
  readonly namespace: string;
  readonly name: string;
  readonly programmed: boolean;
  /** Why it is not programmed, for people. */
  readonly why?: string;
  readonly addresses: readonly string[];
  readonly available: number;
  readonly wanted: number;
  /** Namespaces and Services (`Service <namespace>/<name>`) whose labels name the waypoint and that it serves. */
  readonly users: readonly string[];
  /** Namespaces and Services whose labels name the waypoint but which its Gateway does not admit. They are closed. */
  readonly refused: readonly string[];
}

export interface WaypointObjects {
  readonly gateways: readonly GatewayItem[];
  readonly deployments: readonly DeploymentItem[];
  readonly namespaces: readonly Labelled[];
  readonly services: readonly Labelled[];
}

/** Pure. */
export function waypointStatuses(objects: WaypointObjects): WaypointStatus[] {
  const users = new Map<string, { readonly who: string; readonly namespace: string }[]>();
  const use = (whom: string | undefined, who: string, namespace: string): void => {
    if (whom !== undefined) users.set(whom, [...(users.get(whom) ?? []), { who, namespace }]);
  };
  for (const one of objects.namespaces)
    use(waypointNamedBy(one, one.metadata.name), one.metadata.name, one.metadata.name);
  for (const one of objects.services) {
    const { namespace = 'default', name } = one.metadata;
    use(waypointNamedBy(one, namespace), `Service ${namespace}/${name}`, namespace);
  }
  const labelsOf = new Map(objects.namespaces.map(({ metadata }) => [metadata.name, metadata.labels ?? {}]));
  return objects.gateways
    .filter(({ spec }) => spec.gatewayClassName === gatewayClassName)
    .map(({ metadata, spec, status }) => {
      const { namespace = 'default', name, generation = 0 } = metadata;
      const named = users.get(`${namespace}/${name}`) ?? [];
      const isAdmitted = (user: { readonly namespace: string }): boolean =>
        admitsNamespace(namespace, spec.listeners, user.namespace, labelsOf.get(user.namespace) ?? {});
      const deployment = objects.deployments.find(
        (one) => one.metadata.name === name && (one.metadata.namespace ?? 'default') === namespace,
      );
      const condition = status?.conditions?.find(({ type }) => type === 'Programmed');
      const current = condition?.observedGeneration === generation;
      const programmed = current && condition.status === 'True';
      const why = current
        ? `${condition.reason}: ${condition.message}`
        : 'no control plane has set its status yet: run weft status';
      return {
        namespace,
        name,
        programmed,
        ...(programmed ? {} : { why }),
        addresses: (status?.addresses ?? []).flatMap(({ value }) => (value === undefined ? [] : [value])),
        available: deployment?.status?.availableReplicas ?? 0,
        wanted: deployment?.spec.replicas ?? (deployment ? 1 : 0),
        users: named.filter(isAdmitted).map(({ who }) => who),
        refused: named.filter((user) => !isAdmitted(user)).map(({ who }) => who),
      };
    })
    .sort((a, b) => (`${a.namespace}/${a.name}` < `${b.namespace}/${b.name}` ? -1 : 1));
}

const notAdmitted = 'does not admit it: allowedRoutes.namespaces of its HBONE listener';
const nobody = 'nobody: label a namespace or a Service weft.dev/waypoint=<name>';

export function* listLines(all: readonly WaypointStatus[]): Generator<string> {
  yield* table([
    ['NAMESPACE', 'NAME', 'PROGRAMMED', 'ADDRESS', 'REPLICAS', 'USED BY'],
    ...all.map(({ namespace, name, programmed, addresses, available, wanted, users }) => [
      namespace,
      name,
      programmed ? 'yes' : 'no',
      addresses.join(',') || '-',
      `${available} of ${wanted}`,
      users.length > 3 ? `${users.length} namespaces and Services` : users.join(', ') || 'nobody',
    ]),
  ]);
  const unprogrammed = all.filter(({ why }) => why !== undefined);
  if (unprogrammed.length > 0) {
    yield '';
    yield* table([
      ['NOT PROGRAMMED', 'WHY'],
      ...unprogrammed.map(({ namespace, name, why = '' }) => [`${namespace}/${name}`, why]),
    ]);
  }
  const refused = all.flatMap(({ namespace, name, refused: of }) =>
    of.map((who) => [who, `${namespace}/${name} ${notAdmitted}`]),
  );
  if (refused.length === 0) return;
  yield '';
  yield* table([['CLOSED', 'WHY'], ...refused]);
}

export function* statusLines(status: WaypointStatus): Generator<string> {
  const { namespace, name, programmed, why, addresses, available, wanted, users, refused } = status;
  yield* table([
    ['waypoint', `${namespace}/${name}`],
    ['programmed', programmed ? 'yes' : `no: ${why}`],
    ['address', addresses.join(', ') || 'none'],
    ['replicas', `${available} of ${wanted} available`],
    ['used by', users[0] ?? nobody],
    ...users.slice(1).map((user) => ['', user]),
    ...refused.map((user, at) => [at === 0 ? 'closed' : '', `${user}: it ${notAdmitted}`]),
  ]);
}
