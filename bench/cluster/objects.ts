/** Reads the objects of a cluster that the comparison needs: nodes, parts of Weft, pods and why they do not run. */
import type { KubeConfig } from '@kubernetes/client-node';
import { WeftError } from '../../src/base/errors.js';
import { ApiError, requestJson } from '../../src/kubernetes/request.js';
import type { ClusterVariant, Nodes } from './variants.js';

export interface NodeItem {
  readonly metadata: { readonly name: string };
  readonly spec?: {
    readonly unschedulable?: boolean;
    readonly taints?: readonly { readonly key: string; readonly effect: string }[];
  };
  readonly status?: {
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
    readonly capacity?: Readonly<Record<string, string>>;
    readonly nodeInfo?: {
      readonly kernelVersion?: string;
      readonly osImage?: string;
      readonly operatingSystem?: string;
      readonly architecture?: string;
      readonly containerRuntimeVersion?: string;
      readonly kubeletVersion?: string;
    };
  };
}

export interface PodItem {
  readonly metadata: { readonly name: string; readonly labels?: Readonly<Record<string, string>> };
  readonly spec: { readonly nodeName?: string };
  readonly status?: {
    readonly phase?: string;
    readonly message?: string;
    readonly podIP?: string;
    readonly hostIP?: string;
    readonly conditions?: readonly {
      readonly type: string;
      readonly status: string;
      readonly message?: string;
    }[];
    readonly initContainerStatuses?: readonly ContainerStatus[];
    readonly containerStatuses?: readonly ContainerStatus[];
  };
}
interface ContainerStatus {
  readonly name: string;
  readonly state?: {
    readonly waiting?: { readonly reason?: string; readonly message?: string };
    readonly terminated?: {
      readonly exitCode?: number;
      readonly reason?: string;
      readonly message?: string;
    };
  };
}

const orNone = (error: unknown): undefined => {
  if (error instanceof ApiError && error.status === 404) return undefined;
  throw error;
};
/** Undefined if the object does not exist. Throws ApiError. */
export const find = async <T>(config: KubeConfig, path: string): Promise<T | undefined> =>
  (await requestJson(config, 'GET', path).catch(orNone)) as T | undefined;

/** Throws ApiError. */
export async function itemsAt<T>(config: KubeConfig, path: string): Promise<readonly T[]> {
  return ((await requestJson(config, 'GET', path)) as { items: readonly T[] }).items;
}

const usable = ({ spec, status }: NodeItem): boolean =>
  spec?.unschedulable !== true &&
  !(spec?.taints ?? []).some(({ effect }) => effect === 'NoSchedule' || effect === 'NoExecute') &&
  (status?.nodeInfo?.operatingSystem ?? 'linux') === 'linux' &&
  (status?.conditions ?? []).some(({ type, status }) => type === 'Ready' && status === 'True');

/**
 * The node of the client, and the node of the server for each placement: the requested ones, otherwise the first by name that accept
 * pods. With one node there is no `cross-node`. Throws WEFT_BENCH_NODES. Pure.
 */
export function chooseNodes(
  items: readonly NodeItem[],
  asked: { readonly clientNode?: string | undefined; readonly serverNode?: string | undefined },
): Nodes {
  const names = items
    .filter(usable)
    .map(({ metadata }) => metadata.name)
    .sort();
  for (const name of [asked.clientNode, asked.serverNode]) {
    if (name !== undefined && !names.includes(name))
      throw new WeftError(
        'WEFT_BENCH_NODES',
        `node ${name} is not there, not ready or takes no pods; ${names.length === 0 ? 'none does' : `these do: ${names.join(', ')}`}`,
      );
  }
  if (asked.clientNode !== undefined && asked.clientNode === asked.serverNode)
    throw new WeftError(
      'WEFT_BENCH_NODES',
      `client and server cannot both be on ${asked.clientNode}: give two nodes`,
    );
  const client = asked.clientNode ?? names.find((name) => name !== asked.serverNode);
  if (client === undefined)
    throw new WeftError('WEFT_BENCH_NODES', 'no node is ready and takes pods: see kubectl get nodes');
  const server = asked.serverNode ?? names.find((name) => name !== client);
  return {
    client,
    servers: { 'same-node': client, ...(server === undefined ? {} : { 'cross-node': server }) },
  };
}

