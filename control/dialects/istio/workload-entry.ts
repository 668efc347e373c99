import { isIp } from '../../../src/model/address.js';
import { namespaceOf, selects } from '../../../src/model/labels.js';
import type { PortMapping, ServiceKey } from '../../../src/model/workload.js';
import { plainEndpoint } from '../../compile/plain-endpoint.js';
import { appProtocol } from '../../compile/protocols.js';
import { servicesOfPod } from '../../compile/subsets.js';
import { cluster, serviceKeyOf, tcpPorts } from '../../compile/service.js';
import type { CompileContext, Compiled } from '../../kinds/kind.js';
import type { IstioObject } from '../../objects/istio.js';
import type { ServiceObject } from '../../objects/objects.js';
import { differs, usedFields, works, type FieldTable } from '../fields.js';
import { fieldRemarks } from '../remarks.js';
import { checkEndpoint, entryLabels, placeOf } from './entry-endpoints.js';
import { istioKind } from './istio-kind.js';
import { selectedHosts } from './service-entry-compile.js';
import { endpointFields } from './service-entry-fields.js';

export const workloadEntryFields: FieldTable = {
  ...endpointFields(''),
  address: differs(
    'an IP address works. An object with a host name or a Unix socket (`unix://`) is no endpoint',
  ),
  labels: works,
  locality: differs('a waypoint of its Service prefers near endpoints; a node does not'),
  weight: differs('a waypoint of its Service distributes by weight; a node evenly'),
};

export const workloadEntryKind = istioKind(
  'WorkloadEntry',
  { group: 'networking.istio.io', versions: ['v1', 'v1beta1', 'v1alpha3'], plural: 'workloadentries' },
  { compile },
);

/**
 * Compiles a WorkloadEntry to a plain endpoint of the Services and ServiceEntries of its namespace that select it. It refers to its address
 * and never owns it, and no machine gets a certificate for it. Error: the field that cannot be read.
 */
function compile(entry: IstioObject<'WorkloadEntry'>, context: CompileContext): Compiled {
  if (entry.invalid !== undefined) return { resources: [] };
  const { spec } = entry;
  checkEndpoint(spec, 'spec');
  const { address = '' } = spec;
  const used = usedFields(spec, workloadEntryFields);
  const remarks = fieldRemarks(used.filter(({ entry: field }) => field !== 'address' || !isIp(address)));
  if (!isIp(address)) return { resources: [], remarks };
  const { name } = entry.metadata;
  const namespace = namespaceOf(entry);
  const labels = entryLabels(entry);
  const services = context
    .sorted(namespace)
    .services.filter((service) => selects(service.spec.selector, labels))
    .flatMap((service) =>
      servicesOfPod(serviceKeyOf(service), portsOf(service, spec.ports), context.rulesOf(service), labels),
    );
  const endpoint = plainEndpoint(
    context.settings.trustDomain,
    // Not the kind's name: nodes take an address of a WorkloadEntry as owned by it (claimRankOf).
    `${cluster}/networking.istio.io/Endpoint/${namespace}/${name}/${address}`,
    name,
    namespace,
    address,
    {
      node: '',
      healthy: true,
      services: new Map<ServiceKey, readonly PortMapping[]>([
        ...services,
        ...selectedHosts(context.selectingEntries(namespace), labels, spec.ports),
      ]),
    },
  );
  return { resources: [{ kind: 'workload', value: { ...endpoint, ...placeOf(spec) } }], remarks };
}

/** The ports of a Service at an entry: the entry's own number for the port's name or for its named target port. */
const portsOf = (
  service: ServiceObject,
  own: Readonly<Record<string, number>> = {},
): readonly PortMapping[] =>
  tcpPorts(service).flatMap((port): PortMapping[] => {
    const { name = '', targetPort } = port;
    const named = typeof targetPort === 'string' ? own[targetPort] : targetPort;
    const number = own[name] ?? named ?? (targetPort === undefined ? port.port : undefined);
    return number === undefined
      ? []
      : [{ servicePort: port.port, targetPort: number, appProtocol: appProtocol(port) }];
  });
