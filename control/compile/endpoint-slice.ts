/** Compiles EndpointSlices of Services without a selector, which are written by hand. Pure. */
import { isIp } from '../../src/model/address.js';
import type { TrustDomain } from '../../src/model/identity.js';
import { namespaceOf } from '../../src/model/labels.js';
import type { PortMapping, Workload } from '../../src/model/workload.js';
import type { EndpointSliceObject, ServiceObject } from '../objects/objects.js';
import { plainEndpoint } from './plain-endpoint.js';
import { appProtocol } from './protocols.js';
import type { RulesInForce } from '../dialects/istio/destination-rule/in-force.js';
import { servicesOfPod } from './subsets.js';
import { cluster, serviceKeyOf, tcpPorts } from './service.js';

export const serviceNameLabel = 'kubernetes.io/service-name';

/** Whether a Service's endpoints are its pods. Otherwise they are those of its EndpointSlices. */
export const hasSelector = ({ spec: { selector } }: ServiceObject): boolean =>
  Object.keys(selector ?? {}).length > 0;

/**
 * The endpoints of a slice. Empty if the Service does not exist, or has a selector: then its pods are its endpoints. An endpoint has no
 * labels, as in Istio, and is in the subsets that ask for none.
 */
export function compileSlice(
  slice: EndpointSliceObject,
  service: ServiceObject | undefined,
  trustDomain: TrustDomain,
  rules: RulesInForce | undefined,
): readonly Workload[] {
  if (!service || hasSelector(service)) return [];
  const namespace = namespaceOf(slice);
  const { name } = slice.metadata;
  // Ports of a slice and of its Service are matched by name (EndpointSlice API).
  const ports = tcpPorts(service).flatMap((port): PortMapping[] => {
    const own = slice.ports.find((one) => (one.name ?? '') === (port.name ?? ''));
    return own ? [{ servicePort: port.port, targetPort: own.port, appProtocol: appProtocol(port) }] : [];
  });
  const services = new Map(servicesOfPod(serviceKeyOf(service), ports, rules, {}));
  return slice.endpoints.flatMap(({ addresses, ready, nodeName }) =>
    // The API server accepts ambiguous forms of addresses (leading zeros). No endpoint is made of these.
    addresses
      .slice(0, 1)
      .filter(isIp)
      .map((address) =>
        plainEndpoint(
          trustDomain,
          `${cluster}/discovery.k8s.io/EndpointSlice/${namespace}/${name}/${address}`,
          service.metadata.name,
          namespace,
          address,
          { node: nodeName ?? '', healthy: ready, services },
        ),
      ),
  );
}
