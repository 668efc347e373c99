/** Which Gateways are waypoints of Weft, and which Services use a waypoint. Pure. */
import { admitsNamespace } from '../../src/kubernetes/allowed-routes.js';
import type { ServiceKey, WaypointRef } from '../../src/model/workload.js';
import { labelsOf, namespaceOf, type Labels } from '../../src/model/labels.js';
import type {
  GatewayClassObject,
  GatewayObject,
  NamespaceObject,
  PodObject,
  ServedObject,
} from '../objects/objects.js';

export const waypointController = 'weft.dev/waypoint';
export const waypointClass = 'weft-waypoint';
export const hbonePort = 15008;
/** The Gateway API's label of pods that implement a Gateway, with its name. */
export const gatewayNameLabel = 'gateway.networking.k8s.io/gateway-name';

export interface WaypointName {
  readonly namespace: string;
  readonly name: string;
}

/** Whether a Gateway is a waypoint. Without a GatewayClass object (files), the name of the class decides. */
export const isWaypoint = (gateway: GatewayObject, gatewayClass: GatewayClassObject | undefined): boolean =>
  gatewayClass
    ? gatewayClass.spec.controllerName === waypointController
    : gateway.spec.gatewayClassName === waypointClass;

/** The waypoint that labels name; `none` is an explicit value. The Istio label counts if Weft's own label is absent. */
function waypointOfLabels(labels: Labels, namespace: string): WaypointName | 'none' | undefined {
  const name = labels['weft.dev/waypoint'] || labels['istio.io/use-waypoint'];
  if (!name) return undefined;
  if (name === 'none') return 'none';
  return {
    name,
    namespace:
      labels['weft.dev/waypoint-namespace'] || labels['istio.io/use-waypoint-namespace'] || namespace,
  };
}

/**
 * The waypoint that the labels of a Service or of a name outside of the cluster, or else of its namespace, name, whether it exists or not.
 * Connections to a ServiceEntry whose resolution is NONE go to the dialed address itself, and take no waypoint.
 * @param isWaypointItself whether the Service is a waypoint's own: a waypoint is not reached through another waypoint
 */
export function waypointOf(
  service: ServedObject,
  namespace: NamespaceObject | undefined,
  isWaypointItself: boolean,
): WaypointName | undefined {
  if (isWaypointItself || !mayHaveWaypoint(service)) return undefined;
  const own = namespaceOf(service);
  const named = waypointOfLabels(labelsOf(service), own) ?? waypointOfLabels(labelsOf(namespace), own);
  if (named === undefined || named === 'none') return undefined;
  // The Service may be the waypoint's own although its Gateway is not known yet.
  const isItself = named.namespace === own && named.name === service.metadata.name;
  return service.kind === 'Service' && isItself ? undefined : named;
}

/** Whether connections to the object can take a waypoint. Pods that a ServiceEntry selects have the waypoints of their Services. */
export const mayHaveWaypoint = (object: ServedObject): boolean =>
  object.kind !== 'ServiceEntry' ||
  (object.invalid === undefined &&
    object.spec.workloadSelector === undefined &&
    ['STATIC', 'DNS', 'DNS_ROUND_ROBIN'].includes(object.spec.resolution ?? ''));

/**
 * Whether a waypoint serves Services of a namespace. In the waypoint's own namespace the Gateway may be created later; until then no
 * endpoint accepts the requests. In other namespaces the Gateway must exist and allow the namespace.
 * @param gateway the Gateway of that name, of any class
 * @param namespace the Services' namespace
 * @param object the Namespace object, if it is known
 */
export function admits(
  waypoint: WaypointName,
  gateway: GatewayObject | undefined,
  namespace: string,
  object: NamespaceObject | undefined,
): boolean {
  if (!gateway) return waypoint.namespace === namespace;
  return admitsNamespace(waypoint.namespace, gateway.spec.listeners, namespace, labelsOf(object));
}

/** The fields of a Gateway that decide which namespaces it admits, as text to compare. Its status, for example, is not among them. */
export const consentOf = (gateway: GatewayObject | undefined): string =>
  JSON.stringify(gateway ? (gateway.spec.listeners ?? []) : null);

export const waypointReference = ({
  namespace,
  name,
}: WaypointName): Extract<WaypointRef, { kind: 'hostname' }> => ({
  kind: 'hostname',
  service: `${namespace}/${name}.${namespace}.svc.cluster.local` as ServiceKey,
  hbonePort,
});

/**
 * Whether a pod is a waypoint's own. A pod may be known before its Gateway: then it counts as a waypoint if it runs under the waypoint's
 * service account, which has the Gateway's name.
 * @param gateway the Gateway that the pod's label names, if it is known; `ours` if it is a waypoint
 */
export function isWaypointPod(pod: PodObject, gateway: { readonly ours: boolean } | undefined): boolean {
  const name = labelsOf(pod)[gatewayNameLabel];
  if (name === undefined) return false;
  // Clients accept only a waypoint whose service account has the Gateway's name (src/state/resolve.ts).
  return pod.spec.serviceAccountName === name && (gateway?.ours ?? true);
}

/** Prefix of a waypoint's name among the callers of the control plane. No node's name has a colon. */
const callerPrefix = 'waypoint:';
export const waypointCaller = ({ namespace, name }: WaypointName): string =>
  `${callerPrefix}${namespace}/${name}`;
export function waypointOfCaller(caller: string): WaypointName | undefined {
  if (!caller.startsWith(callerPrefix)) return undefined;
  const [namespace = '', name = '', ...rest] = caller.slice(callerPrefix.length).split('/');
  return namespace === '' || name === '' || rest.length > 0 ? undefined : { namespace, name };
}
