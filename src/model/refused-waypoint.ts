/**
 * Reference to a waypoint that does not admit a Service. The referenced name cannot exist: a namespace has no dot (RFC 1123 label), and
 * `.invalid` is reserved (RFC 2606). Any proxy that follows the reference, including other implementations, finds no waypoint and refuses.
 */
import type { ServiceKey, WaypointRef } from './workload.js';

const namespacePart = 'not-allowed.weft.dev';
const suffix = '.not-allowed.invalid';

/** The name in place of a waypoint's for a Service that has none, although its policies demand decisions about requests. */
export const neededWaypoint = 'needed-by-external-authorization';

/**
 * The reference for a Gateway that does not admit a Service.
 * @param gateway the Gateway that the Service names
 */
export function refusedWaypoint(
  gateway: { readonly namespace: string; readonly name: string },
  hbonePort: number,
): WaypointRef {
  const { namespace, name } = gateway;
  const service = `${namespacePart}/${name}.${namespace}${suffix}` as ServiceKey;
  return { kind: 'hostname', service, hbonePort };
}

/** `<namespace>/<name>` of the Gateway that does not admit the Service; undefined for any other reference. */
export function refusedWaypointOf(reference: WaypointRef): string | undefined {
  if (reference.kind !== 'hostname') return undefined;
  const [namespace, host = ''] = reference.service.split('/');
  if (namespace !== namespacePart || !host.endsWith(suffix)) return undefined;
  const name = host.slice(0, -suffix.length);
  // A Gateway's name may contain dots, a namespace's name may not.
  const at = name.lastIndexOf('.');
  return `${name.slice(at + 1)}/${name.slice(0, at)}`;
}
