/** weft_pod_addr: a pod's own addresses; connections to them are not captured. Only writer. */
import type { NodePod } from '../../src/model/node-pod.js';
import type { PinnedMaps } from './pinned.js';
import { PodRows, hasCookieAt, one, type KeyAndValue } from './pod-rows.js';
import { PodAddrKey, structs } from './rows.generated.js';

const [cookieAt] = structs.weft_pod_addr_key[1].cookie;

export class PodAddresses extends PodRows {
  constructor(maps: PinnedMaps) {
    super(maps, 'weft_pod_addr');
  }
  protected rowsOf({ addresses }: NodePod, cookie: bigint): KeyAndValue[] {
    return addresses.map((ip) => [PodAddrKey.encode({ cookie, ip }), one]);
  }
  protected isOf(key: Uint8Array, cookie: bigint): boolean {
    return hasCookieAt(key, cookieAt, cookie);
  }
}
