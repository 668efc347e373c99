/** The table of kinds: one line per kind, in the order in which the kinds are listed from the API server. */
import { authorizationPolicyKind } from '../dialects/istio/authorization-policy.js';
import { destinationRuleKind } from '../dialects/istio/destination-rule/kind.js';
import { peerAuthenticationKind } from '../dialects/istio/peer-authentication.js';
import { requestAuthenticationKind } from '../dialects/istio/request-authentication.js';
import { serviceEntryKind } from '../dialects/istio/service-entry.js';
import { sidecarKind } from '../dialects/istio/sidecar.js';
import { telemetryKind } from '../dialects/istio/telemetry.js';
import { virtualServiceKind } from '../dialects/istio/virtual-service.js';
import { workloadEntryKind } from '../dialects/istio/workload-entry.js';
import { workloadGroupKind } from '../dialects/istio/workload-group.js';
import {
  envoyFilterKind,
  istioGatewayKind,
  proxyConfigKind,
  trafficExtensionKind,
  wasmPluginKind,
} from '../dialects/istio/unsupported.js';
import { httpRouteGroupKind } from '../dialects/smi/http-route-group.js';
import { smiTcpRouteKind } from '../dialects/smi/tcp-route.js';
import { trafficSplitKind } from '../dialects/smi/traffic-split.js';
import { trafficTargetKind } from '../dialects/smi/traffic-target.js';
import { smiUdpRouteKind } from '../dialects/smi/udp-route.js';
import type { MeshObject } from '../objects/objects.js';
import { accessPolicyKind } from './access-policy.js';
import { authenticationPolicyKind } from './authentication-policy.js';
import { backendTlsPolicyKind } from './backend-tls-policy.js';
import { configMapKind } from './config-map.js';
import { backendTrafficPolicyKind } from './backend-traffic-policy.js';
import { endpointSliceKind } from './endpoint-slice.js';
import { externalServiceKind } from './external-service.js';
import { gatewayClassKind } from './gateway-class.js';
import { gatewayKind } from './gateway.js';
import { grpcRouteKind } from './grpc-route.js';
import { httpRouteKind } from './http-route.js';
import type { Kind } from './kind.js';
import { meshSettingsKind } from './mesh-settings.js';
import { namespaceKind } from './namespace.js';
import { nodeKind } from './node.js';
import { podKind } from './pod.js';
import { serviceKind } from './service.js';
import { tcpRouteKind } from './tcp-route.js';
import { tlsRouteKind } from './tls-route.js';
import { trafficPolicyKind } from './traffic-policy.js';
import { workloadKind } from './workload.js';

type KindName = MeshObject['kind'];

const table: { readonly [K in KindName]: Kind<Extract<MeshObject, { kind: K }>> } = {
  Namespace: namespaceKind,
  Node: nodeKind,
  Pod: podKind,
  Service: serviceKind,
  EndpointSlice: endpointSliceKind,
  ConfigMap: configMapKind,
  AccessPolicy: accessPolicyKind,
  TrafficPolicy: trafficPolicyKind,
  AuthenticationPolicy: authenticationPolicyKind,
  MeshSettings: meshSettingsKind,
  ExternalService: externalServiceKind,
  Workload: workloadKind,
  GatewayClass: gatewayClassKind,
  Gateway: gatewayKind,
  HTTPRoute: httpRouteKind,
  GRPCRoute: grpcRouteKind,
  TLSRoute: tlsRouteKind,
  TCPRoute: tcpRouteKind,
  XBackendTrafficPolicy: backendTrafficPolicyKind,
  BackendTLSPolicy: backendTlsPolicyKind,
  VirtualService: virtualServiceKind,
  DestinationRule: destinationRuleKind,
  ServiceEntry: serviceEntryKind,
  WorkloadEntry: workloadEntryKind,
  WorkloadGroup: workloadGroupKind,
  Sidecar: sidecarKind,
  AuthorizationPolicy: authorizationPolicyKind,
  PeerAuthentication: peerAuthenticationKind,
  RequestAuthentication: requestAuthenticationKind,
  Telemetry: telemetryKind,
  IstioGateway: istioGatewayKind,
  EnvoyFilter: envoyFilterKind,
  ProxyConfig: proxyConfigKind,
  WasmPlugin: wasmPluginKind,
  TrafficExtension: trafficExtensionKind,
  HTTPRouteGroup: httpRouteGroupKind,
  SmiTCPRoute: smiTcpRouteKind,
  SmiUDPRoute: smiUdpRouteKind,
  TrafficSplit: trafficSplitKind,
  TrafficTarget: trafficTargetKind,
};

/** Entries by kind. An entry accepts only objects of its own kind, which `kinds[object.kind]` ensures. */
export const kinds: Readonly<Record<KindName, Kind>> = table;
export const kindNames = Object.keys(table) as readonly KindName[];

/** The fields to keep of an object of the API server. Undefined if the object does not concern the mesh. */
export const pickFields = (kind: KindName, raw: unknown): MeshObject | undefined =>
  kinds[kind].pickFields(raw);
