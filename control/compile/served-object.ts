/** The ports of objects whose hosts a waypoint can serve. Pure. */
import { tcpEntryPorts } from '../dialects/istio/entry-endpoints.js';
import type { ServedObject } from '../objects/objects.js';
import { tcpPorts } from './service.js';

export interface ServedPort {
  readonly name?: string | undefined;
  readonly port: number;
}

/** The TCP ports that clients dial. */
export function portsOf(object: ServedObject): readonly ServedPort[] {
  switch (object.kind) {
    case 'Service':
      return tcpPorts(object);
    case 'ServiceEntry':
      return tcpEntryPorts(object.spec.ports ?? []).map(({ name, number }) => ({ name, port: number }));
    case 'ExternalService':
      return object.spec.ports;
  }
}
