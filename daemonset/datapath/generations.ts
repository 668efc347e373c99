/**
 * A build whose maps have another layout than those in the kernel gets maps of its own, beside the former ones: a generation.
 * What is configured is copied; connections that the kernel carries stay with the programs and maps they began under, which
 * are taken away when the last of them has ended.
 *
 *   <instance>/links, pods   hooks that exist once: connect(), socket(), the pods' inbound hooks
 *   <instance>/owners        for which pod each inbound hook was attached (owners.ts)
 *   <instance>/<layout>/     maps, by name
 *   <instance>/<layout>/links  hooks that former generations keep: the life of connections, getpeername(), setsockopt()
 *   <instance>/<layout>/ready    the maps have their rows (a directory: the BPF file system has no files)
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
  removePodRows(dir);
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

/** A former generation, while it has connections. */
export class FormerGeneration {
  readonly live: LiveTable;
  readonly #maps: PinnedMaps;
  readonly #ring: ReturnType<PinnedMaps['ring']>;
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
    this.#maps = new PinnedMaps(dir);
    // Builds that have no such map did not count.
    const isCounted = existsSync(join(dir, 'weft_shares'));
    this.live = liveTable(
      this.#maps.get('weft_live'),
      isCounted,
      converter('weft_live', structs, layout.structs),
    );
    this.#ring = this.#maps.ring('weft_flows');
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
    return this.#maps.get('weft_live').keys().length;
  }

  close(): void {
    this.#maps.close();
    this.#ring.close();
  }

  /** Takes it out of the kernel. */
  remove(): void {
    this.close();
    removePins(this.dir);
  }
}
