/** What is recompiled when an address of endpoints outside of the cluster changes hands. Pure. */
import { isIp, parseIp } from '../../../src/model/address.js';
import type { Recompile } from '../../kinds/kind.js';
import type { ExternalServiceObject } from '../../objects/objects.js';
import type { Registry } from '../../registry/registry.js';
import {
  hostEndpoints,
  isDns,
  ownedBy,
  servedEntries,
  singleAddress,
  type ServiceEntry,
} from './entry-addresses.js';

/** The addresses that objects state: their own, and those of endpoints. Those that DNS gives are not among them. */
const statedAddresses = ({ spec }: ServiceEntry): readonly string[] =>
  [
    ...(spec.addresses ?? []).map(singleAddress),
    ...(spec.endpoints ?? []).map(({ address = '' }) => address),
  ].filter(isIp);

/** The ServiceEntries with a waypoint that have an endpoint at one of these addresses. */
function entriesAt(
  namespace: string,
  addresses: readonly string[],
  registry: Registry,
): readonly ServiceEntry[] {
  const wanted = new Set(addresses.filter(isIp).map(parseIp));
  if (wanted.size === 0) return [];
  return servedEntries(namespace, registry).filter((entry) => {
    const { hosts, own } = ownedBy(entry, registry);
    return hostEndpoints(entry, hosts, own, registry).some(({ endpoint }) =>
      wanted.has(parseIp(endpoint.address)),
    );
  });
}

/**
 * Recompiles the ServiceEntries whose endpoints may belong to another host once an object changes. The former addresses of a name are not
 * known, so that a change of an object whose names are resolved may concern all of its namespace, and so may many changes at once.
 */
export function recompileBeside(
  objects: readonly (ServiceEntry | ExternalServiceObject | undefined)[],
  namespace: string,
  registry: Registry,
  recompile: Pick<Recompile, 'objects' | 'once'>,
): void {
  const known = objects.flatMap((one) =>
    one && !('invalid' in one && one.invalid !== undefined) ? [one] : [],
  );
  const isResolved = known.some((one) => one.kind === 'ServiceEntry' && isDns(one.spec));
  if (!isResolved && recompile.once(`an endpoint of ${namespace}`)) {
    const addresses = known.flatMap((one) =>
      one.kind === 'ServiceEntry' ? statedAddresses(one) : one.spec.addresses,
    );
    recompile.objects(entriesAt(namespace, addresses, registry));
  } else if (recompile.once(`all endpoints of ${namespace}`))
    recompile.objects(servedEntries(namespace, registry));
}
