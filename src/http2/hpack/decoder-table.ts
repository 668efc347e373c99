import { fieldBytes, staticEntries, staticNames, staticValues } from './static-table.js';

/** The entries of the static and the dynamic table of a decoder (RFC 7541, section 2.3). */
export class DecoderTable {
  /** Of the entry that `find` found. */
  name = '';
  value = '';
  /** 0, or what is wrong with the entry: `badName`, `badValue`. */
  fault = 0;

  /** The dynamic entries: a ring, whose length is a power of two. */
  private names: string[] = [];
  private values: string[] = [];
  private faults: number[] = [];
  private mask = -1;
  /** Counts all insertions. The newest entry is before it. */
  private next = 0;
  private count = 0;
  private bytes = 0;

  constructor(private bytesMax: number) {}

  /** False: there is no such entry. A negative index is none. */
  find(index: number): boolean {
    if (index <= staticEntries) {
      if (index <= 0) return false;
      this.name = staticNames[index] as string;
      this.value = staticValues[index] as string;
      this.fault = 0;
      return true;
    }
    const age = index - staticEntries;
    if (age > this.count) return false;
    const slot = (this.next - age) & this.mask;
    this.name = this.names[slot] as string;
    this.value = this.values[slot] as string;
    this.fault = this.faults[slot] as number;
    return true;
  }

  insert(name: string, value: string, fault: number): void {
    const bytes = fieldBytes(name, value);
    this.evict(this.bytesMax - bytes);
    // An entry that is larger than the table empties it, and that is no error.
    if (bytes > this.bytesMax) return;
    if (this.count > this.mask) this.grow();
    const slot = this.next++ & this.mask;
    this.names[slot] = name;
    this.values[slot] = value;
    this.faults[slot] = fault;
    this.count++;
    this.bytes += bytes;
  }

  resize(bytesMax: number): void {
    this.bytesMax = bytesMax;
    this.evict(bytesMax);
  }

  private evict(bytesMax: number): void {
    while (this.bytes > bytesMax && this.count > 0) {
      const slot = (this.next - this.count--) & this.mask;
      this.bytes -= fieldBytes(this.names[slot] as string, this.values[slot] as string);
      this.names[slot] = this.values[slot] = '';
    }
  }

  private grow(): void {
    const slots = Math.max(16, this.names.length * 2);
    const of = <T>(old: readonly T[], empty: T): T[] => {
      const ring = new Array<T>(slots).fill(empty);
      for (let age = 1; age <= this.count; age++) {
        ring[(this.next - age) & (slots - 1)] = old[(this.next - age) & this.mask] as T;
      }
      return ring;
    };
    this.names = of(this.names, '');
    this.values = of(this.values, '');
    this.faults = of(this.faults, 0);
    this.mask = slots - 1;
  }
}
