/**
 * The memory that all processes of a waypoint share: counts of what is under way, and buckets of rate limits. The main process makes it before
 * its workers, passes its descriptor to them, reclaims what nobody uses, and clears what a worker held that died.
 */
import { randomBytes } from 'node:crypto';
import { closeSync } from 'node:fs';
import { createSharedMemory, mapSharedMemory } from '../../../native/memory.js';
import { bucketLayout } from './bucket-layout.js';
import { counterLayout, SharedCounters } from './shared-counters.js';
import { mainProcess, SharedTable } from './shared-table.js';

/** Where workers find the descriptor: after the standard streams and the channel to the main process. */
export const sharedMemoryFd = 4;

/** What the main process tells its workers with their start. */
export interface SharedMemorySettings {
  readonly workers: number;
  /** Makes hashes of names unpredictable. */
  readonly secret: string;
}

type Full = (table: 'shared-counts' | 'rate-limit-buckets') => void;

const bytesOf = ({ workers }: SharedMemorySettings): number =>
  SharedTable.bytesOf(counterLayout(workers)) + SharedTable.bytesOf(bucketLayout(workers));

export class SharedMemory {
  readonly counters: SharedCounters;
  readonly buckets: SharedTable;
  readonly #countTable: SharedTable;

  /** Main process. Errors: NativeError; NATIVE_NOT_BUILT if the addon is missing. The descriptor is for the workers. */
  static create(
    workers: number,
  ): SharedMemory & { readonly fd: number; readonly settings: SharedMemorySettings } {
    const settings: SharedMemorySettings = { workers, secret: randomBytes(16).toString('hex') };
    const fd = createSharedMemory(bytesOf(settings));
    const memory = new SharedMemory(mapSharedMemory(fd), settings, mainProcess);
    return Object.assign(memory, { fd, settings });
  }

  /** Worker process: maps what the main process made. `worker`: the worker's index, below `settings.workers`. */
  static open(settings: SharedMemorySettings, worker: number, onFull: Full): SharedMemory {
    const buffer = mapSharedMemory(sharedMemoryFd);
    closeSync(sharedMemoryFd);
    return new SharedMemory(buffer, settings, worker, onFull);
  }

  /** The same in memory of this process alone: of one worker, for tests. */
  static inMemory(onFull?: Full): SharedMemory {
    const settings: SharedMemorySettings = { workers: 1, secret: 'a secret' };
    return new SharedMemory(new ArrayBuffer(bytesOf(settings)), settings, 0, onFull);
  }

  private constructor(
    buffer: ArrayBuffer,
    { workers, secret }: SharedMemorySettings,
    worker: number,
    onFull: Full = () => undefined,
  ) {
    const counts = counterLayout(workers);
    const buckets = bucketLayout(workers);
    const split = SharedTable.bytesOf(counts);
    const countWords = new Int32Array(buffer, 0, split / 4);
    const bucketsOf = new Int32Array(buffer, split, SharedTable.bytesOf(buckets) / 4);
    this.#countTable = new SharedTable(countWords, counts, worker, secret, () => onFull('shared-counts'));
    this.buckets = new SharedTable(bucketsOf, buckets, worker, secret, () => onFull('rate-limit-buckets'));
    this.counters = new SharedCounters(this.#countTable, worker);
  }

  /** Main process: a worker has ended, so nothing that it counted is under way any more, and it uses no bucket. */
  forgetWorker(worker: number): void {
    this.counters.forgetWorker(worker);
    this.buckets.forgetWorker(worker, () => undefined);
  }

  /** Main process, about once a second: frees what nobody uses. */
  reclaim(): void {
    this.#countTable.reclaim();
    this.buckets.reclaim();
  }
}
