/** Parts of a cluster, read with the caller's own kubeconfig. What the caller may not read is an error of its part. */
import type { KubeConfig } from '@kubernetes/client-node';
import { isRecord } from '../../base/record.js';
import { getThroughPortForward } from '../../kubernetes/port-forward.js';
import { ApiError, requestJson, requestText } from '../../kubernetes/request.js';
import { edgesKeptMs } from '../../model/edge.js';
import { adminPort } from '../admin.js';
import { changesQuestion } from '../changes/command.js';
import { checkCluster } from '../cluster/check.js';
import { clusterStatus } from '../cluster/status.js';
import { askCluster } from '../control-admin.js';
import { edgesQuestion } from '../edges/edges-question.js';
import { fileName, logBytesMax, type Content, type Part } from './collect.js';
import { versions } from './machine.js';
import { picked, pickedKinds, pickedObject, type PickedKind } from './picked-objects.js';
import { jsonContent } from './standalone.js';

const pageSize = 500;
const objectsMax = 20_000;
const logLinesMax = 4_000;
/** Of the response with these lines, of which the end is kept. */
const logResponseMax = 16 << 20;
const waypointLabel = 'gateway.networking.k8s.io/gateway-class-name=weft-waypoint';

/** Lists page by page, and keeps of each object what `pick` returns. Errors: ApiError. */
async function list(
  config: KubeConfig,
  path: string,
  pick: (item: unknown) => unknown,
  query: Readonly<Record<string, string>> = {},
): Promise<Content> {
  const items: unknown[] = [];
  let from = '';
  do {
    const search = new URLSearchParams({
      limit: String(pageSize),
      ...query,
      ...(from === '' ? {} : { continue: from }),
    });
    const page = (await requestJson(config, 'GET', `${path}?${search}`)) as {
      readonly items?: readonly unknown[];
      readonly metadata?: { readonly continue?: string };
    };
    items.push(...(page.items ?? []).map(pick));
    from = page.metadata?.continue ?? '';
  } while (from !== '' && items.length < objectsMax);
  return { value: items, ...(from === '' ? {} : { note: `the first ${items.length} objects` }) };
}

/** The objects of a kind in the newest version that the cluster serves. */
async function objectsOf(config: KubeConfig, kind: PickedKind): Promise<Content> {
  for (const version of kind.versions)
    try {
      const path = kind.group === '' ? `/api/${version}` : `/apis/${kind.group}/${version}`;
      return await list(config, `${path}/${kind.plural}`, (item) => pickedObject(kind, item));
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 404) throw error;
    }
  return { text: '' };
}

const eventFields = [
  'type',
  'reason',
  'message',
  'count',
  'firstTimestamp',
  'lastTimestamp',
  'eventTime',
  'involvedObject.kind',
  'involvedObject.namespace',
  'involvedObject.name',
  'reportingComponent',
  'source.component',
];
const workloadFields = [
  'metadata.name',
  'metadata.labels',
  'metadata.generation',
  'spec.replicas',
  'spec.updateStrategy',
  'spec.template.spec.containers[].name',
  'spec.template.spec.containers[].image',
  'spec.template.spec.containers[].args',
  'spec.template.spec.containers[].resources',
  'status',
];
const leaseFields = ['metadata.name', 'spec.holderIdentity', 'spec.renewTime', 'spec.leaseTransitions'];

/** Objects of the installation itself. */
function installationParts(config: KubeConfig, namespace: string): Part[] {
  const below = (group: string): string => `${group}/namespaces/${namespace}`;
  const part = (name: string, path: string, fields: readonly string[]): Part => ({
    file: `installation/${name}.json`,
    read: () => list(config, path, (item) => picked(item, fields)),
  });
  return [
    part('deployments', `${below('/apis/apps/v1')}/deployments`, workloadFields),
    part('daemonsets', `${below('/apis/apps/v1')}/daemonsets`, workloadFields),
    part('leases', `${below('/apis/coordination.k8s.io/v1')}/leases`, leaseFields),
    part('events', `${below('/api/v1')}/events`, eventFields),
    {
      file: 'events.json',
      read: () =>
        list(config, '/api/v1/events', (item) => picked(item, eventFields), {
          fieldSelector: 'reportingComponent=weft-control',
        }),
    },
    {
      // Public certificates. Of ConfigMaps, only this one is Weft's.
      file: 'installation/root-certificates.json',
      read: async () => ({
        value: picked(await requestJson(config, 'GET', `${below('/api/v1')}/configmaps/weft-ca-root-cert`), [
          'metadata.name',
          'metadata.creationTimestamp',
          'data.root-cert.pem',
        ]),
      }),
    },
  ];
}

interface PodItem {
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly labels?: Readonly<Record<string, string>>;
  };
  readonly spec: { readonly containers: readonly { readonly name: string }[] };
  readonly status?: {
    readonly containerStatuses?: readonly {
      readonly name: string;
      readonly ready?: boolean;
      readonly restartCount?: number;
    }[];
  };
}

const isReady = ({ status }: PodItem): boolean =>
  status?.containerStatuses?.every(({ ready }) => ready === true) === true;

