/** What must be recompiled when VirtualServices, and what they refer to, change. Pure. */
import { namespaceOf } from '../../../src/model/labels.js';
import type { Recompile } from '../../kinds/kind.js';
import type { ObjectChange, Registry } from '../../registry/registry.js';
import { delegatesOf } from './virtual-service-delegates.js';
import { completeHost, hostOfService, serviceOfHost } from './hosts.js';
import { competitorsOf, patternsOf, type VirtualService } from './virtual-service-hosts.js';
import { listOf } from './virtual-service-delegates.js';
import type {
  ConnectionRule,
  Destination,
  HttpMatch,
  HttpRule,
} from '../../objects/istio-virtual-service.js';

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
  for (const object of [before, now]) if (object) recompile.objects(competitorsOf(object, registry));
  recompile.objects(registry.virtualServicesNaming(delegateSlot(`${namespace}/${name}`)));
}

/** A Service, or the routes that are attached to it, have changed. */
export function recompileVirtualServicesOf(
  namespace: string,
  name: string,
  registry: Registry,
  recompile: Recompile,
): void {
  for (const pattern of patternsOf(hostOfService(namespace, name)))
    recompile.objects(registry.virtualServicesOf(pattern));
  recompile.objects(registry.virtualServicesNaming(serviceSlot(namespace, name)));
}

const delegateSlot = (name: string): string => `VirtualService ${name}`;
const serviceSlot = (namespace: string, name: string): string => `Service ${namespace}/${name}`;
/** VirtualServices with conditions on the labels of clients. */
export const labelsSlot = 'labels';

/** What the compiled form of a VirtualService depends on, besides its hosts: Services of destinations, delegates, labels of clients. */
export function slotsOf(object: VirtualService): ReadonlySet<string> {
  const slots = new Set(delegatesOf(object).map(delegateSlot));
  const destination = (one: Destination | undefined): void => {
    if (typeof one?.host !== 'string') return;
    const named = serviceOfHost(completeHost(one.host, namespaceOf(object)));
    if (named) slots.add(serviceSlot(named.namespace, named.name));
  };
  const http = listOf<HttpRule>(object.spec.http);
  const others = [...listOf<ConnectionRule>(object.spec.tls), ...listOf<ConnectionRule>(object.spec.tcp)];
  for (const rule of [...http, ...others]) {
    for (const one of listOf<{ destination?: Destination }>(rule.route)) destination(one.destination);
    for (const match of listOf<HttpMatch>(rule.match)) if (match.sourceLabels) slots.add(labelsSlot);
  }
  for (const { mirror, mirrors } of http) {
    destination(mirror);
    for (const one of listOf<{ destination?: Destination }>(mirrors)) destination(one.destination);
  }
  return slots;
}
