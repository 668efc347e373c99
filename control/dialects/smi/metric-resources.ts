/**
 * The resources that SMI's TrafficMetrics are about: which there are of each kind, and to which of them an end of an edge belongs. Pure. What
 * a pod's namespace says about its pod (labels, owner) decides names in that namespace alone.
 */
import { otherName, type Edge, type EdgeParty } from '../../../src/model/edge.js';
import { labelsOf, namespaceOf, type Labels } from '../../../src/model/labels.js';
import type { PodObject, ServiceObject, SmiObject } from '../../objects/objects.js';
import { serviceInHost } from '../../../src/model/service-host.js';
import { rootOf } from './specs.js';

/**
 * By the name in the path, in the order of the specification but for pods. They have one kind in the API, TrafficMetrics, and kubectl reads the
 * last resource of a kind, whichever is asked for.
 */
export const metricKinds = {
  namespaces: { kind: 'Namespace', isNamespaced: false },
  nodes: { kind: 'Node', isNamespaced: false },
  replicationcontrollers: { kind: 'ReplicationController', isNamespaced: true },
  services: { kind: 'Service', isNamespaced: true },
  daemonsets: { kind: 'DaemonSet', isNamespaced: true },
  deployments: { kind: 'Deployment', isNamespaced: true },
  replicasets: { kind: 'ReplicaSet', isNamespaced: true },
  statefulsets: { kind: 'StatefulSet', isNamespaced: true },
  jobs: { kind: 'Job', isNamespaced: true },
  trafficsplits: { kind: 'TrafficSplit', isNamespaced: true },
  pods: { kind: 'Pod', isNamespaced: true },
} as const;
type EdgeNames = Omit<Edge, 'counts'>;
export type EdgeEnd = 'source' | 'destination';
export type MetricPlural = keyof typeof metricKinds;
/** Whether a path names a kind of resources that have metrics. */
export const isMetricPlural = (name: string): name is MetricPlural => Object.hasOwn(metricKinds, name);

/** A reference as TrafficMetrics have it; without a name it stands for those that are not named. */
export interface ResourceRef {
  readonly kind: string;
  readonly namespace?: string;
  readonly name?: string;
}

interface Named {
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly labels?: Labels };
}
/** What the registry knows. Without a namespace: of all namespaces. */
export interface MetricsLookup {
  readonly namespaces: () => Iterable<Named>;
  readonly nodes: () => Iterable<Named>;
  /** Pods that run, without those of waypoints. */
  readonly pods: (namespace: string | undefined) => Iterable<PodObject>;
  readonly pod: (namespace: string, name: string) => PodObject | undefined;
  readonly isInMesh: (pod: PodObject) => boolean;
  readonly isWaypoint: (pod: PodObject) => boolean;
  readonly services: (namespace: string | undefined) => Iterable<ServiceObject>;
  readonly splits: (namespace: string | undefined) => Iterable<SmiObject<'TrafficSplit'>>;
}

export interface Owner {
  readonly kind: string;
  readonly name: string;
}

/**
 * What made a pod, the nearest first. A Deployment names its ReplicaSet after itself and the hash that is a label of the pods, so that neither
 * has to be read.
 */
export function ownersOf(pod: PodObject): readonly Owner[] {
  const { controller } = pod;
  if (!controller) return [];
  const hash = labelsOf(pod)['pod-template-hash'] ?? '';
  const name = controller.name.slice(0, -hash.length - 1);
  const isOfDeployment =
    controller.kind === 'ReplicaSet' && hash !== '' && name !== '' && controller.name === `${name}-${hash}`;
  return isOfDeployment ? [controller, { kind: 'Deployment', name }] : [controller];
}

/** A key for maps: equal for references to the same resource. */
export const refKey = ({ kind, namespace, name }: ResourceRef): string =>
  `${kind} ${namespace ?? ''}/${name ?? ''}`;

/**
 * The resource of a kind that an end of an edge belongs to; undefined: none that is known. What a waypoint reports about a Service of one
 * namespace says nothing about pods of another: they belong to somebody else than who runs the waypoint.
 */
