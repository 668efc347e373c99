/** What Weft's proxy is told: one Service whose requests go to two others, each with one endpoint on this machine. */
import { parseIp, type IpAddress, type Port, type SocketAddress } from '../../src/model/address.js';
import { parseSpiffeId } from '../../src/model/identity.js';
import type { Route, RouteBackend, RouteKey, RouteRule } from '../../src/model/route.js';
import type { Service } from '../../src/model/service.js';
import type { PortMapping, ServiceKey, Workload, WorkloadUid } from '../../src/model/workload.js';
import type { MeshUpdate } from '../../src/state/store.js';
import type { Svid } from '../../src/tls/svid.js';
import { writeWeftConfig, type PlainConfig, type TunnelConfig } from './config.js';
import { namespace, trustDomain } from './identities.js';
import { canary, routePath, shares, type Protocol, type Scene } from './scene.js';

const identity = parseSpiffeId(`spiffe://${trustDomain}/ns/${namespace}/sa/server`);
export const here = parseIp('127.0.0.1');
export const servicePort = 80 as Port;
export const keyOf = (name: string): ServiceKey => `${namespace}/${name}` as ServiceKey;
const portTo = (targetPort: number, appProtocol: Protocol): PortMapping => ({
  servicePort,
  targetPort: targetPort as Port,
  appProtocol,
});

const uidOf = (name: string): WorkloadUid => `Kubernetes//Pod/${namespace}/${name}` as WorkloadUid;

/** @param of the Service that has it */
export const workload = (
  name: string,
  port: number,
  protocol: Protocol,
  tunnel?: IpAddress,
  of = name,
): Workload => ({
  uid: uidOf(name),
  name,
  namespace,
  identity,
  serviceAccount: 'server',
  addresses: [tunnel ?? here],
  network: '',
  node: 'node',
  cluster: 'Kubernetes',
  tunnel: tunnel ? 'hbone' : 'none',
  policies: [],
  healthy: true,
  hostNetwork: false,
  services: new Map([[keyOf(of), [portTo(port, protocol)]]]),
  workloadName: name,
  workloadType: 'deployment',
  canonicalName: name,
  canonicalRevision: 'v1',
});

export const service = (name: string, ip: string, port: number, protocol: Protocol): Service => ({
  key: keyOf(name),
  name,
  namespace,
  hostname: `${name}.${namespace}.svc.cluster.local`,
  addresses: [{ network: '', ip: parseIp(ip) }],
  ports: [portTo(port, protocol)],
  subjectAltNames: [],
});

const other: Workload = {
  ...workload('a', 1, 'http2'),
  uid: uidOf('other'),
  name: 'other',
  addresses: [parseIp('10.9.0.1')],
  services: new Map(),
};

const backend = (name: 'a' | 'b', weight: number): RouteBackend => ({
  weight,
  filters: [],
  target: { kind: 'service', service: keyOf(name), port: servicePort },
});
const split = [backend('a', shares.a), backend('b', shares.b)];
const route = (name: string, rules: readonly RouteRule[]): Route => ({
  key: `HTTPRoute/${namespace}/${name}` as RouteKey,
  kind: 'http',
  namespace,
  name,
  createdMs: 0,
  parents: [{ service: keyOf('main') }],
  rules,
});

const routesOf = (count: number): Route[] => [
  route('main', [
    {
      matches: [
        {
          path: { kind: 'prefix', value: '/' },
          headers: [{ kind: 'exact', name: canary.name, value: canary.value }],
          query: [],
        },
      ],
      filters: [],
      backends: [backend('b', 1)],
    },
    { matches: [], filters: [], backends: split },
  ]),
  ...Array.from({ length: count - 1 }, (_, at) =>
    route(`p${at}`, [
      {
        matches: [{ path: { kind: 'prefix', value: routePath(at) }, headers: [], query: [] }],
        filters: [],
        backends: split,
      },
    ]),
  ),
];

/** What clients ask for. */
export const serviceAddress: SocketAddress = { ip: parseIp('10.0.0.1'), port: servicePort };

/** For plain.ts. */
export function weftConfig({ listen, a, b, routes, protocol }: Scene): string {
  const config: PlainConfig = {
    listen: { ip: here, port: listen as Port },
    service: keyOf('main'),
    servicePort,
    mesh: {
      workloads: [workload('a', a, protocol), workload('b', b, protocol)],
      services: [
        service('main', serviceAddress.ip, a, protocol),
        service('a', '10.0.0.2', a, protocol),
        service('b', '10.0.0.3', b, protocol),
      ],
    },
    routes: routesOf(routes),
  };
  return writeWeftConfig(config);
}

/** Changes of one pod: of one that no Service has, and of a further endpoint of a Service of the route. */
export const podUpdates = {
  pod: [1, 2].map((at): MeshUpdate => ({ workloads: [{ ...other, addresses: [parseIp(`10.9.0.${at}`)] }] })),
  endpoint: [
    {
      workloads: [
        { ...other, name: 'a2', uid: uidOf('a2'), services: new Map([[keyOf('a'), [portTo(1, 'http2')]]]) },
      ],
    },
    { removed: [uidOf('a2')] },
  ],
} as const satisfies Record<string, readonly MeshUpdate[]>;

/** For tunnel.ts. `hosts`: addresses at whose port 15008 the backends' tunnels end. */
export function weftTunnelConfig(
  { listen, a, b, routes, protocol }: Scene,
  svid: Svid,
  hosts: { readonly a: IpAddress; readonly b: IpAddress },
  updates: readonly MeshUpdate[] = [],
): string {
  const self = keyOf('waypoint');
  const config: TunnelConfig = {
    listen: { ip: here, port: listen as Port },
    service: self,
    mesh: {
      workloads: [workload('a', a, protocol, hosts.a), workload('b', b, protocol, hosts.b)],
      services: [
        {
          ...service('main', serviceAddress.ip, a, protocol),
          waypoint: { kind: 'hostname', service: self, hbonePort: listen },
        },
        service('a', '10.0.0.2', a, protocol),
        service('b', '10.0.0.3', b, protocol),
      ],
    },
    routes: routesOf(routes),
    svid,
    updates,
  };
  return writeWeftConfig(config);
}