/** Why the cluster cannot run the variant; undefined if it can. Throws ApiError. */
export async function lacking(
  config: KubeConfig,
  { needs }: ClusterVariant,
  nodes: Nodes,
): Promise<string | undefined> {
  if (needs === 'nothing') return undefined;
  const kinds = await find(config, '/apis/weft.dev/v1alpha1');
  const agents = await itemsAt<PodItem>(config, '/api/v1/pods?labelSelector=app%3Dweft-agent');
  // The CRDs may exist without Weft.
  if (kinds === undefined || agents.length === 0)
    return 'Weft is not installed: npx weft install puts it on the cluster';
  const ready = new Set(agents.filter(isReady).map(({ spec }) => spec.nodeName));
  const without = [...new Set([nodes.client, ...Object.values(nodes.servers)])].filter(
    (name) => !ready.has(name),
  );
  if (without.length > 0) return `no agent of Weft is ready on ${without.join(' and ')}: see npx weft status`;
  if (needs === 'weft') return undefined;
  const path = '/apis/gateway.networking.k8s.io/v1/gatewayclasses/weft-waypoint';
  return (await find(config, path)) === undefined
    ? 'there is no GatewayClass weft-waypoint: the kinds of the Gateway API are not installed (docs/kubernetes.md), or were a moment ago'
    : undefined;
}

export const isReady = ({ status }: PodItem): boolean =>
  (status?.conditions ?? []).some(({ type, status }) => type === 'Ready' && status === 'True');

/** Why a pod does not run or has ended; empty if it runs. Pure. */
export function problemOf({ metadata, status }: PodItem): string {
  const containers = [...(status?.initContainerStatuses ?? []), ...(status?.containerStatuses ?? [])];
  const said = containers.flatMap(({ name, state }) => {
    if (state?.waiting?.reason !== undefined && state.waiting.reason !== 'PodInitializing')
      return [`${name}: ${state.waiting.reason} ${state.waiting.message ?? ''}`.trim()];
    const ended = state?.terminated;
    return ended !== undefined && ended.exitCode !== 0
      ? [`${name}: ${ended.message?.trim() || `${ended.reason}, exit code ${ended.exitCode}`}`]
      : [];
  });
  const unscheduled = (status?.conditions ?? []).find(
    ({ type, status }) => type === 'PodScheduled' && status === 'False',
  )?.message;
  const all = [
    ...(unscheduled === undefined ? [] : [unscheduled]),
    ...said,
    ...(status?.message ? [status.message] : []),
  ];
  return all.length === 0 ? '' : `${metadata.name}: ${all.join('; ').slice(0, 500)}`;
}

interface DeploymentItem {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly replicas?: number };
  readonly status?: {
    readonly availableReplicas?: number;
    readonly conditions?: readonly { readonly type: string; readonly message?: string }[];
  };
}

export interface Serving {
  readonly serving: boolean;
  /** Why pods do not run, or are not created. */
  readonly problem: string;
  /** Waiting does not help. */
  readonly isFinal: boolean;
}

/** Waiting reasons of containers that stay until somebody changes something. A slow pull of the image is not one of them. */
const stayingReasons =
  /: (ErrImagePull|ImagePullBackOff|ErrImageNeverPull|InvalidImageName|CreateContainerConfigError) /;

/** Progress of the installation in a namespace. Throws ApiError. */
export async function servingIn(config: KubeConfig, namespace: string): Promise<Serving> {
  const [pods, deployments] = await Promise.all([
    itemsAt<PodItem>(config, `/api/v1/namespaces/${namespace}/pods`),
    itemsAt<DeploymentItem>(config, `/apis/apps/v1/namespaces/${namespace}/deployments`),
  ]);
  return servingOf(pods, deployments);
}

/** Pure. */
export function servingOf(pods: readonly PodItem[], deployments: readonly DeploymentItem[]): Serving {
  const refused = deployments.flatMap(({ status }) =>
    (status?.conditions ?? []).flatMap(({ type, message }) =>
      type === 'ReplicaFailure' && message !== undefined ? [message] : [],
    ),
  );
  const problem = [...refused, ...pods.map(problemOf).filter((text) => text !== '')].join('; ');
  return {
    serving:
      deployments.length > 0 &&
      deployments.every(({ spec, status }) => (status?.availableReplicas ?? 0) >= (spec.replicas ?? 1)),
    problem,
    isFinal: refused.length > 0 || stayingReasons.test(`${problem} `),
  };
}
