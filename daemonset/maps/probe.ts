/** weft_probe: addresses and ports that the node may reach for probes -> cookie of the pod's network namespace. Only writer. */
import type { BpfMap } from '../../native/index.js';
import type { NodePod } from '../../src/model/node-pod.js';
import type { PinnedMaps } from './pinned.js';
import { PodRows, type KeyAndValue } from './pod-rows.js';
import { decodeU64, encodeU64 } from './row.js';
import { ProbeKey } from './rows.generated.js';

export class ProbePorts extends PodRows {
  constructor(maps: PinnedMaps) {
    super(maps, 'weft_probe');
  }
  protected rowsOf({ addresses, probePorts }: NodePod, cookie: bigint): KeyAndValue[] {
    return addresses.flatMap((ip) =>
      probePorts.map((port): KeyAndValue => [ProbeKey.encode({ ip, port }), encodeU64(cookie)]),
    );
  }
  protected isOf(key: Uint8Array, cookie: bigint, map: BpfMap): boolean {
    const value = map.lookup(key);
    return value !== undefined && decodeU64(value) === cookie;
  }
}
