/** The view of an agent or a waypoint of a mesh given as Kubernetes objects: compiled, encoded, decoded and applied. */
import { type Compiler, compile } from '../../../control/compile/compile.js';
import type { MeshObject } from '../../../control/objects/objects.js';
import { pickFields } from '../../../control/kinds/kinds.js';
import type { Decoded } from '../../../src/base/errors.js';
import { decodeAddress, encodeService, encodeWorkload } from '../../../src/discovery/codec/address.js';
import { decodeAuthorization, encodeAuthorization } from '../../../src/discovery/codec/policy.js';
import { decodeRoute, encodeRoute } from '../../../src/discovery/codec/route.js';
import { parseIp } from '../../../src/model/address.js';
import type { NodePod } from '../../../src/model/node-pod.js';
import type { AuthorizationPolicy } from '../../../src/model/policy.js';
import type { Route } from '../../../src/model/route.js';
import type { Service } from '../../../src/model/service.js';
import type { Workload } from '../../../src/model/workload.js';
import { MeshState, type MeshUpdate } from '../../../src/state/store.js';
import { domain } from '../../support/mesh.js';

/** Compiles objects as the API server has them, reduced to the fields that Weft reads. */
export function compiled(...objects: readonly (MeshObject | undefined)[]): Compiler {
  return compile(
    objects.filter((object) => object !== undefined),
    { trustDomain: domain, rootsVersion: '1' },
  );
}
export const asRead = (kind: MeshObject['kind'], object: object): MeshObject | undefined =>
  pickFields(kind, object);

/** The update after encoding and decoding. */
export function updateOf(compiler: Compiler): MeshUpdate {
  const workloads: Workload[] = [];
  const services: Service[] = [];
  const policies: AuthorizationPolicy[] = [];
  for (const resource of compiler.all()) {
    if (resource.kind === 'policy')
      policies.push(taken(decodeAuthorization(encodeAuthorization(resource.value))));
    if (resource.kind !== 'workload' && resource.kind !== 'service') continue;
    const bytes =
      resource.kind === 'workload' ? encodeWorkload(resource.value) : encodeService(resource.value);
    const address = taken(decodeAddress(bytes));
    if (address.kind === 'workload') workloads.push(address.workload);
    else services.push(address.service);
  }
  return { workloads, services, policies };
}
export function routesOf(compiler: Compiler): Route[] {
  return [...compiler.all()].flatMap((resource) =>
    resource.kind === 'route' ? [taken(decodeRoute(encodeRoute(resource.value)))] : [],
  );
}
function taken<T>(decoded: Decoded<T>): T {
  if (!decoded.ok) throw new Error(decoded.errors.join('; '));
  return decoded.value;
}
export function viewOf(compiler: Compiler): MeshState {
  const state = new MeshState();
  state.apply(updateOf(compiler));
  return state;
}
/** The node-pod resource of a pod. Throws if there is none. */
export function nodePodOf(compiler: Compiler, namespace: string, name: string): NodePod {
  for (const one of compiler.all())
    if (one.kind === 'nodePod' && one.value.namespace === namespace && one.value.name === name)
      return one.value;
  throw new Error(`no node holds ${namespace}/${name}`);
}

type Labels = Readonly<Record<string, string>>;
export const namespaceObject = (name: string, labels: Labels = {}): MeshObject => ({
  kind: 'Namespace',
  metadata: { name, labels: { 'weft.dev/mesh': 'enabled', ...labels } },
});
export const podObject = (
  namespace: string,
  name: string,
  ip: string,
  more: { readonly labels?: Labels; readonly serviceAccount?: string; readonly node?: string } = {},
): MeshObject => ({
  kind: 'Pod',
  metadata: { name, namespace, uid: `uid-${namespace}-${name}`, labels: { app: name, ...more.labels } },
  spec: { nodeName: more.node ?? 'n1', serviceAccountName: more.serviceAccount ?? name },
  status: { podIPs: [{ ip }] },
});
/** A pod of the waypoint `name`, as its Deployment creates it. */
export const waypointPodObject = (namespace: string, name: string, ip: string): MeshObject =>
  podObject(namespace, `${name}-0`, ip, {
    serviceAccount: name,
    labels: { 'gateway.networking.k8s.io/gateway-name': name },
  });
export const serviceObject = (
  namespace: string,
  name: string,
  ip: string,
  more: { readonly labels?: Labels; readonly selector?: Labels; readonly port?: number } = {},
): MeshObject => ({
  kind: 'Service',
  metadata: { name, namespace, labels: more.labels ?? {} },
  spec: {
    clusterIP: ip,
    selector: more.selector ?? { app: name },
    ports: [{ port: more.port ?? 80, targetPort: more.port ?? 8080 }],
  },
});
/** `from`: `allowedRoutes.namespaces.from` of the HBONE listener. */
export const gatewayObject = (namespace: string, name: string, from?: string): MeshObject => ({
  kind: 'Gateway',
  metadata: { name, namespace, uid: `uid-${namespace}-${name}` },
  spec: {
    gatewayClassName: 'weft-waypoint',
    listeners: [
      {
        name: 'mesh',
        port: 15008,
        protocol: 'HBONE',
        ...(from === undefined ? {} : { allowedRoutes: { namespaces: { from } } }),
      },
    ],
  },
});
/** A running waypoint: Gateway, Service and one pod. */
export const runningWaypoint = (
  namespace: string,
  name: string,
  ips: { readonly service: string; readonly pod: string },
  from?: string,
): MeshObject[] => [
  gatewayObject(namespace, name, from),
  serviceObject(namespace, name, ips.service, {
    selector: { 'gateway.networking.k8s.io/gateway-name': name },
    port: 15008,
  }),
  waypointPodObject(namespace, name, ips.pod),
];
export const at = (ip: string, port: number) => ({ ip: parseIp(ip), port });
