/** One pod's facts in the kernel's maps. The main thread alone writes them. */
import { readFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import type { NodePod } from '../../src/model/node-pod.js';
import { isV6 } from '../../src/model/address.js';
import type { Datapath } from '../datapath/loader.js';
import {
  encodeBypassIpKey,
  encodeBypassPortKey,
  encodePod,
  encodePodAddrKey,
  encodeProbeKey,
  encodeU32,
  encodeU64,
  nodeSlots,
  podFlags,
} from '../datapath/layout.js';
import { sweepReleased } from '../datapath/sweep.js';

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
    ...pod.unsplicedPorts.map((port): Row => [
      'weft_bypass_port',
      encodeBypassPortKey(cookie, port, 'unspliced'),
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

const rowName = (map: string, key: Uint8Array): string => `${map} ${Buffer.from(key).toString('hex')}`;

const pageBytes = (): number =>
  Number(/^KernelPageSize:\s+(\d+) kB/m.exec(readFileSync('/proc/self/smaps', 'utf8'))?.[1] ?? 4) * 1024;
/**
 * Below it the kernel does not regulate what TCP holds: the first of net.ipv4.tcp_mem as the kernel sets it by itself, which is
 * to be read in the machine's own network namespace only.
 */
const tcpBytesLow = (): number => (totalmem() / 64) * 3;

export class PodMaps {
  readonly #rows = new Map<bigint, readonly Row[]>();
  #generation = 0;

  constructor(private readonly datapath: Datapath) {}

  setNode(
    cookie: bigint,
    limits: {
      readonly spliceBytesMax: number;
      /** Of TCP of the whole kernel; {@link tcpBytesLow} where absent. */
      readonly spliceNodeBytesMax?: number;
      readonly spliceBlocking?: boolean;
    },
  ): void {
    const node = this.datapath.map('weft_node');
    node.update(encodeU32(nodeSlots.cookie), encodeU64(cookie));
    node.update(encodeU32(nodeSlots.spliceMax), encodeU64(BigInt(limits.spliceBytesMax)));
    node.update(encodeU32(nodeSlots.spliceBlocking), encodeU64(limits.spliceBlocking === true ? 1n : 0n));
    const pages = Math.floor((limits.spliceNodeBytesMax ?? tcpBytesLow()) / pageBytes());
    node.update(encodeU32(nodeSlots.splicePagesMax), encodeU64(BigInt(pages)));
  }

  /**
   * Writes a pod; `capture` last, when its listeners and its inbound hook are there. What a former life of the agent
   * wrote for it and is no longer wanted goes: an exclusion left behind would be a hole. Throws NativeError NATIVE_FULL.
   */
  write(pod: NodePod, cookie: bigint, capture: boolean): void {
    const rows = rowsOf(pod, cookie);
    const kept = new Set(rows.map(([map, key]) => rowName(map, key)));
    const before = this.#rows.get(cookie) ?? this.#find(cookie);
    for (const [map, key, value] of rows) this.datapath.map(map).update(key, value);
    for (const [map, key] of before) if (!kept.has(rowName(map, key))) this.datapath.map(map).remove(key);
    this.#rows.set(cookie, rows);
    this.datapath.map('weft_pods').update(
      encodeU64(cookie),
      encodePod({
        ip4: pod.addresses.find((ip) => !isV6(ip)),
        ip6: pod.addresses.find((ip) => isV6(ip)),
        flags:
          (capture ? podFlags.capture : 0) |
          (pod.sameNode === 'kernel' ? podFlags.kernel : 0) |
          (pod.splice ? podFlags.splice : 0) |
          (pod.agentDown === 'plaintext' ? podFlags.plaintextWithoutAgent : 0),
        generation: ++this.#generation,
      }),
    );
  }

  /**
   * Ends the capture of a namespace, whoever wrote it; the rest stays until remove(). Returns what puts it back as it was.
   */
  lift(cookie: bigint): () => void {
    const pods = this.datapath.map('weft_pods');
    const key = encodeU64(cookie);
    const before = pods.lookup(key);
    pods.remove(key);
    return () => {
      if (before) pods.update(key, before);
    };
  }

  /** Removes a pod, also one that a former life of the agent wrote. */
  remove(cookie: bigint): void {
    this.datapath.map('weft_pods').remove(encodeU64(cookie));
    for (const [map, key] of this.#rows.get(cookie) ?? this.#find(cookie)) this.datapath.map(map).remove(key);
    this.#rows.delete(cookie);
    sweepReleased(this.datapath);
  }

  #find(cookie: bigint): Row[] {
    const mark = Buffer.from(encodeU64(cookie));
    const found: Row[] = [];
    for (const [map, at] of [
      ['weft_pod_addr', 0],
      ['weft_bypass_port', 0],
      ['weft_bypass_ip', 4],
    ] as const) {
      for (const key of this.datapath.map(map).keys())
        if (mark.equals(key.subarray(at, at + 8))) found.push([map, key, one]);
    }
    const probes = this.datapath.map('weft_probe');
    for (const key of probes.keys()) {
      if (mark.equals(probes.lookup(key) ?? new Uint8Array())) found.push(['weft_probe', key, mark]);
    }
    return found;
  }
}
