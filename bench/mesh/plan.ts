/** Nodes, pods, namespaces and Services of a scene, as manifests for the testbed. Pure. */
import { stringify } from 'yaml';
import type { Relay } from '../../src/model/relay.js';

export type NodeName = 'bench-a' | 'bench-b' | 'bench-c' | 'bench-d' | 'bench-e' | 'bench-f';

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
  /** Name of the Service and of its only pod. */
  readonly name: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** Port -> name of the port, which states the protocol. */
  readonly ports: Readonly<Record<number, string>>;
}
export interface ScenePlan {
  readonly namespaces: readonly NamespacePlan[];
  readonly pods: readonly PodPlan[];
  readonly services: readonly ServicePlan[];
  /** Further objects, written unchanged. */
  readonly further?: readonly object[];
}

export interface PlacedPod extends PodPlan {
  readonly netns: string;
  readonly ip: string;
}

interface BenchNode {
  readonly name: NodeName;
  readonly ip: string;
  readonly block: string;
  /**
   * The relay of the node's agent. Without one the node has no agent: it is for pods that reach the mesh by another proxy, since an
   * agent would enroll them.
   */
  readonly relay?: Relay;
}
/** The first two are always there, the others if a pod is on them. */
const nodes: readonly BenchNode[] = [
  { name: 'bench-a', ip: '10.89.0.1', block: '10.245.1', relay: 'carrier' },
  { name: 'bench-b', ip: '10.89.0.2', block: '10.245.2', relay: 'carrier' },
  { name: 'bench-c', ip: '10.89.0.3', block: '10.245.3' },
  { name: 'bench-d', ip: '10.89.0.4', block: '10.245.4' },
  { name: 'bench-e', ip: '10.89.0.5', block: '10.245.5', relay: 'typescript' },
  { name: 'bench-f', ip: '10.89.0.6', block: '10.245.6', relay: 'typescript' },
];
const nodesAlways = 2;

const usedNodes = ({ pods }: Pick<ScenePlan, 'pods'>): readonly BenchNode[] =>
  nodes.filter(({ name }, at) => at < nodesAlways || pods.some(({ node }) => node === name));

/** Nodes of a scene that run an agent. */
export const agentNodesOf = (plan: Pick<ScenePlan, 'pods'>): readonly NodeName[] =>
  usedNodes(plan)
    .filter(({ relay }) => relay !== undefined)
    .map(({ name }) => name);

export const relayOf = (node: string): Relay | undefined => nodes.find(({ name }) => name === node)?.relay;

/** The network namespace of a node. */
export const nodeNetns = (node: NodeName): string => `weft-${node}`;
/** Pod addresses start at host 2: host 1 is the gateway, and hosts from 200 are waypoints. */
export const podsPerNodeMax = 198;

export const netnsOf = ({ namespace, name }: Pick<PodPlan, 'namespace' | 'name'>): string =>
  `weft-bench-${namespace}-${name}`;

/** Every pod with its address. Throws a RangeError if a node has more than `podsPerNodeMax` pods. */
export function placePods(plan: Pick<ScenePlan, 'pods'>): PlacedPod[] {
  const used = new Map<NodeName, number>();
  return plan.pods.map((pod) => {
    const at = used.get(pod.node) ?? 0;
    if (at >= podsPerNodeMax) throw new RangeError(`node ${pod.node} has more than ${podsPerNodeMax} pods`);
    used.set(pod.node, at + 1);
    const { block } = nodes.find(({ name }) => name === pod.node) as BenchNode;
    return { ...pod, netns: netnsOf(pod), ip: `${block}.${at + 2}` };
  });
}

/** Cluster addresses of the Services, in order. */
export const serviceIps = (plan: Pick<ScenePlan, 'services'>): string[] =>
  plan.services.map((_, at) => `10.97.${at >> 8}.${(at & 255) + 1}`);

/** YAML documents. */
export function manifestsOf(plan: ScenePlan): string {
  const ips = serviceIps(plan);
  const objects: object[] = [
    ...usedNodes(plan).map(({ name, ip }) => ({
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name, annotations: { 'weft.dev/netns': nodeNetns(name) } },
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
