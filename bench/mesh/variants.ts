/** The variants of the comparison, and the pods that each is measured between. */
import type { Placement, Variant } from '../result/result.js';
import type { Cell } from '../harness/rounds.js';
import type { NodeName, ScenePlan, PodPlan } from './plan.js';
import { placePods, serviceIps } from './plan.js';
import type { ProxyRole } from './scene.js';

export const ports = { http: 8080, grpc: 8079, echo: 7000, bulk: 5201 } as const;

interface Kind extends Variant {
  /** Namespace of the pods. */
  readonly namespace: string;
  readonly placements: readonly Placement[];
  readonly proxies: readonly ProxyRole[];
  /** Nodes of the client and of the far server. Default: the first two. */
  readonly nodes?: readonly [NodeName, NodeName];
}

const weftProxies: readonly ProxyRole[] = ['agents', 'carriers'];
const both: readonly Placement[] = ['same-node', 'cross-node'];

export const kinds: readonly Kind[] = [
  {
    name: 'none',
    title: 'no mesh',
    kind: 'none',
    about: 'from pod to pod through the kernel, in plaintext',
    namespace: 'none',
    placements: both,
    proxies: [],
  },
  {
    name: 'none-again',
    title: 'no mesh, again',
    kind: 'noise',
    about: 'the same pods, measured a second time: the difference is the noise floor',
    namespace: 'none',
    placements: both,
    proxies: [],
  },
  {
    name: 'sidecar',
    title: 'sidecars (Envoy)',
    kind: 'sidecar',
    about:
      'an Envoy in each pod, with redirection by iptables and mutual TLS between the two; Envoy reads the requests',
    namespace: 'sidecar',
    placements: both,
    proxies: ['sidecars'],
  },
  {
    name: 'ztunnel',
    title: 'ztunnel (Istio ambient)',
    kind: 'other',
    about:
      'a ztunnel for each pod (dedicated mode, two threads as by default, no connection log), with redirection by iptables and HBONE under mutual TLS between the two',
    namespace: 'ztunnel',
    placements: both,
    proxies: ['others'],
    nodes: ['bench-c', 'bench-d'],
  },
  {
    name: 'weft',
    title: 'Weft',
    kind: 'weft',
    about:
      "default settings: on one node kernel flows, under identities and policies; across nodes the carriers' tunnel under mutual TLS",
    namespace: 'weft',
    placements: both,
    proxies: weftProxies,
  },
  {
    name: 'weft-typescript',
    title: 'Weft, TypeScript relay',
    kind: 'weft',
    about:
      "across nodes through the agents' own relay (agent option --relay typescript) in place of the carriers",
    namespace: 'typescript',
    placements: ['cross-node'],
    proxies: ['agents-typescript'],
    nodes: ['bench-e', 'bench-f'],
  },
  {
    name: 'weft-spliced',
    title: 'Weft, spliced',
    kind: 'weft',
    about: 'on one node from socket to socket, bypassing TCP (annotation weft.dev/splice)',
    namespace: 'spliced',
    placements: ['same-node'],
    proxies: weftProxies,
  },
  {
    name: 'weft-encrypted',
    title: 'Weft, encrypted',
    kind: 'weft',
    about:
      'also on one node under mutual TLS, through the carrier (annotation weft.dev/same-node: encrypted)',
    namespace: 'encrypted',
    placements: ['same-node'],
    proxies: weftProxies,
  },
  {
    name: 'weft-encrypted-typescript',
    title: 'Weft, encrypted, TypeScript relay',
    kind: 'weft',
    about: 'the same through the agent (agent option --relay typescript)',
    namespace: 'encrypted-typescript',
    placements: ['same-node'],
    proxies: ['agents-typescript'],
    nodes: ['bench-e', 'bench-f'],
  },
  {
    name: 'weft-waypoint',
    title: 'Weft, waypoint',
    kind: 'weft',
    about: "through a waypoint on the client's node that reads requests: two tunnels under mutual TLS",
    namespace: 'waypoint',
    placements: both,
    proxies: [...weftProxies, 'waypoint'],
  },
];

const nodesOf = (namespace: string): readonly [NodeName, NodeName] =>
  kinds.find((kind) => kind.namespace === namespace)?.nodes ?? ['bench-a', 'bench-b'];

export interface MeshCell extends Cell {
  /** Nodes of the client and of the far server. */
  readonly nodes: readonly [NodeName, NodeName];
  readonly client: string;
  readonly server: string;
  /** Address that clients call: of the pod, or of the Service for a waypoint. */
  readonly ip: string;
  readonly proxies: readonly ProxyRole[];
}

const meshed = { 'weft.dev/mesh': 'enabled', 'weft.dev/mode': 'strict' };
const waypointName = 'waypoint';

/** Pods of these variants: a client and a server on one node, and a server on the other node. */
export function planOf(names: ReadonlySet<string>): ScenePlan {
  const used = [...new Set(kinds.filter(({ name }) => names.has(name)).map(({ namespace }) => namespace))];
  const annotations: Readonly<Record<string, Readonly<Record<string, string>>>> = {
    spliced: { 'weft.dev/splice': 'on' },
    encrypted: { 'weft.dev/same-node': 'encrypted' },
    'encrypted-typescript': { 'weft.dev/same-node': 'encrypted' },
  };
  const withWaypoint = used.includes('waypoint');
  return {
    namespaces: used.map((name) => ({
      name,
      labels: name === 'none' || name === 'sidecar' ? { 'weft.dev/mesh': 'disabled' } : meshed,
      ...(annotations[name] ? { annotations: annotations[name] } : {}),
    })),
    pods: used.flatMap((namespace): PodPlan[] => {
      const [here, there] = nodesOf(namespace);
      return [
        { namespace, name: 'client', node: here },
        { namespace, name: 'near', node: here },
        { namespace, name: 'far', node: there },
      ];
    }),
    services: withWaypoint
      ? ['near', 'far'].map((name) => ({
          namespace: 'waypoint',
          name,
          labels: { 'weft.dev/waypoint': waypointName },
          ports: {
            [ports.http]: 'http',
            [ports.grpc]: 'grpc',
            [ports.echo]: 'tcp',
            [ports.bulk]: 'tcp-bulk',
          },
        }))
      : [],
    further: withWaypoint
      ? [
          {
            apiVersion: 'gateway.networking.k8s.io/v1',
            kind: 'Gateway',
            metadata: { name: waypointName, namespace: 'waypoint' },
            spec: {
              gatewayClassName: 'weft-waypoint',
              listeners: [{ name: 'mesh', port: 15008, protocol: 'HBONE' }],
            },
          },
        ]
      : [],
  };
}

export function cellsOf(plan: ScenePlan, names: ReadonlySet<string>): MeshCell[] {
  const pods = placePods(plan);
  const ips = serviceIps(plan);
  return both.flatMap((placement) =>
    kinds
      .filter(({ name, placements }) => names.has(name) && placements.includes(placement))
      .map(({ name, namespace, proxies }) => {
        const server = placement === 'same-node' ? 'near' : 'far';
        const find = (of: string): (typeof pods)[number] => {
          const found = pods.find((pod) => pod.namespace === namespace && pod.name === of);
          if (!found) throw new RangeError(`no pod ${namespace}/${of} in this plan`);
          return found;
        };
        const service = plan.services.findIndex((one) => one.namespace === namespace && one.name === server);
        return {
          placement,
          variant: name,
          nodes: nodesOf(namespace),
          client: find('client').netns,
          server: find(server).netns,
          ip: service < 0 ? find(server).ip : (ips[service] ?? ''),
          proxies,
        };
      }),
  );
}
