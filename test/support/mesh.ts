/** Small meshes for tests of pure decisions. */
import { parseIp } from '../../src/model/address.js';
import { parseSpiffeId, parseTrustDomain } from '../../src/model/identity.js';
import type { NodePod } from '../../src/model/node-pod.js';
import {
  emptyMatch,
  type AuthorizationPolicy,
  type PolicyKey,
  type PolicyMatch,
} from '../../src/model/policy.js';
import type { Service } from '../../src/model/service.js';
import type { ServiceKey, Workload, WorkloadUid } from '../../src/model/workload.js';

export const domain = parseTrustDomain('cluster.local');
export const identity = (namespace: string, account: string) =>
  parseSpiffeId(`spiffe://cluster.local/ns/${namespace}/sa/${account}`);
export const id = (name: string) => identity('shop', name);
export const uid = (name: string) => `Kubernetes//Pod/shop/${name}` as WorkloadUid;
export const key = (name: string) => `shop/${name}.shop.svc.cluster.local` as ServiceKey;

export function workload(name: string, ip: string, node: string, more: Partial<Workload> = {}): Workload {
  return {
    uid: uid(name),
    name,
    namespace: 'shop',
    identity: id(name),
    serviceAccount: name,
    addresses: [parseIp(ip)],
    network: '',
    node,
    cluster: 'Kubernetes',
    tunnel: 'hbone',
    policies: [],
    healthy: true,
    hostNetwork: false,
    services: new Map(),
    workloadName: name,
    workloadType: 'pod',
    canonicalName: name,
    canonicalRevision: 'latest',
    ...more,
  };
}
export function service(name: string, ip: string, targetPort = 8080, more: Partial<Service> = {}): Service {
  return {
    key: key(name),
    name,
    namespace: 'shop',
    hostname: `${name}.shop.svc.cluster.local`,
    addresses: [{ network: '', ip: parseIp(ip) }],
    ports: [{ servicePort: 80, targetPort, appProtocol: 'unknown' }],
    subjectAltNames: [],
    ...more,
  };
}
export const behind = (name: string, targetPort = 8080): Pick<Workload, 'services'> => ({
  services: new Map([[key(name), [{ servicePort: 80, targetPort, appProtocol: 'unknown' as const }]]]),
});
/** The waypoint `wp`, as a Service names it. */
export const waypointRef = { kind: 'hostname', service: key('wp'), hbonePort: 15008 } as const;
/** A replica of the waypoint `wp`: it terminates tunnels itself, and its service account has the waypoint's name. */
export const replica = (name: string, ip: string): Workload =>
  workload(name, ip, 'n2', {
    ...behind('wp', 15008),
    identity: id('wp'),
    serviceAccount: 'wp',
    nativeTunnel: true,
  });
export const pod = (name: string, ip: string, more: Partial<NodePod> = {}): NodePod => ({
  uid: uid(name),
  name,
  namespace: 'shop',
  identity: id(name),
  addresses: [parseIp(ip)],
  netns: '',
  podUid: '',
  probePorts: [],
  excludeOutboundPorts: [],
  excludeOutboundCidrs: [],
  excludeInboundPorts: [],
  outboundUnknown: 'allow',
  sameNode: 'kernel',
  splice: true,
  unsplicedPorts: [],
  goldenSignals: false,
  agentDown: 'refuse',
  cutPreexisting: false,
  rootsVersion: '',
  ...more,
});
export { emptyHttpMatch as anyRequest } from '../../src/model/policy.js';
export function policy(
  name: string,
  action: 'allow' | 'deny',
  match: Partial<PolicyMatch>,
  more: Partial<AuthorizationPolicy> = {},
): AuthorizationPolicy {
  return {
    key: `shop/${name}` as PolicyKey,
    name,
    namespace: 'shop',
    scope: 'namespace',
    action,
    rules: [{ clauses: [{ matches: [{ ...emptyMatch, ...match }] }] }],
    services: [],
    dryRun: false,
    ...more,
  };
}
