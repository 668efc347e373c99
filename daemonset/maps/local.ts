/** weft_local: addresses of this node's enrolled pods, each with the epoch at which verdicts toward it are valid. Only writer. */
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

  /** Writes the same row for each address. Error: NATIVE_FULL, some rows may be written then. */
  put(addresses: readonly IpAddress[], fields: LocalFields): void {
    const map = this.maps.get('weft_local');
    const row = LocalRow.encode(fields);
    for (const ip of addresses) map.update(encodeIp(ip), row);
  }

  /** Removes the rows of a pod (cookie), including those of a previous agent. */
  removeOf(cookie: bigint): void {
    this.#removeWhere((row) => row.cookie === cookie);
  }

  /** Removes rows for which `isKept` is false, including those of a previous agent. */
  keep(isKept: (ip: IpAddress, row: LocalRow) => boolean): void {
    this.#removeWhere((row, key) => !isKept(ipFromBytes(key), row));
  }

  *rows(): Iterable<LocalRow> {
    const map = this.maps.get('weft_local');
    for (const key of map.keys()) {
      const bytes = map.lookup(key);
      if (bytes) yield new LocalRow(bytes);
    }
  }

  #removeWhere(isUnwanted: (row: LocalRow, key: Uint8Array) => boolean): void {
    const map = this.maps.get('weft_local');
    for (const key of map.keys()) {
      const bytes = map.lookup(key);
      if (bytes && isUnwanted(new LocalRow(bytes), key)) map.remove(key);
    }
  }
}
