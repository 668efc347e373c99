/** Compiles ExternalServices: a name for addresses outside of the mesh. Pure. */
import { isIp, parseIp } from '../../src/model/address.js';
import type { TrustDomain } from '../../src/model/identity.js';
import { namespaceOf } from '../../src/model/labels.js';
import type { Service } from '../../src/model/service.js';
import type { PortMapping, ServiceKey, WaypointRef, Workload } from '../../src/model/workload.js';
import type { ObjectKey } from '../objects/object-key.js';
import type { ExternalServiceObject } from '../objects/objects.js';
import type { ClaimIndex, Problem } from '../registry/claims.js';
import { plainEndpoint } from './plain-endpoint.js';
import { noEndpointBecause } from '../dialects/istio/entry-endpoints.js';
import { appProtocol } from './protocols.js';
import { cluster } from './service.js';

/** The host name; `<name>.<namespace>.external` if the object names none. */
export const hostOf = (object: ExternalServiceObject): string =>
  object.spec.host ?? `${object.metadata.name}.${namespaceOf(object)}.external`;

/** The ownership conflict of an ExternalService: its host or addresses that belong to another object. */
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
  return claims.addressProblem(key, object.spec.addresses, 'only the rest');
}

/**
 * Compiles an ExternalService to a Service and its endpoints. Error: `spec.host` is a name of the cluster.
 * @param scope.isExported whether its addresses count for clients of every namespace
 * @param scope.has whether the object owns an address; false if another object has a stronger claim
 * @param scope.waypoint that its connections take; absent: none
 */
export function compileExternalService(
  object: ExternalServiceObject,
  trustDomain: TrustDomain,
  scope: {
    readonly isExported: boolean;
    readonly has: (ip: string) => boolean;
    readonly waypoint?: WaypointRef;
  },
): { readonly service: Service; readonly endpoints: readonly Workload[] } {
  const { name } = object.metadata;
  const namespace = namespaceOf(object);
  const hostname = hostOf(object);
  // The object would replace a Service and bypass its policies.
  if (hostname.endsWith('.cluster.local'))
    throw new Error(`spec.host: ${hostname} is a name of the cluster; use one outside of cluster.local`);
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
      ...(scope.waypoint ? { waypoint: scope.waypoint } : {}),
      ...(scope.isExported ? {} : { scope: 'namespace' as const }),
    },
    endpoints: [...new Set(targets)]
      .filter((ip) => !scope.waypoint || !isRefused(ip))
      .map((address) =>
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

/** Whether an address leads to the node of a waypoint, or to nobody. */
const isRefused = (ip: string): boolean => isIp(ip) && noEndpointBecause(ip) !== undefined;
/** The problem of an object whose connections take a waypoint, which would connect to its own node in place of the client's. */
export function endpointProblem({ spec }: ExternalServiceObject): Problem | undefined {
  const refused = (spec.endpoints?.map(({ address }) => address) ?? spec.addresses).find(isRefused);
  return refused === undefined
    ? undefined
    : { reason: 'EndpointNotAllowed', message: `a waypoint connects to no address such as ${refused}` };
}
