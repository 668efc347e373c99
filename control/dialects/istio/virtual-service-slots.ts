/** What VirtualServices refer to, as keys of an index. Pure. */
import { namespaceOf } from '../../../src/model/labels.js';
import type {
  ConnectionRule,
  Destination,
  HttpMatch,
  HttpRule,
} from '../../objects/istio-virtual-service.js';
import { completeHost, serviceOfHost } from './hosts.js';
import { delegatesOf, listOf } from './virtual-service-delegates.js';
import type { VirtualService } from './virtual-service-hosts.js';

export const delegateSlot = (name: string): string => `VirtualService ${name}`;
export const serviceSlot = (namespace: string, name: string): string => `Service ${namespace}/${name}`;
/** A host of a ServiceEntry of a namespace. */
export const entrySlot = (namespace: string, host: string): string => `ServiceEntry ${namespace}/${host}`;
/** VirtualServices with conditions on the labels of clients. */
export const labelsSlot = 'labels';

/** What the compiled form of a VirtualService depends on, besides its hosts: Services of destinations, delegates, labels of clients. */
export function slotsOf(object: VirtualService): ReadonlySet<string> {
  const slots = new Set(delegatesOf(object).map(delegateSlot));
  const destination = (one: Destination | undefined): void => {
    if (typeof one?.host !== 'string') return;
    const named = serviceOfHost(completeHost(one.host, namespaceOf(object)));
    if (named) slots.add(serviceSlot(named.namespace, named.name));
    else slots.add(entrySlot(namespaceOf(object), completeHost(one.host, namespaceOf(object))));
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
