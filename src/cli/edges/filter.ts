/** Which edges a command is asked to show. Pure. */
import type { Edge, EdgeParty } from '../../model/edge.js';
import { serviceInHost } from '../../model/service-host.js';
import { nameOf } from '../../model/party-name.js';

export interface EdgeFilterFlags {
  readonly namespace?: string;
  readonly from?: string;
  readonly to?: string;
}

/** `NAMESPACE/NAME`, a name in any namespace, or `NAMESPACE/` for all of it. */
function isNamed(name: string, namespace: string, wanted: string): boolean {
  if (wanted.endsWith('/')) return namespace === wanted.slice(0, -1);
  return wanted.includes('/') ? name === wanted : name.slice(name.lastIndexOf('/') + 1) === wanted;
}

const isParty = (party: EdgeParty, wanted: string): boolean =>
  party.identity === wanted || isNamed(nameOf(party), party.namespace, wanted);

/** `NAMESPACE/NAME` of the Service of a host name, else the host name. */
export function serviceName(host: string): string {
  const service = serviceInHost(host);
  return service ? `${service.namespace}/${service.name}` : host;
}

/** Whether the edge is of a workload, identity or namespace `from` to a workload, Service, identity or namespace `to`. */
export const edgeFilter =
  ({ from, to }: EdgeFilterFlags) =>
  ({ source, destination, service }: Edge): boolean =>
    (from === undefined || isParty(source, from)) &&
    (to === undefined ||
      isParty(destination, to) ||
      service === to ||
      (service !== '' && !to.endsWith('/') && isNamed(serviceName(service), '', to)));