export function resourceOf(
  plural: MetricPlural,
  edge: EdgeNames,
  end: EdgeEnd,
  lookup: MetricsLookup,
): ResourceRef | undefined {
  const party = edge[end];
  const { kind } = metricKinds[plural];
  if (end === 'destination') {
    const service = serviceInHost(edge.service);
    if (plural === 'services') return service && { kind, ...service };
    if (edge.reporter === 'waypoint' && service && service.namespace !== party.namespace) return undefined;
  } else if (plural === 'services') return undefined;
  const pod = podOf(party, lookup);
  if (plural === 'namespaces') return pod || isKnown(party) ? { kind, name: party.namespace } : undefined;
  if (!pod) return undefined;
  if (plural === 'pods') return { kind, namespace: party.namespace, name: party.pod };
  if (plural === 'nodes') return { kind, name: pod.spec.nodeName };
  const owner = ownersOf(pod).find((one) => one.kind === kind);
  return owner && { kind, namespace: party.namespace, name: owner.name };
}

const podOf = ({ namespace, pod }: EdgeParty, lookup: MetricsLookup): PodObject | undefined =>
  pod === '' ? undefined : lookup.pod(namespace, pod);
/** Observations beyond the limits have other names. */
const isKnown = ({ namespace, pod }: EdgeParty): boolean =>
  namespace !== '' && !(namespace === otherName && pod === otherName);

/**
 * The other end of an edge, seen from a resource of a kind: of pods a pod, of nodes a node, of namespaces a namespace, of all others what made
 * the pod. Undefined: it is not known.
 */
export function peerOf(
  plural: MetricPlural,
  edge: EdgeNames,
  end: EdgeEnd,
  lookup: MetricsLookup,
): ResourceRef | undefined {
  if (plural === 'namespaces' || plural === 'nodes' || plural === 'pods')
    return resourceOf(plural, edge, end, lookup);
  const { namespace } = edge[end];
  const pod = podOf(edge[end], lookup);
  if (!pod) return undefined;
  const owners = ownersOf(pod);
  const owner = plural === 'replicasets' ? owners[0] : owners.at(-1);
  return { kind: owner?.kind ?? 'Pod', namespace, name: owner?.name ?? pod.metadata.name };
}

export interface Instance {
  readonly ref: Required<Pick<ResourceRef, 'kind' | 'name'>> & ResourceRef;
  /** For label selectors: of what pods made, the labels that all of its pods have. */
  readonly labels: Labels;
}

const commonLabels = (a: Labels, b: Labels): Labels =>
  Object.fromEntries(Object.entries(a).filter(([key, value]) => b[key] === value));

/**
 * The resources of a kind that there are, by `refKey`: pods that are in the mesh or had traffic, and what they belong to.
 * @param namespace undefined: in all namespaces, or the kind has none
 */
export function instancesOf(
  plural: Exclude<MetricPlural, 'trafficsplits'>,
  namespace: string | undefined,
  edges: readonly Edge[],
  lookup: MetricsLookup,
): Map<string, Instance> {
  const found = new Map<string, Instance>();
  const { kind, isNamespaced } = metricKinds[plural];
  const add = (name: string, of: string | undefined, labels: Labels): void => {
    const ref = { kind, ...(of === undefined ? {} : { namespace: of }), name };
    const key = refKey(ref);
    const known = found.get(key);
    found.set(key, { ref, labels: known ? commonLabels(known.labels, labels) : labels });
  };
  if (plural === 'services' || plural === 'namespaces' || plural === 'nodes') {
    for (const object of lookup[plural](namespace))
      add(object.metadata.name, isNamespaced ? namespaceOf(object) : undefined, labelsOf(object));
    return found;
  }
  const withTraffic = new Set<string>();
  for (const { source, destination } of edges)
    for (const party of [source, destination]) withTraffic.add(`${party.namespace}/${party.pod}`);
  for (const pod of lookup.pods(namespace)) {
    const of = namespaceOf(pod);
    const { name } = pod.metadata;
    if (!lookup.isInMesh(pod) && !withTraffic.has(`${of}/${name}`)) continue;
    if (plural === 'pods') add(name, of, labelsOf(pod));
    else for (const owner of ownersOf(pod)) if (owner.kind === kind) add(owner.name, of, labelsOf(pod));
  }
  return found;
}

/** A backend of a TrafficSplit. */
export interface Backend {
  readonly apex: string;
  readonly name: string;
  readonly weight: number;
}

/** The root Service of a TrafficSplit in force; undefined: it has none in its namespace, or it cannot be read. */
export const apexOf = (split: SmiObject<'TrafficSplit'>): string | undefined =>
  split.invalid === undefined && split.spec ? rootOf(split) : undefined;
