/**
 * A build whose maps have another layout than those in the kernel gets maps of its own, beside the former ones: a generation.
 * What is configured is copied; connections that the kernel carries stay with the programs and maps they began under, which
 * are taken away when the last of them has ended.
 *
 *   <instance>/links, pods   hooks that exist once: connect(), socket(), arrivals
 *   <instance>/owners        for which pod each hook of arrivals is (owners.ts)
 *   <instance>/<layout>/     maps, by name
 *   <instance>/<layout>/links  hooks that former generations keep: the life of connections, getpeername(), setsockopt()
 *   <instance>/<layout>/ready    the maps have their rows (a directory: the BPF file system has no files)
 *   <instance>/<layout>/retired  another generation is in charge
 */
import { existsSync, mkdirSync, readdirSync, rmdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { WeftError } from '../../src/base/errors.js';
import {
  BpfMap,
  BpfRing,
  NativeError,
  detach,
  pinAgain,
  pinnedLayout,
  type MapLayout,
  type ObjectLayout,
} from '../../native/index.js';
import { converter, movedEnumerators, type Convert } from '../maps/layout.js';
import { ownersDir } from './owners.js';
import { FlowReader } from '../maps/flows.js';
import { decodeLive, encodeU64, type LiveEntry, type MapName } from './layout.js';

/** Rows that the agent wrote, or that count on: the new generation goes on with them. */
const copied: readonly MapName[] = [
  'weft_pods',
  'weft_pod_addr',
  'weft_bypass_port',
  'weft_bypass_ip',
  'weft_probe',
  'weft_node',
  'weft_local',
  'weft_services',
  'weft_endpoints',
  'weft_verdicts',
  'weft_negative',
  'weft_count',
];
/** By these a generation takes part in new connections. */
const involving: readonly MapName[] = ['weft_pods', 'weft_probe', 'weft_local'];
const arrays = new Set([2, 6]); // BPF_MAP_TYPE_ARRAY, _PERCPU_ARRAY
export const flowsPerTurnMax = 8192;

const ready = (dir: string): string => join(dir, 'ready');
const retired = (dir: string): string => join(dir, 'retired');

/** Directories of all generations of an instance. Errors: WEFT_BPF_LAYOUT where maps stand outside of any. */
export function generationsOf(instanceDir: string): string[] {
  if (!existsSync(instanceDir)) return [];
  const entries = readdirSync(instanceDir, { withFileTypes: true });
  const stray = entries.find((entry) => !entry.isDirectory());
  if (stray) {
    throw new WeftError(
      'WEFT_BPF_LAYOUT',
      `${join(instanceDir, stray.name)} is of a build that cannot be taken over from: end its agent, then weft cleanup`,
    );
  }
  return entries
    .map(({ name }) => name)
    .filter((name) => name !== 'links' && name !== 'pods' && name !== ownersDir)
    .map((name) => join(instanceDir, name));
}

/** Its maps were whole at some time: it may carry connections. */
export const wasReady = (dir: string): boolean => existsSync(ready(dir));
/** It is in charge. */
export const isReady = (dir: string): boolean => wasReady(dir) && !existsSync(retired(dir));

/** Makes what follows a generation that counts; the others have become former ones. Idempotent. */
export function takeCharge(dir: string): void {
  mkdirSync(ready(dir), { recursive: true });
  if (existsSync(retired(dir))) rmdirSync(retired(dir));
}

export function retire(dir: string): void {
  mkdirSync(retired(dir), { recursive: true });
  for (const name of involving) {
    const map = new BpfMap(join(dir, name));
    for (const key of map.keys()) map.remove(key);
    map.close();
  }
}

/**
 * Before the maps of `to` are made: what sockets remember is one map for both where its layout is the same, so that marks of
 * sockets that do not connect until later are kept.
 */
export function shareSocketStorage(from: string, to: string, layout: ObjectLayout): void {
  const name = 'weft_sock';
  const old = pinnedLayout(join(from, name));
  const same = JSON.stringify(old.structs[name]) === JSON.stringify(layout.structs[name]);
  if (same && !existsSync(join(to, name))) pinAgain(join(from, name), join(to, name));
}

/** Copies rows by the names of their fields. Errors: WEFT_BPF_LAYOUT where they cannot be read so, NATIVE_FULL. */
export function copyRows(from: string, to: string, layout: ObjectLayout): void {
  // One object made all of them, so the types of one map are those of all.
  const moved = movedEnumerators(pinnedLayout(join(from, 'weft_node')), layout);
  if (moved.length > 0) {
    throw new WeftError(
      'WEFT_BPF_LAYOUT',
      `${moved.join(', ')} had other values in the build whose maps are in the kernel: end the agent, then weft cleanup`,
    );
  }
  for (const name of copied) {
    const old = pinnedLayout(join(from, name));
    const fresh = layout.maps[name] as MapLayout;
    const source = new BpfMap(join(from, name));
    const target = new BpfMap(join(to, name));
    try {
      const struct = (was: string, is: string): Convert => {
        if (is === '') return (bytes) => bytes;
        if (was === is) return converter(is, old.structs, layout.structs);
        throw new WeftError(
          'WEFT_BPF_LAYOUT',
          `${name} holds ${was || 'numbers'} in the kernel, ${is} in this build`,
        );
      };
      const key = struct(old.key, fresh.key);
      const value = struct(old.value, fresh.value);
      for (const stale of arrays.has(target.info.type) ? [] : target.keys()) target.remove(stale);
      const rows = source.keys().flatMap((bytes): [Uint8Array, Uint8Array][] => {
        const found = source.lookup(bytes);
        return found ? [[key(bytes), value(found)]] : [];
      });
      target.updateBatch(arrays.has(target.info.type) ? rows.slice(0, target.info.maxEntries) : rows);
    } finally {
      source.close();
      target.close();
    }
  }
}

/** Everything of a directory of pins: links first, each ended. */
export function removePins(dir: string): void {
  if (!existsSync(dir)) return;
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) removePins(path);
    else if (dir.endsWith('/links') || dir.endsWith('/pods')) detach(path);
    else unlinkSync(path);
  }
  rmdirSync(dir);
}

