/** VirtualServices: routes whose rules match in the order written. */
import { isRecord } from '../../../src/base/record.js';
import { recompileVirtualServices } from './virtual-service-dependents.js';
import { compileVirtualService, interimVirtualService } from './virtual-service-compile.js';
import { istioKind } from './istio-kind.js';
import type { VirtualService } from './virtual-service-hosts.js';
import { virtualServiceStatus } from './virtual-service-status.js';

/** Refuses all requests and connections to the hosts that can be read. */
function closedVirtualService(object: VirtualService, invalid: string): VirtualService {
  const spec: unknown = object.spec;
  const fields = isRecord(spec) ? spec : {};
  const texts = (name: string): Readonly<Record<string, readonly string[]>> => {
    const list = fields[name];
    // In part unreadable: nothing is known of it.
    return Array.isArray(list) && list.every((one) => typeof one === 'string') ? { [name]: list } : {};
  };
  const hosts: unknown = fields['hosts'];
  const named = (Array.isArray(hosts) ? hosts : []).filter((host) => typeof host === 'string');
  return { ...object, invalid, spec: { hosts: named, ...texts('gateways') } };
}

export const virtualServiceKind = istioKind(
  'VirtualService',
  { group: 'networking.istio.io', versions: ['v1', 'v1beta1', 'v1alpha3'], plural: 'virtualservices' },
  {
    dependents: recompileVirtualServices,
    closed: closedVirtualService,
    compile: (object, { registry }) => compileVirtualService(object, registry),
    interim: (object, { registry }, former) => interimVirtualService(object, registry, former),
    status: virtualServiceStatus,
  },
);
