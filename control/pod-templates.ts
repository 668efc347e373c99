/** Pods that a cluster would create from manifests: policies select the pods of a Deployment in a file. Pure. */
import type { Container, PodObject } from './objects/objects.js';
import { isRecord } from '../src/base/record.js';
import { templatePodName } from '../src/model/template-pod.js';

type Fields = Readonly<Record<string, unknown>>;
const at = (value: unknown, ...path: readonly string[]): unknown =>
  path.reduce<unknown>((inner, key) => (isRecord(inner) ? inner[key] : undefined), value);
const listOf = (value: unknown): readonly Fields[] => (Array.isArray(value) ? value.filter(isRecord) : []);

/** The path of the pod template, by API group and kind. */
const templates: ReadonlyMap<string, readonly string[]> = new Map([
  ['apps/Deployment', ['spec', 'template']],
  ['apps/StatefulSet', ['spec', 'template']],
  ['apps/DaemonSet', ['spec', 'template']],
  ['apps/ReplicaSet', ['spec', 'template']],
  ['/ReplicationController', ['spec', 'template']],
  ['batch/Job', ['spec', 'template']],
  ['batch/CronJob', ['spec', 'jobTemplate', 'spec', 'template']],
]);

function pathOf(apiVersion: string, kind: string): readonly string[] | undefined {
  const group = apiVersion.includes('/') ? apiVersion.slice(0, apiVersion.indexOf('/')) : '';
  return templates.get(`${group}/${kind}`);
}
export const makesPods = ({ apiVersion, kind }: { apiVersion: string; kind: string }): boolean =>
  pathOf(apiVersion, kind) !== undefined;

const textsOf = (value: unknown): Readonly<Record<string, string>> =>
  Object.fromEntries(
    Object.entries(isRecord(value) ? value : {}).filter(
      (entry): entry is [string, string] => typeof entry[1] === 'string',
    ),
  );
const containersOf = (value: unknown): Container[] =>
  listOf(value).map(({ name, restartPolicy, ports }) => ({
    ...(typeof name === 'string' ? { name } : {}),
    ...(restartPolicy === 'Always' ? { restartPolicy } : {}),
    ports: listOf(ports).flatMap(({ name: portName, containerPort, protocol }) =>
      typeof containerPort === 'number'
        ? [
            {
              containerPort,
              ...(typeof portName === 'string' ? { name: portName } : {}),
              ...(typeof protocol === 'string' ? { protocol } : {}),
            },
          ]
        : [],
    ),
  }));

/**
 * One pod of the object's template; undefined if it has none.
 * @param number unique per object: the pod's address is derived from it, in the discard-only prefix 100::/64 (RFC 6666)
 */
export function templatePod(value: unknown, number: number): PodObject | undefined {
  const [apiVersion, kind, name] = [
    at(value, 'apiVersion'),
    at(value, 'kind'),
    at(value, 'metadata', 'name'),
  ];
  if (typeof apiVersion !== 'string' || typeof kind !== 'string' || typeof name !== 'string')
    return undefined;
  const path = pathOf(apiVersion, kind);
  const template = path && at(value, ...path);
  if (!isRecord(template)) return undefined;
  const namespace = at(value, 'metadata', 'namespace');
  const account = at(template, 'spec', 'serviceAccountName');
  return {
    kind: 'Pod',
    metadata: {
      name: templatePodName(name, kind),
      ...(typeof namespace === 'string' ? { namespace } : {}),
      labels: textsOf(at(template, 'metadata', 'labels')),
      annotations: textsOf(at(template, 'metadata', 'annotations')),
    },
    spec: {
      nodeName: 'any',
      ...(typeof account === 'string' ? { serviceAccountName: account } : {}),
      hostNetwork: at(template, 'spec', 'hostNetwork') === true,
      containers: containersOf(at(template, 'spec', 'containers')),
      initContainers: containersOf(at(template, 'spec', 'initContainers')),
    },
    status: {
      podIPs: [
        { ip: `100::${Math.floor(number / 0x10000).toString(16)}:${(number % 0x10000).toString(16)}` },
      ],
    },
  };
}