/** Connections that the kernel carries, of one generation. */
export interface LiveTable {
  /** Each with its key. */
  entries(): { readonly id: bigint; readonly live: LiveEntry }[];
  /**
   * Takes out an entry whose socket never sent a SYN. Undefined where the kernel does so itself when the socket is closed: what
   * it counts for a pod's share is deleted by nobody else.
   */
  readonly remove: ((id: bigint) => void) | undefined;
}

/** `isCounted`: the kernel counts its entries for the pods' shares. */
export function liveTable(map: BpfMap, isCounted: boolean, convert: Convert = (bytes) => bytes): LiveTable {
  return {
    entries: () =>
      map.keys().flatMap((key) => {
        const bytes = map.lookup(key);
        const live = bytes && decodeLive(convert(bytes));
        return live ? [{ id: live.cookies[0], live }] : [];
      }),
    remove: isCounted ? undefined : (id) => void map.remove(encodeU64(id)),
  };
}

/** A former generation, while it has connections. */
export class FormerGeneration {
  readonly live: LiveTable;
  readonly #map: BpfMap;
  readonly #ring: BpfRing;
  readonly #flow: Convert;
  readonly #recordSize: number;

  /** Errors: NativeError where the directory is no whole generation. */
  constructor(
    readonly dir: string,
    layout: ObjectLayout,
  ) {
    const pin = join(dir, 'weft_live');
    const { structs } = pinnedLayout(pin);
    const recordSize = structs['weft_flow']?.[0];
    if (recordSize === undefined) throw new NativeError('NATIVE_LAYOUT', `${pin} has no types`, 0, '');
    this.#recordSize = recordSize;
    this.#flow = converter('weft_flow', structs, layout.structs);
    this.#map = new BpfMap(pin);
    // Builds that have no such map did not count.
    const isCounted = existsSync(join(dir, 'weft_shares'));
    this.live = liveTable(this.#map, isCounted, converter('weft_live', structs, layout.structs));
    this.#ring = new BpfRing(join(dir, 'weft_flows'));
  }

  drain(): FlowReader | undefined {
    const packed = this.#ring.drainPacked(flowsPerTurnMax, this.#recordSize);
    if (packed.length === 0) return undefined;
    const records = Array.from({ length: packed.length / this.#recordSize }, (_, i) =>
      this.#flow(packed.subarray(i * this.#recordSize, (i + 1) * this.#recordSize)),
    );
    return new FlowReader(Buffer.concat(records));
  }

  get size(): number {
    return this.#map.keys().length;
  }

  close(): void {
    this.#map.close();
    this.#ring.close();
  }

  /** Takes it out of the kernel. */
  remove(): void {
    this.close();
    removePins(this.dir);
  }
}
