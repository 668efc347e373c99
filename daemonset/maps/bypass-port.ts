/** weft_bypass_port: ports of a pod that are not captured, and ports whose connections are not spliced. Only writer. */
import type { NodePod } from '../../src/model/node-pod.js';
import type { PinnedMaps } from './pinned.js';
import { PodRows, hasCookieAt, one, type KeyAndValue } from './pod-rows.js';
import { BypassPortKey, directions, structs } from './rows.generated.js';

const [cookieAt] = structs.weft_bypass_port_key[1].cookie;

export class BypassPorts extends PodRows {
  constructor(maps: PinnedMaps) {
    super(maps, 'weft_bypass_port');
  }
  protected rowsOf(pod: NodePod, cookie: bigint): KeyAndValue[] {
    const rows = (ports: readonly number[], direction: number): KeyAndValue[] =>
      ports.map((port) => [BypassPortKey.encode({ cookie, port, direction }), one]);
    return [
      ...rows(pod.excludeOutboundPorts, directions.outbound),
      ...rows(pod.excludeInboundPorts, directions.inbound),
      ...rows(pod.unsplicedPorts, directions.unspliced),
    ];
  }
  protected isOf(key: Uint8Array, cookie: bigint): boolean {
    return hasCookieAt(key, cookieAt, cookie);
  }
}
