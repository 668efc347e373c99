/** weft_negative: destinations that recently failed; connect() to them is refused for 300 ms. Only writer. */
import { NativeError } from '../../native/index.js';
import type { SocketAddress } from '../../src/model/address.js';
import type { PinnedMaps } from './pinned.js';
import { encodeU64 } from './row.js';
import { NegativeKey } from './rows.generated.js';

/** Long enough to slow down a client that retries in a loop, short enough to reach a recovered destination soon. */
const negativeNs = 300_000_000n;

export class NegativeTable {
  constructor(private readonly maps: PinnedMaps) {}

  /** Refuses connect() of a pod (cookie) to a destination for {@link negativeNs}. */
  remember(cookie: bigint, { ip, port }: SocketAddress): void {
    const until = process.hrtime.bigint() + negativeNs;
    try {
      this.maps.get('weft_negative').update(NegativeKey.encode({ cookie, ip, port }), encodeU64(until));
    } catch (error) {
      // The LRU is under pressure: the next attempt goes to the destination itself.
      if (!(error instanceof NativeError)) throw error;
    }
  }

  /** Removes rows of pods that are not in `present` (cookies). */
  removeOthers(present: ReadonlySet<bigint>): void {
    const map = this.maps.get('weft_negative');
    for (const key of map.keys()) if (!present.has(new NegativeKey(key).cookie)) map.remove(key);
  }
}
