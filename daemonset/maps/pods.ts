/** weft_pods: the enrolled pods of this node, by the cookie of their network namespace. Only writer. */
import { isV6 } from '../../src/model/address.js';
import type { NodePod } from '../../src/model/node-pod.js';
import type { PinnedMaps } from './pinned.js';
import { decodeU64, encodeU64 } from './row.js';
import { PodRow, podFlags } from './rows.generated.js';

export class PodTable {
  #generation = 0;

  constructor(private readonly maps: PinnedMaps) {}

  /** `capture`: connect() in the pod goes to the agent; without an agent, `pod.agentDown` decides. Error: NATIVE_FULL. */
  write(pod: NodePod, cookie: bigint, capture: boolean): void {
    this.maps.get('weft_pods').update(
      encodeU64(cookie),
      PodRow.encode({
        ip4: pod.addresses.find((ip) => !isV6(ip)),
        ip6: pod.addresses.find((ip) => isV6(ip)),
        flags:
          (capture ? podFlags.capture : 0) |
          (pod.sameNode === 'kernel' ? podFlags.kernel : 0) |
          (pod.splice ? podFlags.splice : 0) |
          (pod.goldenSignals ? podFlags.observed : 0) |
          (pod.agentDown === 'plaintext' ? podFlags.plaintextWithoutAgent : 0),
        generation: ++this.#generation,
      }),
    );
  }

  /** Removes a row, also one of a previous agent. Returns an undo. */
  lift(cookie: bigint): () => void {
    const map = this.maps.get('weft_pods');
    const key = encodeU64(cookie);
    const before = map.lookup(key);
    map.remove(key);
    return () => {
      if (before) map.update(key, before);
    };
  }

  remove(cookie: bigint): void {
    this.maps.get('weft_pods').remove(encodeU64(cookie));
  }

  cookies(): Set<bigint> {
    return new Set(
      this.maps
        .get('weft_pods')
        .keys()
        .map((key) => decodeU64(key)),
    );
  }
}
