/** weft_endpoints: endpoints of Services that the kernel balances, as sets with an id. Only writer. */
import type { SocketAddress } from '../../src/model/address.js';
import type { PinnedMaps } from './pinned.js';
import { EndpointKey, EndpointRow } from './rows.generated.js';

/** A set of endpoints in the map, at indexes 0 to count - 1. */
export interface EndpointSet {
  readonly id: number;
  readonly count: number;
}

export class EndpointTable {
  constructor(private readonly maps: PinnedMaps) {}

  /** Writes a set. Error: NATIVE_FULL, a part of the set may be written then. */
  put(id: number, endpoints: readonly SocketAddress[]): void {
    const map = this.maps.get('weft_endpoints');
    endpoints.forEach(({ ip, port }, index) =>
      map.update(EndpointKey.encode({ id, index }), EndpointRow.encode({ ip, port })),
    );
  }

  remove({ id, count }: EndpointSet): void {
    const map = this.maps.get('weft_endpoints');
    for (let index = 0; index < count; index++) map.remove(EndpointKey.encode({ id, index }));
  }
}
