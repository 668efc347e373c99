/** weft_local: addresses of this node's pods in the mesh, each with the epoch at which verdicts toward it count. Only writer. */
import { ipFromBytes, type IpAddress } from '../../src/model/address.js';
import type { PinnedMaps } from './pinned.js';
import { encodeIp } from './row.js';
import { LocalRow, type LocalFields } from './rows.generated.js';

export class LocalTable {
  constructor(private readonly maps: PinnedMaps) {}

  get(ip: IpAddress): LocalRow | undefined {
    const bytes = this.maps.get('weft_local').lookup(encodeIp(ip));
    return bytes && new LocalRow(bytes);
  }

  /** The same row for each of the addresses. Throws NativeError NATIVE_FULL; some may be written then. */
  put(addresses: readonly IpAddress[], fields: LocalFields): void {
    const map = this.maps.get('weft_local');
    const row = LocalRow.encode(fields);
    for (const ip of addresses) map.update(encodeIp(ip), row);
  }

  /** Removes rows, whoever wrote them. */
  removeWhere(isUnwanted: (row: LocalRow, ip: IpAddress) => boolean): void {
    const map = this.maps.get('weft_local');
    for (const key of map.keys()) {
      const bytes = map.lookup(key);
      if (bytes && isUnwanted(new LocalRow(bytes), ipFromBytes(key))) map.remove(key);
    }
  }

  *rows(): Iterable<LocalRow> {
    const map = this.maps.get('weft_local');
    for (const key of map.keys()) {
      const bytes = map.lookup(key);
      if (bytes) yield new LocalRow(bytes);
    }
  }
}
