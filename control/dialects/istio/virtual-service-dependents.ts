/** What must be recompiled when VirtualServices, and what they refer to, change. Pure. */
import { namespaceOf } from '../../../src/model/labels.js';
import type { Recompile } from '../../kinds/kind.js';
import type { ObjectChange, Registry } from '../../registry/registry.js';
import { splitsKey } from '../smi/index-keys.js';
import { delegatesOf } from './virtual-service-delegates.js';
import { delegateSlot, entrySlot, serviceSlot } from './virtual-service-slots.js';
import { hostAndWildcards, hostOfService } from './hosts.js';
import { competingHosts, type VirtualService } from './virtual-service-hosts.js';

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
      if (found) recompile.objects([found]);
    }
  }
  recompile.objects(registry.virtualServicesNaming(delegateSlot(`${namespace}/${name}`)));
  // TrafficSplits of the namespace yield to its VirtualServices.
  recompile.objects(registry.trafficSplitsOf(splitsKey(namespace)));
}

function recompileCompetitors(object: VirtualService, registry: Registry, recompile: Recompile): void {
  const namespace = namespaceOf(object);
  for (const host of competingHosts(object, registry))
    if (recompile.once(`VirtualServices ${namespace} ${host}`))
      recompile.objects(registry.virtualServicesOf(host).filter((one) => namespaceOf(one) === namespace));
}

/** A ServiceEntry has changed. */
export function recompileVirtualServicesOfHost(
  namespace: string,
  host: string,
  registry: Registry,
  recompile: Recompile,
): void {
  recompile.objects(registry.virtualServicesOf(host).filter((one) => namespaceOf(one) === namespace));
  recompile.objects(registry.virtualServicesNaming(entrySlot(namespace, host)));
}

/** A Service, or the routes that are attached to it, have changed. */
export function recompileVirtualServicesOf(
  namespace: string,
  name: string,
  registry: Registry,
  recompile: Recompile,
): void {
  const own = `*.${namespace}.svc.cluster.local`;
  for (const pattern of hostAndWildcards(hostOfService(namespace, name))) {
    const found = registry.virtualServicesOf(pattern);
    // Wider wildcards are for Services of the object's own namespace alone.
    const isWide = pattern.startsWith('*') && pattern !== own;
    recompile.objects(isWide ? found.filter((one) => namespaceOf(one) === namespace) : found);
  }
  recompile.objects(registry.virtualServicesNaming(serviceSlot(namespace, name)));
}
