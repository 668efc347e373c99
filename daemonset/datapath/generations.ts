/**
 * A generation is one set of maps with one layout. A build whose layout differs from that of the maps in the kernel gets a new
 * generation beside the former ones. Configuration rows are copied. Kernel flows stay with the programs and maps under which they
 * began; a former generation is removed when its last flow has ended.
 *
 *   <instance>/links, pods   hooks that exist once: connect(), socket(), the pods' inbound hooks
 *   <instance>/owners        the pod for which each inbound hook was attached (owners.ts)
 *   <instance>/<layout>/     maps, by name
 *   <instance>/<layout>/links  hooks that each generation has: sockops, getpeername(), setsockopt()
 *   <instance>/<layout>/ready    the maps have their rows (a directory: the BPF file system has no regular files)
 *   <instance>/<layout>/retired  another generation is in charge
 */
import { existsSync, mkdirSync, readdirSync, rmdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { WeftError } from '../../src/base/errors.js';
import { NativeError, detach, pinAgain, pinnedLayout, type ObjectLayout } from '../../native/index.js';
import { flowsPerTurnMax, FlowReader } from '../maps/flows.js';
import { converter, type Convert } from '../maps/layout.js';
import { removePodRows } from '../maps/former-rows.js';
import { liveTable, type LiveTable } from '../maps/live.js';
import { PinnedMaps } from '../maps/pinned.js';
import { ownersDir } from './owners.js';

const ready = (dir: string): string => join(dir, 'ready');
const retired = (dir: string): string => join(dir, 'retired');

/** Directories of all generations of an instance. Error: WEFT_BPF_LAYOUT, a map is pinned outside of any generation. */
export function generationsOf(instanceDir: string): string[] {
  if (!existsSync(instanceDir)) return [];
  const entries = readdirSync(instanceDir, { withFileTypes: true });
  const stray = entries.find((entry) => !entry.isDirectory());
  if (stray) {
    throw new WeftError(
      'WEFT_BPF_LAYOUT',
      `${join(instanceDir, stray.name)} was pinned by a build that this one cannot take over from: stop that agent, then run weft cleanup`,
    );
  }
  return entries
    .map(({ name }) => name)
    .filter((name) => name !== 'links' && name !== 'pods' && name !== ownersDir)
    .map((name) => join(instanceDir, name));
}

/** Whether the maps of a generation were complete at some time: it may have kernel flows. */
export const wasReady = (dir: string): boolean => existsSync(ready(dir));
/** Whether a generation is in charge. */
export const isReady = (dir: string): boolean => wasReady(dir) && !existsSync(retired(dir));

/** Marks a generation as in charge. Idempotent. */
export function takeCharge(dir: string): void {
  mkdirSync(ready(dir), { recursive: true });
  if (existsSync(retired(dir))) rmdirSync(retired(dir));
}

/** Marks a generation as former and takes it out of new connections. Its kernel flows continue. */
export function retire(dir: string): void {
  mkdirSync(retired(dir), { recursive: true });
  removePodRows(dir);
}

/**
 * Pins the socket storage map of `from` in `to` if its layout is the same, before the maps of `to` are created. So sockets that
 * were marked earlier and connect later keep their marks.
 */
export function shareSocketStorage(from: string, to: string, layout: ObjectLayout): void {
  const name = 'weft_sock';
  const old = pinnedLayout(join(from, name));
  const same = JSON.stringify(old.structs[name]) === JSON.stringify(layout.structs[name]);
  if (same && !existsSync(join(to, name))) pinAgain(join(from, name), join(to, name));
}

/** Removes a directory of pins. Links are detached; maps are unpinned. */
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

/** A former generation that still has kernel flows. */
export class FormerGeneration {
  readonly live: LiveTable;
  readonly #maps: PinnedMaps;
  readonly #ring: ReturnType<PinnedMaps['ring']>;
  readonly #flow: Convert;
  readonly #recordSize: number;

  /** Error: NativeError, the directory is not a complete generation. */
  constructor(
    readonly dir: string,
    layout: ObjectLayout,
  ) {
    const pin = join(dir, 'weft_live');
    const { structs } = pinnedLayout(pin);
    const recordSize = structs['weft_flow']?.[0];
    if (recordSize === undefined)
      throw new NativeError('NATIVE_LAYOUT', `${pin} has no BTF for weft_flow`, 0, '');
    this.#recordSize = recordSize;
    this.#flow = converter('weft_flow', structs, layout.structs);
    this.#maps = new PinnedMaps(dir);
    // Builds without this map did not count shares.
    const isCounted = existsSync(join(dir, 'weft_shares'));
    this.live = liveTable(
      this.#maps.get('weft_live'),
      isCounted,
      converter('weft_live', structs, layout.structs),
    );
    this.#ring = this.#maps.ring('weft_flows');
  }

  /** Flows that ended since the last call, converted to this build's layout; undefined if there are none. */
  drain(): FlowReader | undefined {
    const packed = this.#ring.drainPacked(flowsPerTurnMax, this.#recordSize);
    if (packed.length === 0) return undefined;
    const records = Array.from({ length: packed.length / this.#recordSize }, (_, i) =>
      this.#flow(packed.subarray(i * this.#recordSize, (i + 1) * this.#recordSize)),
    );
    return new FlowReader(Buffer.concat(records));
  }

  /** Number of open kernel flows. */
  get size(): number {
    return this.#maps.get('weft_live').keys().length;
  }

  close(): void {
    this.#maps.close();
    this.#ring.close();
  }

  /** Removes the generation from the kernel. */
  remove(): void {
    this.close();
    removePins(this.dir);
  }
}
