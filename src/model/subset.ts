/**
 * Subsets of a Service: the endpoints that have certain labels besides the Service's own. A subset is a Service without addresses, whose
 * host name is made of the Service's. Nobody can dial it; routes of a waypoint lead to it. Pure.
 */
import type { ServiceKey } from './workload.js';

const infix = '.subset.';
/** Names that can be part of a host name, as Envoy's cluster names have them. */
export const subsetNamePattern = /^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/;

/** The key of a subset. @param name matches `subsetNamePattern` */
export function subsetKey(service: ServiceKey, name: string): ServiceKey {
  const slash = service.indexOf('/');
  return `${service.slice(0, slash + 1)}${name}${infix}${service.slice(slash + 1)}` as ServiceKey;
}

/** The Service and the name of a subset's key; undefined: the key is of no subset. */
export function subsetOf(
  key: ServiceKey,
): { readonly service: ServiceKey; readonly name: string } | undefined {
  const slash = key.indexOf('/');
  const zone = `.${key.slice(0, slash)}.svc.cluster.local`;
  if (!key.endsWith(zone)) return undefined;
  // Names of Services have no dots. A Service, a subset and a namespace may each be called `subset` or `svc`.
  const at = key.lastIndexOf('.', key.length - zone.length - 1) + 1 - infix.length;
  if (at <= slash + 1 || !key.startsWith(infix, at)) return undefined;
  const service = `${key.slice(0, slash + 1)}${key.slice(at + infix.length)}` as ServiceKey;
  return { service, name: key.slice(slash + 1, at) };
}

/** The name of the cluster of a Service's port, as Istio names clusters: `outbound|PORT|SUBSET|HOST`. */
export function clusterNameOf(key: ServiceKey, port: number): string {
  const subset = subsetOf(key);
  const service = subset?.service ?? key;
  return `outbound|${port}|${subset?.name ?? ''}|${service.slice(service.indexOf('/') + 1)}`;
}
