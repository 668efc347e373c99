/** What is not a pod: services outside of the mesh, endpoints written by hand, workloads on machines of their own. Pure. */
import { parseIp } from '../../src/model/address.js';
import { spiffeIdOf, type TrustDomain } from '../../src/model/identity.js';
import type { Service } from '../../src/model/service.js';
import type { PortMapping, ServiceKey, Workload, WorkloadUid } from '../../src/model/workload.js';
import { namespaceOf } from './labels.js';
import type {
  EndpointSliceObject,
  ExternalServiceObject,
  PodObject,
  ServiceObject,
  WorkloadObject,
} from './objects.js';
import { appProtocol, cluster, serviceKeyOf, tcpPorts } from './service.js';

/** An endpoint that speaks plain TCP: nobody holds it, it has no identity that could be shown. */
function plainEndpoint(
  trustDomain: TrustDomain,
  uid: string,
  name: string,
  namespace: string,
  address: string,
  more: Pick<Workload, 'node' | 'healthy' | 'services'>,
): Workload {
  return {
    uid: uid as WorkloadUid,
    name,
    namespace,
    identity: spiffeIdOf({ trustDomain, namespace, serviceAccount: 'default' }),
    serviceAccount: 'default',
    addresses: [parseIp(address)],
    network: '',
    cluster,
    tunnel: 'none',
    policies: [],
    hostNetwork: false,
    workloadName: name,
    workloadType: 'pod',
    canonicalName: name,
    canonicalRevision: 'latest',
    ...more,
  };
}

export function compileExternalService(
  object: ExternalServiceObject,
  trustDomain: TrustDomain,
): { readonly service: Service; readonly endpoints: readonly Workload[] } {
  const { name } = object.metadata;
  const namespace = namespaceOf(object);
  const hostname = object.spec.host ?? `${name}.${namespace}.external`;
  // It would stand in the place of a Service, without its policies.
  if (hostname.endsWith('.cluster.local'))
    throw new Error(`spec.host: ${hostname} is a name of the cluster itself`);
  const key = `${namespace}/${hostname}` as ServiceKey;
  const ports = object.spec.ports.map((port): PortMapping => ({
    servicePort: port.port,
    targetPort: port.targetPort ?? port.port,
    appProtocol: appProtocol(port),
  }));
  const targets = object.spec.endpoints?.map(({ address }) => address) ?? object.spec.addresses;
  return {
    service: {
      key,
      name,
      namespace,
      hostname,
      addresses: object.spec.addresses.map((ip) => ({ network: '', ip: parseIp(ip) })),
      ports,
      subjectAltNames: [],
    },
    endpoints: [...new Set(targets)].map((address) =>
      plainEndpoint(
        trustDomain,
        `${cluster}/weft.dev/ExternalService/${namespace}/${name}/${address}`,
        name,
        namespace,
        address,
        {
          node: '',
          healthy: true,
          services: new Map([[key, ports]]),
        },
      ),
    ),
  };
}

export const serviceNameLabel = 'kubernetes.io/service-name';

/** Nothing where the Service is not there, or has a selector: then its pods are its endpoints. */
export function compileSlice(
  slice: EndpointSliceObject,
  service: ServiceObject | undefined,
  trustDomain: TrustDomain,
): readonly Workload[] {
  if (!service || Object.keys(service.spec.selector ?? {}).length > 0) return [];
  const namespace = namespaceOf(slice);
  const { name } = slice.metadata;
  // Ports of a slice and of its Service belong together by name (EndpointSlice API).
  const ports = tcpPorts(service).flatMap((port): PortMapping[] => {
    const own = slice.ports.find((one) => (one.name ?? '') === (port.name ?? ''));
    return own ? [{ servicePort: port.port, targetPort: own.port, appProtocol: appProtocol(port) }] : [];
  });
  const services = new Map([[serviceKeyOf(service), ports]]);
  return slice.endpoints.flatMap(({ addresses, ready, nodeName }) =>
    addresses
      .slice(0, 1)
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

/** As a pod of its machine: enrolled, in the namespace that the machine has for it. */
export function podOfWorkload(object: WorkloadObject): PodObject {
  const { node, addresses, serviceAccount, netns, ports } = object.spec;
  return {
    kind: 'Pod',
    metadata: {
      ...object.metadata,
      labels: { ...object.metadata.labels, 'weft.dev/mesh': 'enabled' },
      annotations: { ...object.metadata.annotations, 'weft.dev/netns': netns },
    },
    spec: {
      nodeName: node,
      ...(serviceAccount === undefined ? {} : { serviceAccountName: serviceAccount }),
      containers: [{ ports: [...(ports ?? [])] }],
    },
    status: { podIPs: addresses.map((ip) => ({ ip })) },
  };
}