/** What programs say at their admin and metrics ports, by the label `app` of their pods. */
const programs: Readonly<Record<string, { readonly paths: readonly string[]; readonly metrics?: number }>> = {
  'weft-agent': { paths: ['status', 'dump', 'certificates'], metrics: 15020 },
  'weft-agent-draining': { paths: ['status', 'dump', 'certificates'], metrics: 15020 },
  'weft-control': { paths: [], metrics: 15014 },
  'weft-carrier': { paths: [] },
  'weft-rate-limiter': { paths: [], metrics: 15022 },
};
const ofWaypoint = { paths: ['status', 'dump', 'clusters'], metrics: 15020 };

function logParts(config: KubeConfig, pod: PodItem, folder: string): Part[] {
  const { name, namespace } = pod.metadata;
  return pod.spec.containers.flatMap((container) => {
    const status = pod.status?.containerStatuses?.find((one) => one.name === container.name);
    const read = async (previous: boolean): Promise<Content> => {
      const query = new URLSearchParams({
        container: container.name,
        tailLines: String(logLinesMax),
        ...(previous ? { previous: 'true' } : {}),
      });
      const path = `/api/v1/namespaces/${namespace}/pods/${name}/log?${query}`;
      const text = await requestText(config, path, logResponseMax);
      if (text.length <= logBytesMax) return { text };
      const end = text.slice(-logBytesMax);
      return { text: end.slice(end.indexOf('\n') + 1), note: `the last ${logBytesMax} characters` };
    };
    const file = `${folder}/${fileName(container.name)}`;
    return [
      { file: `${file}.log`, read: () => read(false) },
      ...((status?.restartCount ?? 0) > 0 ? [{ file: `${file}.previous.log`, read: () => read(true) }] : []),
    ];
  });
}

function podParts(config: KubeConfig, pod: PodItem): Part[] {
  const { name, namespace, labels = {} } = pod.metadata;
  const folder = `pods/${fileName(namespace)}/${fileName(name)}`;
  const isWaypoint =
    waypointLabel ===
    `gateway.networking.k8s.io/gateway-class-name=${labels['gateway.networking.k8s.io/gateway-class-name']}`;
  const program = isWaypoint ? ofWaypoint : programs[labels['app'] ?? ''];
  // Another program in the namespace of the installation.
  if (!program) return [];
  const get = (port: number, path: string): Promise<string> =>
    getThroughPortForward(config, { namespace, pod: name, port }, path);
  const { metrics } = program;
  return [
    ...logParts(config, pod, folder),
    ...program.paths.map((path) => ({
      file: `${folder}/${path}.json`,
      read: async () => jsonContent(await get(adminPort, `/${path}`)),
    })),
    ...(metrics === undefined
      ? []
      : [{ file: `${folder}/metrics.txt`, read: async () => ({ text: await get(metrics, '/metrics') }) }]),
  ];
}

/** Pods of Weft's programs. Those that are not ready come first, because the time is limited. */
async function ownPods(config: KubeConfig, path: string): Promise<readonly PodItem[]> {
  const page = (await requestJson(config, 'GET', path)) as { readonly items?: readonly unknown[] };
  const pods = (page.items ?? []).filter((one) => isRecord(one)) as unknown as PodItem[];
  return [...pods].sort((a, b) => Number(isReady(a)) - Number(isReady(b)));
}

/** All parts of a cluster. Error: ApiError, if the API server does not respond. */
export async function clusterParts(config: KubeConfig, namespace: string): Promise<Part[]> {
  const parts: Part[] = [
    {
      file: 'versions.json',
      read: async () => ({
        value: { ...versions(), cluster: await requestJson(config, 'GET', '/version') },
      }),
    },
    { file: 'status.json', read: async () => ({ value: await clusterStatus(config, namespace) }) },
    { file: 'findings.json', read: async () => ({ value: await checkCluster(config, namespace) }) },
    {
      file: 'control/edges.json',
      read: async () => ({
        value: await askCluster(config, edgesQuestion({ sinceMs: Date.now() - edgesKeptMs })),
      }),
    },
    {
      file: 'control/changes.json',
      read: async () => ({ value: await askCluster(config, changesQuestion(0)) }),
    },
    ...installationParts(config, namespace),
  ];
  for (const path of [
    `/api/v1/namespaces/${namespace}/pods`,
    `/api/v1/pods?labelSelector=${encodeURIComponent(waypointLabel)}`,
  ])
    try {
      parts.push(...(await ownPods(config, path)).flatMap((pod) => podParts(config, pod)));
    } catch (error) {
      if (error instanceof ApiError && error.status === 0) throw error;
      parts.push({
        file: path.includes('?') ? 'pods of waypoints' : 'pods of the installation',
        read: () => Promise.reject(error as Error),
      });
    }
  // Objects last: of a large cluster they are the largest part.
  return [
    ...parts,
    ...pickedKinds.map((kind) => ({
      file: `objects/${kind.group === '' ? kind.plural : `${kind.plural}.${kind.group}`}.json`,
      read: () => objectsOf(config, kind),
    })),
  ];
}
