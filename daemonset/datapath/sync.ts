/** One pod's facts in the kernel's maps. The main thread alone writes them. */
import type { NodePod } from '../../src/model/node-pod.js';
import { isV6 } from '../../src/model/address.js';
import type { Datapath } from './loader.js';
import {
  encodeBypassIpKey,
  encodeBypassPortKey,
  encodePod,
  encodePodAddrKey,
  encodeProbeKey,
  encodeU32,
  encodeU64,
  podFlags,
} from './layout.js';

const one = encodeU32(1);

type Row = readonly [
  map: 'weft_pod_addr' | 'weft_bypass_port' | 'weft_bypass_ip' | 'weft_probe',
  key: Uint8Array,
  value: Uint8Array,
];

function rowsOf(pod: NodePod, cookie: bigint): Row[] {
  return [
    ...pod.addresses.map((ip): Row => ['weft_pod_addr', encodePodAddrKey(cookie, ip), one]),
    ...pod.excludeOutboundPorts.map((port): Row => [
      'weft_bypass_port',
      encodeBypassPortKey(cookie, port, 'outbound'),
      one,
    ]),
    ...pod.excludeInboundPorts.map((port): Row => [
      'weft_bypass_port',
      encodeBypassPortKey(cookie, port, 'inbound'),
      one,
    ]),
    ...pod.excludeOutboundCidrs.map((block): Row => [
      'weft_bypass_ip',
      encodeBypassIpKey(cookie, block.ip, block.prefixLength),
      one,
    ]),
    ...pod.addresses.flatMap((ip) =>
      pod.probePorts.map((port): Row => ['weft_probe', encodeProbeKey(ip, port), encodeU64(cookie)]),
    ),
  ];
}

const rowName = ([map, key]: Row): string => `${map} ${Buffer.from(key).toString('hex')}`;

export class PodMaps {
  readonly #rows = new Map<bigint, readonly Row[]>();
  #generation = 0;

  constructor(private readonly datapath: Datapath) {}

  setNode(cookie: bigint): void {
    this.datapath.map('weft_node').update(encodeU32(0), encodeU64(cookie));
  }

  /** Writes a pod; `capture` last, when its listeners and its inbound hook are there. Throws NativeError NATIVE_FULL. */
  write(pod: NodePod, cookie: bigint, capture: boolean): void {
    const rows = rowsOf(pod, cookie);
    const kept = new Set(rows.map(rowName));
    for (const [map, key, value] of rows) this.datapath.map(map).update(key, value);
    for (const row of this.#rows.get(cookie) ?? [])
      if (!kept.has(rowName(row))) this.datapath.map(row[0]).remove(row[1]);
    this.#rows.set(cookie, rows);
    this.datapath.map('weft_pods').update(
      encodeU64(cookie),
      encodePod({
        ip4: pod.addresses.find((ip) => !isV6(ip)),
        ip6: pod.addresses.find((ip) => isV6(ip)),
        flags:
          (capture ? podFlags.capture : 0) |
          (pod.agentDown === 'plaintext' ? podFlags.plaintextWithoutAgent : 0),
        generation: ++this.#generation,
      }),
    );
  }

  /** Removes a pod, also one that a former life of the agent wrote. */
  remove(cookie: bigint): void {
    this.datapath.map('weft_pods').remove(encodeU64(cookie));
    const prefix = Buffer.from(encodeU64(cookie));
    const rows = this.#rows.get(cookie);
    if (rows) for (const [map, key] of rows) this.datapath.map(map).remove(key);
    else {
      for (const [map, at] of [
        ['weft_pod_addr', 0],
        ['weft_bypass_port', 0],
        ['weft_bypass_ip', 4],
      ] as const) {
        for (const key of this.datapath.map(map).keys()) {
          if (prefix.equals(key.subarray(at, at + 8))) this.datapath.map(map).remove(key);
        }
      }
      const probes = this.datapath.map('weft_probe');
      for (const key of probes.keys())
        if (prefix.equals(probes.lookup(key) ?? new Uint8Array())) probes.remove(key);
    }
    this.#rows.delete(cookie);
  }
}
