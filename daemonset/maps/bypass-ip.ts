/** weft_bypass_ip: address blocks to which a pod's connections are not captured, by longest prefix. Only writer. */
import { isV6, type Cidr } from '../../src/model/address.js';
import type { NodePod } from '../../src/model/node-pod.js';
import type { PinnedMaps } from './pinned.js';
import { PodRows, hasCookieAt, one, type KeyAndValue } from './pod-rows.js';
import { encodeU64 } from './row.js';
import { BypassIpKey, structs } from './rows.generated.js';

const [cookieAt] = structs.weft_bypass_ip_key[1].cookie;
const cookieBits = 64;
const mappedBits = 96;

/** The prefix length includes the cookie's 64 bits and, for IPv4, the 96 bits of the mapped prefix. */
const keyOf = (cookie: bigint, { ip, prefixLength }: Cidr): Uint8Array =>
  BypassIpKey.encode({
    prefixLength: cookieBits + (isV6(ip) ? 0 : mappedBits) + prefixLength,
    cookie: encodeU64(cookie),
    ip,
  });

export class BypassBlocks extends PodRows {
  constructor(maps: PinnedMaps) {
    super(maps, 'weft_bypass_ip');
  }
  protected rowsOf({ excludeOutboundCidrs }: NodePod, cookie: bigint): KeyAndValue[] {
    return excludeOutboundCidrs.map((block) => [keyOf(cookie, block), one]);
  }
  protected isOf(key: Uint8Array, cookie: bigint): boolean {
    return hasCookieAt(key, cookieAt, cookie);
  }
}
