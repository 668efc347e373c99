/**
 * Reference to a waypoint that does not admit a Service. It names what can never exist: no namespace has a dot (RFC 1123 label), and `.invalid`
 * is reserved (RFC 2606). Whoever follows a waypoint reference, proxies of others too, finds nobody there and refuses.
 */
import type { ServiceKey, WaypointRef } from './workload.js';

const namespacePart = 'not-allowed.weft.dev';
const suffix = '.not-allowed.invalid';

/** @param gateway the Gateway that was asked for */
export function refusedWaypoint(
  gateway: { readonly namespace: string; readonly name: string },
  hbonePort: number,
): WaypointRef {
  const { namespace, name } = gateway;
  const service = `${namespacePart}/${name}.${namespace}${suffix}` as ServiceKey;
  return { kind: 'hostname', service, hbonePort };
}

/** `<namespace>/<name>` of the Gateway that does not admit the Service; undefined of any other reference. */
export function refusedWaypointOf(reference: WaypointRef): string | undefined {
  if (reference.kind !== 'hostname') return undefined;
  const [namespace, host = ''] = reference.service.split('/');
  if (namespace !== namespacePart || !host.endsWith(suffix)) return undefined;
  const name = host.slice(0, -suffix.length);
  // A Gateway's name may have dots, a namespace's has none.
  const at = name.lastIndexOf('.');
  return `${name.slice(at + 1)}/${name.slice(0, at)}`;
}
