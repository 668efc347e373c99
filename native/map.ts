/** Pinned maps and ring buffers (src/map.cc, src/ring.cc). */
import { addon, bytes, integer, run, text, type MapInfo, type RawMap, type RawRing } from './addon.js';

/** A pinned map. Keys and values must have the map's sizes, otherwise NATIVE_ARGUMENT. Methods throw NativeError. */
export class BpfMap {
  readonly #raw: RawMap;
  readonly info: MapInfo;

  constructor(pin: string) {
    text(pin, 'pin');
    this.#raw = run(() => new (addon().Map)(pin));
    this.info = this.#raw.info();
  }
  lookup(key: Uint8Array): Uint8Array | undefined {
    return run(() => this.#raw.lookup(bytes(key, 'key')));
  }
  /** Reads and removes in one step. */
  take(key: Uint8Array): Uint8Array | undefined {
    return run(() => this.#raw.take(bytes(key, 'key')));
  }
  /** Error: NATIVE_FULL, the map is full. `flags`: 0 any key, 1 only a new key, 2 only an existing key. */
  update(key: Uint8Array, value: Uint8Array, flags = 0): void {
    run(() => this.#raw.update(bytes(key, 'key'), bytes(value, 'value'), integer(flags, 0, 7, 'flags')));
  }
  /** False if the key did not exist. */
  remove(key: Uint8Array): boolean {
    return run(() => this.#raw.remove(bytes(key, 'key')));
  }
  /** At most `max` keys (default: the map's capacity), in the kernel's order. */
  keys(max = this.info.maxEntries): Uint8Array[] {
    const all = run(() => this.#raw.keys(integer(max, 0, 0xffff_ffff, 'max')));
    const keys: Uint8Array[] = [];
    for (let at = 0; at < all.length; at += this.info.keySize)
      keys.push(all.subarray(at, at + this.info.keySize));
    return keys;
  }
  /** Writes all entries, in one system call if the map's type supports it. */
  updateBatch(entries: readonly (readonly [key: Uint8Array, value: Uint8Array])[]): void {
    const keys = Buffer.concat(entries.map(([key]) => bytes(key, 'key')));
    const values = Buffer.concat(entries.map(([, value]) => bytes(value, 'value')));
    run(() => this.#raw.updateBatch(keys, values));
  }
  /** The descriptor, which stays the map's. Valid until close(). */
  get fd(): number {
    return run(() => this.#raw.fd());
  }
  close(): void {
    this.#raw.close();
  }
}

/** A pinned ring buffer. Records wait in the kernel's bounded ring; the eBPF programs count records that do not fit. */
export class BpfRing {
  readonly #raw: RawRing;
  constructor(pin: string) {
    text(pin, 'pin');
    this.#raw = run(() => new (addon().Ring)(pin));
  }
  /** At most `max` records, oldest first. */
  drain(max: number): Uint8Array[] {
    return run(() => this.#raw.drain(integer(max, 0, 1_000_000, 'max')));
  }
  /** At most `max` records of `recordSize` bytes, oldest first, concatenated in one buffer: for frequent records. */
  drainPacked(max: number, recordSize: number): Uint8Array {
    return run(() =>
      this.#raw.drainPacked(integer(max, 0, 1_000_000, 'max'), integer(recordSize, 1, 65_536, 'recordSize')),
    );
  }
  close(): void {
    this.#raw.close();
  }
}
