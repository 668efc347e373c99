/** Where the status of an object is in the API server: its own place, and no other. Pure. */
import { namespaceOf } from '../compile/labels.js';
import { gatewayGroup, type MeshObject } from '../compile/objects.js';

const weft = '/apis/weft.dev/v1alpha1';
const gateways = `/apis/${gatewayGroup}/v1`;
/** Kinds whose status Weft writes. Weft's MeshSettings and the Gateway API's classes have no namespace. */
const kinds: Readonly<
  Partial<
    Record<MeshObject['kind'], { readonly api: string; readonly plural: string; readonly clusterWide?: true }>
  >
> = {
  Pod: { api: '/api/v1', plural: 'pods' },
  Service: { api: '/api/v1', plural: 'services' },
  AccessPolicy: { api: weft, plural: 'accesspolicies' },
  MeshSettings: { api: weft, plural: 'meshsettings', clusterWide: true },
  ExternalService: { api: weft, plural: 'externalservices' },
  Workload: { api: weft, plural: 'workloads' },
  GatewayClass: { api: gateways, plural: 'gatewayclasses', clusterWide: true },
  Gateway: { api: gateways, plural: 'gateways' },
  HTTPRoute: { api: gateways, plural: 'httproutes' },
  GRPCRoute: { api: gateways, plural: 'grpcroutes' },
  TLSRoute: { api: gateways, plural: 'tlsroutes' },
  TCPRoute: { api: gateways, plural: 'tcproutes' },
};

/** A name or a namespace that the API server would not have taken leads nowhere else: it is one segment of the path. */
const segment = encodeURIComponent;

/** Undefined of kinds whose status others write. A route's is that of the version in which it was read. */
export function statusPathOf(object: MeshObject): string | undefined {
  const kind = kinds[object.kind];
  if (!kind) return undefined;
  const api = 'apiVersion' in object && object.apiVersion ? `/apis/${object.apiVersion}` : kind.api;
  const place = kind.clusterWide ? '' : `namespaces/${segment(namespaceOf(object))}/`;
  return `${api}/${place}${kind.plural}/${segment(object.metadata.name)}/status`;
}
