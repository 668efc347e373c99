import type { Fields } from '../http2.js';
import { EncoderTable, type NameState } from './encoder-table.js';
import type { OutputBuffer } from './hpack.js';

/** The largest dynamic table that the encoder uses, even if the peer allows more: it takes memory on both sides. */
const tableBytesCap = 4096;
/** From this length on, a native call is faster than a loop. */
const nativeBytesMin = 24;
/** Bytes of a prefix and of the integers of one field, at most. */
const overheadBytesMax = 16;

/** Encodes the header blocks of one connection, in their order (RFC 7541). Names are in lower case; characters are of Latin-1. */
export class HpackEncoder {
  private readonly table = new EncoderTable(tableBytesCap);
  private tableBytesMax = tableBytesCap;
  /** The smallest size since the last block; undefined: the size has not changed. */
  private smallest: number | undefined;
  private bytes: Buffer = Buffer.alloc(0);
  private at = 0;

  /** Applies the peer's SETTINGS_HEADER_TABLE_SIZE. */
  setTableBytesMax(bytes: number): void {
    const size = Math.min(bytes, tableBytesCap);
    if (size === this.tableBytesMax && this.smallest === undefined) return;
    this.tableBytesMax = size;
    this.smallest = Math.min(this.smallest ?? size, size);
    this.table.resize(size);
  }

  /** Appends one whole block. It may be longer than a frame: the frame writer divides it. */
  encode(fields: Fields, into: OutputBuffer): void {
    const table = this.table;
    table.refreshSensitive();
    this.bytes = into.bytes;
    this.at = into.length;
    this.reserve(into, overheadBytesMax);
    if (this.smallest !== undefined) {
      // Two updates if the size was lower in between (RFC 7541, section 4.2).
      if (this.smallest < this.tableBytesMax) this.integer(0x20, 0x1f, this.smallest);
      this.integer(0x20, 0x1f, this.tableBytesMax);
      this.smallest = undefined;
    }
    for (let i = 0; i + 1 < fields.length; i += 2) {
      const name = fields[i] as string;
      const value = fields[i + 1] as string;
      const state = table.state(name);
      const index = table.find(state, value);
      if (index > 0) {
        if (this.at + overheadBytesMax > this.bytes.length) this.reserve(into, overheadBytesMax);
        if (index < 0x7f) this.bytes[this.at++] = 0x80 | index;
        else this.integer(0x80, 0x7f, index);
        continue;
      }
      const needed = overheadBytesMax + name.length + value.length;
      if (this.at + needed > this.bytes.length) this.reserve(into, needed);
      this.literal(state, name, value);
    }
    into.length = this.at;
  }

  private literal(state: NameState, name: string, value: string): void {
    const table = this.table;
    const nameIndex = table.nameIndex(state);
    if (table.isNever(state, value)) this.integer(0x10, 0x0f, nameIndex);
    else if (table.isWorthEntry(state, value)) {
      this.integer(0x40, 0x3f, nameIndex);
      table.insert(state, value);
    } else this.integer(0, 0x0f, nameIndex);
    if (nameIndex === 0) this.string(name);
    this.string(value);
  }

  private integer(first: number, mask: number, value: number): void {
    const bytes = this.bytes;
    if (value < mask) {
      bytes[this.at++] = first | value;
      return;
    }
    bytes[this.at++] = first | mask;
    for (value -= mask; value >= 0x80; value >>>= 7) bytes[this.at++] = (value & 0x7f) | 0x80;
    bytes[this.at++] = value;
  }

  private string(text: string): void {
    const length = text.length;
    this.integer(0, 0x7f, length);
    const { bytes, at } = this;
    this.at = at + length;
    if (length >= nativeBytesMin) bytes.write(text, at, length, 'latin1');
    else for (let i = 0; i < length; i++) bytes[at + i] = text.charCodeAt(i);
  }

  private reserve(into: OutputBuffer, bytesMin: number): void {
    into.length = this.at;
    into.reserve(bytesMin);
    this.bytes = into.bytes;
    this.at = into.length;
  }
}
