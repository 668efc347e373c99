/**
 * What must be recompiled when VirtualServices, and what they refer to, change. In the same turn those that may now be in force where nothing
 * else of their namespace is. All others may follow (compile/turns.ts): any number may name a Service, and their former routes stay. Pure.
 */
import { namespaceOf } from '../../../src/model/labels.js';
import type { Recompile } from '../../kinds/kind.js';
import type { ServiceObject } from '../../objects/objects.js';
import type { ObjectChange, Registry } from '../../registry/registry.js';
import { splitsKey } from '../smi/index-keys.js';
import { delegatesOf } from './virtual-service-delegates.js';
import { delegateSlot, entrySlot, serviceSlot } from './virtual-service-slots.js';
import { hostAndWildcards, hostOfService } from './hosts.js';
import { competingHosts, firstOf, type VirtualService } from './virtual-service-hosts.js';

export function recompileVirtualServices(
  {
    before,
    now,
    namespace,
    name,
  }: Pick<ObjectChange<VirtualService>, 'before' | 'now' | 'namespace' | 'name'>,
  registry: Registry,
  recompile: Recompile,
): void {
  for (const object of [before, now]) {
    if (!object) continue;
    recompileCompetitors(object, registry, recompile);
    for (const delegate of delegatesOf(object)) {
      const [of = '', its = ''] = delegate.split('/');
      const found = registry.indexes.VirtualService.get(of, its);
      if (found) recompile.later([found]);
    }
  }
  recompile.later(registry.virtualServicesNaming(delegateSlot(`${namespace}/${name}`)));
  // TrafficSplits of the namespace yield to its VirtualServices.
  recompile.objects(registry.trafficSplitsOf(splitsKey(namespace)));
}

function recompileCompetitors(object: VirtualService, registry: Registry, recompile: Recompile): void {
  const namespace = namespaceOf(object);
  for (const host of competingHosts(object, registry)) {
    if (!recompile.once(`VirtualServices ${namespace} ${host}`)) continue;
    const found = registry.virtualServicesOf(host);
    recompileFirst(found, namespace, recompile);
    recompile.later(found.filter((one) => namespaceOf(one) === namespace));
  }
}

/** A ServiceEntry has changed. */
export function recompileVirtualServicesOfHost(
  namespace: string,
  host: string,
  registry: Registry,
  recompile: Recompile,
): void {
  recompile.objects(registry.virtualServicesOf(host).filter((one) => namespaceOf(one) === namespace));
  recompile.later(registry.virtualServicesNaming(entrySlot(namespace, host)));
}

function recompileFirst(list: readonly VirtualService[], namespace: string, recompile: Recompile): void {
  const first = firstOf(list, namespace);
  if (first) recompile.objects([first]);
}

/** Equal as long as the routes of a Service's VirtualServices are. */
export const routesKey = (service: ServiceObject | undefined): string =>
  JSON.stringify(service && [service.spec.ports, service.spec.clusterIP, service.spec.clusterIPs]) ?? '';

/**
 * A Service, or the routes that are attached to it, have changed.
 * @param by the namespace of the object that has changed
 */
export function recompileVirtualServicesOf(
  namespace: string,
  name: string,
  by: string,
  registry: Registry,
  recompile: Recompile,
): void {
  if (!recompile.once(`VirtualServices of Service ${namespace}/${name} ${by}`)) return;
  const own = `*.${namespace}.svc.cluster.local`;
  for (const pattern of hostAndWildcards(hostOfService(namespace, name))) {
    const found = registry.virtualServicesOf(pattern);
    recompileFirst(found, by, recompile);
    // Wider wildcards are for Services of the object's own namespace alone.
    const isWide = pattern.startsWith('*') && pattern !== own;
    recompile.later(isWide ? found.filter((one) => namespaceOf(one) === namespace) : found);
  }
  recompile.later(registry.virtualServicesNaming(serviceSlot(namespace, name)));
}
