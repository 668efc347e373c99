/** Which Gateways are Weft's waypoints, and which Services' requests go through one. Pure. */
import { admitsNamespace } from '../../src/kubernetes/allowed-routes.js';
import type { ServiceKey, WaypointRef } from '../../src/model/workload.js';
import { labelsOf, namespaceOf, type Labels } from '../../src/model/labels.js';
import type {
  GatewayClassObject,
  GatewayObject,
  NamespaceObject,
  PodObject,
  ServiceObject,
} from '../objects/objects.js';

export const waypointController = 'weft.dev/waypoint';
export const waypointClass = 'weft-waypoint';
export const hbonePort = 15008;
/** Of pods, by the Gateway API: which Gateway they are. */
export const gatewayNameLabel = 'gateway.networking.k8s.io/gateway-name';

export interface WaypointName {
  readonly namespace: string;
  readonly name: string;
}

/** Where the class's object is not there (files), its name decides. */
export const isWaypoint = (gateway: GatewayObject, gatewayClass: GatewayClassObject | undefined): boolean =>
  gatewayClass
    ? gatewayClass.spec.controllerName === waypointController
    : gateway.spec.gatewayClassName === waypointClass;

/** What labels say; `none` is said too. The Istio label means the same where Weft's own says nothing. */
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
 * The waypoint that a Service's or else its namespace's labels name, whether it is there or not.
 * @param isWaypointItself whether it is the Service of one: nobody reaches a waypoint through a waypoint
 */
export function waypointOf(
  service: ServiceObject,
  namespace: NamespaceObject | undefined,
  isWaypointItself: boolean,
): WaypointName | undefined {
  if (isWaypointItself) return undefined;
  const own = namespaceOf(service);
  const said = waypointOfLabels(labelsOf(service), own) ?? waypointOfLabels(labelsOf(namespace), own);
  if (said === undefined || said === 'none') return undefined;
  // Before its Gateway is known.
  return said.namespace === own && said.name === service.metadata.name ? undefined : said;
}

/**
 * Whether a waypoint serves Services of a namespace. In its own namespace its Gateway may come later: until then nobody answers for it.
 * Elsewhere the Gateway has to be there and to say so.
 * @param gateway the Gateway of that name, of any class
 * @param namespace the Services' namespace; `object` where it is known
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

/** What decides whom a Gateway admits: its status, for one, does not. */
export const consentOf = (gateway: GatewayObject | undefined): string =>
  JSON.stringify(gateway ? (gateway.spec.listeners ?? []) : null);

export const waypointReference = ({ namespace, name }: WaypointName): WaypointRef => ({
  kind: 'hostname',
  service: `${namespace}/${name}.${namespace}.svc.cluster.local` as ServiceKey,
  hbonePort,
});

/**
 * Whether a pod is a waypoint itself. A pod may be there before its Gateway is known: then it is believed where it runs under
 * the waypoint's own account, which is named as the Gateway is.
 * @param gateway what is known of the Gateway that the pod's label names; `ours` where it is a waypoint
 */
export function isWaypointPod(pod: PodObject, gateway: { readonly ours: boolean } | undefined): boolean {
  const name = labelsOf(pod)[gatewayNameLabel];
  if (name === undefined) return false;
  // Under the account that is named as it is, or it would be no waypoint to anybody (src/state/resolve.ts).
  return pod.spec.serviceAccountName === name && (gateway?.ours ?? true);
}

/** How a waypoint is called among those who ask the control plane; no node's name has a colon. */
const callerPrefix = 'waypoint:';
export const waypointCaller = ({ namespace, name }: WaypointName): string =>
  `${callerPrefix}${namespace}/${name}`;
export function waypointOfCaller(caller: string): WaypointName | undefined {
  if (!caller.startsWith(callerPrefix)) return undefined;
  const [namespace = '', name = '', ...rest] = caller.slice(callerPrefix.length).split('/');
  return namespace === '' || name === '' || rest.length > 0 ? undefined : { namespace, name };
}
