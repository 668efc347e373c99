/** Which pods there are: nodes, namespaces and Services as manifests for the bed. Pure. */
import { stringify } from 'yaml';

export type NodeName = 'bench-a' | 'bench-b';

export interface NamespacePlan {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}
export interface PodPlan {
  readonly namespace: string;
  readonly name: string;
  readonly node: NodeName;
}
export interface ServicePlan {
  readonly namespace: string;
  /** Also that of its only pod. */
  readonly name: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** Port -> its name, which tells the protocol. */
  readonly ports: Readonly<Record<number, string>>;
}
export interface ScenePlan {
  readonly namespaces: readonly NamespacePlan[];
  readonly pods: readonly PodPlan[];
  readonly services: readonly ServicePlan[];
  /** Further objects as they stand. */
  readonly further?: readonly object[];
}

export interface PlacedPod extends PodPlan {
  readonly netns: string;
  readonly ip: string;
}

const nodes: readonly { readonly name: NodeName; readonly ip: string; readonly block: string }[] = [
  { name: 'bench-a', ip: '10.89.0.1', block: '10.245.1' },
  { name: 'bench-b', ip: '10.89.0.2', block: '10.245.2' },
];
/** Hosts from 2: 1 is the gateway, those from 200 are waypoints'. */
export const podsPerNodeMax = 198;

export const netnsOf = ({ namespace, name }: Pick<PodPlan, 'namespace' | 'name'>): string =>
  `weft-bench-${namespace}-${name}`;

/** Every pod with its address. Throws a RangeError where a node has more than `podsPerNodeMax`. */
export function placePods(plan: Pick<ScenePlan, 'pods'>): PlacedPod[] {
  const used = new Map<NodeName, number>();
  return plan.pods.map((pod) => {
    const at = used.get(pod.node) ?? 0;
    if (at >= podsPerNodeMax) throw new RangeError(`node ${pod.node} has more than ${podsPerNodeMax} pods`);
    used.set(pod.node, at + 1);
    const { block } = nodes.find(({ name }) => name === pod.node) as (typeof nodes)[number];
    return { ...pod, netns: netnsOf(pod), ip: `${block}.${at + 2}` };
  });
}

/** Cluster addresses of the Services, in their order. */
export const serviceIps = (plan: Pick<ScenePlan, 'services'>): string[] =>
  plan.services.map((_, at) => `10.97.${at >> 8}.${(at & 255) + 1}`);

/** YAML documents. */
export function manifestsOf(plan: ScenePlan): string {
  const ips = serviceIps(plan);
  const objects: object[] = [
    ...nodes.map(({ name, ip }) => ({
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name, annotations: { 'weft.dev/netns': `weft-${name}` } },
      status: { addresses: [{ type: 'InternalIP', address: ip }] },
    })),
    ...plan.namespaces.map(({ name, labels, annotations = {} }) => ({
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name, labels, annotations },
    })),
    ...placePods(plan).map(({ namespace, name, node, netns, ip }) => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace, labels: { app: name }, annotations: { 'weft.dev/netns': netns } },
      spec: { nodeName: node, serviceAccountName: name },
      status: { podIPs: [{ ip }] },
    })),
    ...plan.services.map(({ namespace, name, labels = {}, ports }, at) => ({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name, namespace, labels },
      spec: {
        selector: { app: name },
        clusterIPs: [ips[at]],
        ports: Object.entries(ports).map(([port, title]) => ({ name: title, port: Number(port) })),
      },
    })),
    ...(plan.further ?? []),
  ];
  return objects.map((object) => stringify(object)).join('---\n');
}
