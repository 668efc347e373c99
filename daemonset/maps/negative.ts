/** weft_negative: destinations that just failed, to which connect() is refused for a moment. Only writer. */
import { NativeError } from '../../native/index.js';
import type { SocketAddress } from '../../src/model/address.js';
import type { PinnedMaps } from './pinned.js';
import { encodeU64 } from './row.js';
import { NegativeKey } from './rows.generated.js';

/** Long enough for a client that tries in a loop, short enough that what is back is reached. */
const negativeNs = 300_000_000n;

export class NegativeTable {
  constructor(private readonly maps: PinnedMaps) {}

  /** Refuses connect() of a pod (cookie) to a destination for {@link negativeNs}. */
  remember(cookie: bigint, { ip, port }: SocketAddress): void {
    const until = process.hrtime.bigint() + negativeNs;
    try {
      this.maps.get('weft_negative').update(NegativeKey.encode({ cookie, ip, port }), encodeU64(until));
    } catch (error) {
      // An LRU under pressure: the next attempt meets the destination itself.
      if (!(error instanceof NativeError)) throw error;
    }
  }

  /** Removes rows of pods that are not among `present` (cookies). */
  removeOthers(present: ReadonlySet<bigint>): void {
    const map = this.maps.get('weft_negative');
    for (const key of map.keys()) if (!present.has(new NegativeKey(key).cookie)) map.remove(key);
  }
}
