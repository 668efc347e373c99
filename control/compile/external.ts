/** What is no pod: services outside of the mesh, endpoints written by hand, workloads on machines of their own. Pure. */
import { isIp, parseIp } from '../../src/model/address.js';
import { spiffeIdOf, type TrustDomain } from '../../src/model/identity.js';
import { workloadNamespacesAnnotation } from '../../src/model/ownership.js';
import type { Service } from '../../src/model/service.js';
import type { PortMapping, ServiceKey, Workload, WorkloadUid } from '../../src/model/workload.js';
import { hostOf, type ClaimIndex, type Problem } from '../registry/claims.js';
import type { ObjectKey } from '../registry/indexes.js';
import { namespaceOf } from './enrollment.js';
import type {
  EndpointSliceObject,
  ExternalServiceObject,
  NodeObject,
  PodObject,
  ServiceObject,
  WorkloadObject,
} from '../objects/objects.js';
import { appProtocol } from './protocols.js';
import { cluster, serviceKeyOf, tcpPorts } from './service.js';

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

/** What an ExternalService loses to whoever owns what it names. */
export function externalProblem(
  key: ObjectKey,
  object: ExternalServiceObject,
  claims: ClaimIndex,
): Problem | undefined {
  const host = hostOf(object);
  const namesake = claims.hostLostTo(key, host);
  if (namesake !== undefined)
    return {
      reason: 'HostConflict',
      message: `host ${host} belongs to ${namesake}, which is older; nothing of this object is in force`,
    };
  const lost = object.spec.addresses.flatMap((ip) => {
    const owner = claims.addressLostTo(key, ip);
    return owner === undefined ? [] : [`address ${ip} belongs to ${owner}`];
  });
  if (lost.length === 0) return undefined;
  return {
    reason: 'AddressConflict',
    message: `${lost.join(', ')}; only the rest of this object is in force`,
  };
}

/**
 * @param scope.isExported whether its addresses count for clients of every namespace
 * @param scope.has whether an address is its own, and not somebody else's with a stronger claim
 */
export function compileExternalService(
  object: ExternalServiceObject,
  trustDomain: TrustDomain,
  scope: { readonly isExported: boolean; readonly has: (ip: string) => boolean },
): { readonly service: Service; readonly endpoints: readonly Workload[] } {
  const { name } = object.metadata;
  const namespace = namespaceOf(object);
  const hostname = hostOf(object);
  // It would stand in the place of a Service, without its policies.
  if (hostname.endsWith('.cluster.local'))
    throw new Error(`spec.host: ${hostname} is a name of the cluster itself`);
  const key = `${namespace}/${hostname}` as ServiceKey;
  const ports = object.spec.ports.map((port): PortMapping => ({
    servicePort: port.port,
    targetPort: port.targetPort ?? port.port,
    appProtocol: appProtocol(port),
  }));
  const own = object.spec.addresses.filter(scope.has);
  const targets = object.spec.endpoints?.map(({ address }) => address) ?? own;
  return {
    service: {
      key,
      name,
      namespace,
      hostname,
      addresses: own.map((ip) => ({ network: '', ip: parseIp(ip) })),
      ports,
      subjectAltNames: [],
      ...(scope.isExported ? {} : { scope: 'namespace' as const }),
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
    // The API server takes forms that nobody reads alike (leading zeros), of which no endpoint is made.
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

/** A machine that is no Node of the registry decides by itself (its agent's flags); a Node takes what its annotation names. */
export function nodeTakes(node: NodeObject | undefined, namespace: string): boolean {
  if (!node) return true;
  const taken = (node.metadata.annotations?.[workloadNamespacesAnnotation] ?? '').split(',');
  return taken.some((one) => one.trim() === '*' || one.trim() === namespace);
}

/** Why nothing of a Workload is told to anybody. */
export function workloadProblem(
  key: ObjectKey,
  object: WorkloadObject,
  isTaken: boolean,
  claims: ClaimIndex,
): Problem | undefined {
  const { node, addresses } = object.spec;
  if (!isTaken)
    return {
      reason: 'NodeNotAllowed',
      message: `${node} is a Node of the cluster, whose annotation ${workloadNamespacesAnnotation} does not name ${namespaceOf(object)}`,
    };
  const lost = addresses.flatMap((ip) => {
    const owner = claims.addressLostTo(key, ip);
    return owner === undefined ? [] : [`address ${ip} belongs to ${owner}`];
  });
  if (lost.length === 0) return undefined;
  return {
    reason: 'AddressConflict',
    message: `${lost.join(', ')}; nothing of this object is in force`,
  };
}

/** A name below /run/netns, or an absolute path; no segment begins with a dot. As in the CRD. */
const netnsPattern = /^([A-Za-z0-9_][A-Za-z0-9_.:@+-]*|(\/[A-Za-z0-9_][A-Za-z0-9_.:@+-]*)+)$/;
const netnsLengthMax = 1024;

/** As a pod of its machine: enrolled, in the namespace that the machine has for it. Throws where `spec.netns` is no place. */
export function podOfWorkload(object: WorkloadObject): PodObject {
  const { node, addresses, serviceAccount, netns, ports } = object.spec;
  if (netns.length > netnsLengthMax || !netnsPattern.test(netns))
    throw new Error(
      `spec.netns: ${JSON.stringify(netns.slice(0, 64))} is neither a name nor an absolute path`,
    );
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
