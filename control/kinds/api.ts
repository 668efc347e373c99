/** Where each kind that Weft reads is in the API server. Pure. */
import { gatewayGroup, isRoute, type MeshObject } from '../objects/objects.js';

export interface KindAddress {
  /** Empty: the core group. */
  readonly group: string;
  /** By the age of the API: the first that is served counts. */
  readonly versions: readonly [string, ...string[]];
  readonly plural: string;
  /** Its objects have no namespace. */
  readonly clusterWide?: true;
}

const v1 = (group: string, plural: string): KindAddress => ({ group, versions: ['v1'], plural });
const weft = (plural: string): KindAddress => ({ group: 'weft.dev', versions: ['v1alpha1'], plural });

export const kindAddresses: Readonly<Record<MeshObject['kind'], KindAddress>> = {
  Namespace: { ...v1('', 'namespaces'), clusterWide: true },
  Node: { ...v1('', 'nodes'), clusterWide: true },
  Pod: v1('', 'pods'),
  Service: v1('', 'services'),
  EndpointSlice: v1('discovery.k8s.io', 'endpointslices'),
  AccessPolicy: weft('accesspolicies'),
  MeshSettings: { ...weft('meshsettings'), clusterWide: true },
  ExternalService: weft('externalservices'),
  Workload: weft('workloads'),
  GatewayClass: { ...v1(gatewayGroup, 'gatewayclasses'), clusterWide: true },
  Gateway: v1(gatewayGroup, 'gateways'),
  HTTPRoute: v1(gatewayGroup, 'httproutes'),
  GRPCRoute: v1(gatewayGroup, 'grpcroutes'),
  TLSRoute: { group: gatewayGroup, versions: ['v1', 'v1alpha3', 'v1alpha2'], plural: 'tlsroutes' },
  TCPRoute: { group: gatewayGroup, versions: ['v1', 'v1alpha2'], plural: 'tcproutes' },
};

/** `apiVersion` of an object: a route's is that in which it was read. */
export function apiVersionOf(object: MeshObject): string {
  if (isRoute(object) && object.apiVersion) return object.apiVersion;
  const { group, versions } = kindAddresses[object.kind];
  return group === '' ? versions[0] : `${group}/${versions[0]}`;
}

/** The path of an `apiVersion`: `v1` is the core group's. */
export const apiPathOf = (apiVersion: string): string =>
  apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;

/** Paths of a kind's objects in all namespaces, by version. */
export const listPathsOf = (kind: MeshObject['kind']): string[] => {
  const { group, versions, plural } = kindAddresses[kind];
  return versions.map((version) => `${apiPathOf(group === '' ? version : `${group}/${version}`)}/${plural}`);
};
