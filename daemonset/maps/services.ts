/** weft_services: addresses of Services that the kernel balances, each with its endpoint set (endpoints.ts). Only writer. */
import type { SocketAddress } from '../../src/model/address.js';
import type { EndpointSet } from './endpoints.js';
import type { PinnedMaps } from './pinned.js';
import { ServiceKey, ServiceRow, serviceFlags } from './rows.generated.js';

export class ServiceTable {
  constructor(private readonly maps: PinnedMaps) {}

  /** `affinity`: the set's endpoints are indexed by bucket of the client's address. Error: NATIVE_FULL. */
  put({ ip, port }: SocketAddress, { id, count }: EndpointSet, affinity: boolean): void {
    const flags = affinity ? serviceFlags.affinity : 0;
    this.maps
      .get('weft_services')
      .update(ServiceKey.encode({ ip, port }), ServiceRow.encode({ id, count, flags }));
  }

  remove({ ip, port }: SocketAddress): void {
    this.maps.get('weft_services').remove(ServiceKey.encode({ ip, port }));
  }

  /** All rows, including those of a previous agent. */
  *entries(): Iterable<{ readonly address: SocketAddress; readonly set: EndpointSet }> {
    const map = this.maps.get('weft_services');
    for (const bytes of map.keys()) {
      const value = map.lookup(bytes);
      if (!value) continue;
      const { ip, port } = new ServiceKey(bytes);
      const { id, count } = new ServiceRow(value);
      yield { address: { ip, port }, set: { id, count } };
    }
  }
}
