/** Kubernetes objects of a test's mesh, and the mesh compiled from them. */
import type { Compiler } from '../../../control/compile/compile.js';
import { compile } from '../../../control/compile/compile.js';
import type { MeshObject } from '../../../control/compile/objects.js';
import { narrow } from '../../../control/source/narrow.js';
import { parseIp } from '../../../src/model/address.js';
import type { NodePod } from '../../../src/model/node-pod.js';
import { trustDomain } from './wire.js';

export function compiled(...objects: readonly (MeshObject | undefined)[]): Compiler {
  return compile(
    objects.filter((object) => object !== undefined),
    { trustDomain, rootsVersion: '1' },
  );
}
/** An object of the API server, with the fields that Weft reads. */
export const asRead = (kind: MeshObject['kind'], object: object): MeshObject | undefined =>
  narrow(kind, object);

/** Of a pod that its node holds. */
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
/** Of the waypoint `name`, as its Deployment makes it. */
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
/** `from`: of the HBONE listener's allowedRoutes. */
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
/** A waypoint that runs: Gateway, Service and one pod. */
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
