/**
 * ServiceEntries whose connections take a waypoint: it speaks the TLS that DestinationRules and BackendTLSPolicies ask for, applies the limits
 * of DestinationRules, and enforces policies. Without a waypoint, ports for which TLS is asked are closed, because they would be plaintext.
 */
import { differing, type Remark } from '../remarks.js';
import { isIp, parseIp } from '../../../src/model/address.js';
import { namespaceOf } from '../../../src/model/labels.js';
import type { Service } from '../../../src/model/service.js';
import type { CompiledResource } from '../../compile/resource.js';
import { waypointResources } from '../../compile/waypoint-resources.js';
import type { WaypointName } from '../../compile/waypoints.js';
import type { CompileContext } from '../../kinds/kind.js';
import type { EntryPort } from '../../objects/istio.js';
import type { Registry } from '../../registry/registry.js';
import { completeHost } from './hosts.js';
import { rulesInForce } from './destination-rule/in-force.js';
import { portsWithTls } from './destination-rule/layers.js';
import {
  isForAll,
  ownerName,
  type HostEndpoint,
  type HostsAndAddresses,
  type ServiceEntry,
} from './entry-addresses.js';

/** Whether connections to the addresses of the endpoints take the waypoint, too: it is so for clients of one namespace alone. */
const isDialedAtEndpoints = (
  entry: ServiceEntry,
  own: readonly string[],
  registry: Pick<Registry, 'isExported'>,
): boolean => own.length === 0 || !isForAll(entry, registry.isExported(namespaceOf(entry)));

/** The addresses of endpoints that are addresses of each host; undefined: they are not. */
export function dialedAddresses(
  entry: ServiceEntry,
  endpoints: readonly HostEndpoint[],
  { hosts, own }: HostsAndAddresses,
  { registry, endpointOwners }: Pick<CompileContext, 'registry' | 'endpointOwners'>,
): ReadonlyMap<string, readonly string[]> | undefined {
  if (!isDialedAtEndpoints(entry, own, registry)) return undefined;
  const owners = endpointOwners(namespaceOf(entry));
  return new Map(
    hosts.map((host) => {
      const addresses = endpoints.flatMap(({ endpoint: { address }, of }) =>
        of.includes(host) && owners.get(parseIp(address)) === ownerName(entry, host) ? [address] : [],
      );
      return [host, [...new Set(addresses)]] as const;
    }),
  );
}

/** The ports of each host that are closed without a waypoint. Pods that the entry selects are in the mesh: nothing to them is plaintext. */
export function closedPorts(
  entry: ServiceEntry,
  hosts: readonly string[],
  ports: readonly EntryPort[],
  registry: Registry,
): (host: string) => ReadonlySet<number> {
  const numbers = entry.spec.workloadSelector ? [] : ports.map(({ number }) => number);
  const closed = new Map(
    hosts.map((host) => [host, portsWithTls(host, namespaceOf(entry), numbers, registry)]),
  );
  return (host) => closed.get(host) ?? new Set();
}

/** What the waypoint is sent about one host. @param served undefined: no waypoint serves it */
export function resourcesAtWaypoint(
  entry: ServiceEntry,
  service: Service,
  served: WaypointName | undefined,
  context: CompileContext,
): CompiledResource[] {
  if (!served) return [];
  const namespace = namespaceOf(entry);
  const host = completeHost(service.hostname, namespace);
  const rules = rulesInForce(host, namespace, context.registry);
  // Endpoints outside of the mesh are in no subset.
  const whole = rules && { ...rules, subsets: [] };
  return waypointResources(entry, service, { host, preference: 'none' }, served, context, whole);
}

/** Addresses at which the object's hosts are not recognized, because connections to them belong to others. */
export function waypointRemarks(
  entry: ServiceEntry,
  endpoints: readonly HostEndpoint[],
  dialed: ReadonlyMap<string, readonly string[]> | undefined,
): Remark[] {
  if (!dialed) return [];
  const own = new Set((entry.spec.addresses ?? []).filter(isIp).map(parseIp));
  const lost = endpoints.flatMap(({ endpoint: { address }, of }) =>
    of.filter((host) => !own.has(parseIp(address)) && dialed.get(host)?.includes(address) === false),
  );
  const [host] = lost;
  return host === undefined
    ? []
    : [
        differing(
          `connections to an address of ${host} belong to another host or object with the same address; give each host addresses of its own`,
          'endpoints',
        ),
      ];
}
