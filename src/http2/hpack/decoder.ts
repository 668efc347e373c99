import type { Fields } from '../http2.js';
import { DecoderTable } from './decoder-table.js';
import type { DecodeResult, HeaderLimits } from './hpack.js';
import { huffmanBytesMax, huffmanDecode } from './huffman.js';
import { badName, literalFault, readName, readValue } from './literal.js';
import { addSensitive } from './sensitive-names.js';
import { fieldBytes } from './static-table.js';

/** The initial size of a table (RFC 9113, section 6.5.2). */
const initialTableBytes = 4096;
/** No integer of a valid block is larger. */
const integerMax = 2 ** 28;

/** Where strings are Huffman decoded. Shared, because nothing in it outlives a call. */
let scratch = Buffer.allocUnsafe(4096);

/** Decodes the header blocks of one connection, in their order (RFC 7541). */
export class HpackDecoder {
  /** Why the last block was not `ok`. */
  why = '';
  private readonly table = new DecoderTable(initialTableBytes);
  /** Where `integer` and `string` ended. */
  private at = 0;
  /** What `string` found: the bytes of the string, in the block or in `scratch`. */
  private from: Buffer = scratch;
  private start = 0;
  private end = 0;

  /** `tableBytesMax`: the announced SETTINGS_HEADER_TABLE_SIZE, at least the initial 4096. */
  constructor(private readonly tableBytesMax: number) {}

  /** Appends the fields of one whole block to `sink`. Never throws. */
  decode(block: Buffer, sink: Fields, limits: HeaderLimits): DecodeResult {
    const table = this.table;
    const first = sink.length;
    const { headerListBytesMax, headerFieldsMax } = limits;
    let fields = 0;
    let listBytes = 0;
    let isTooLarge = false;
    let fault = 0;
    let at = 0;
    while (at < block.length) {
      const byte = block[at] as number;
      let name: string;
      let value: string;
      if (byte >= 0x80) {
        // Indexed.
        let index = byte & 0x7f;
        if (index === 0x7f) {
          index = this.integer(block, at, 0x7f);
          at = this.at;
        } else at++;
        if (!table.find(index)) return this.failed(`no table entry at ${index}`);
        name = table.name;
        value = table.value;
        fault |= table.fault;
      } else if (byte >= 0x20 && byte < 0x40) {
        // A table size update.
        const size = this.integer(block, at, 0x1f);
        at = this.at;
        if (fields > 0) return this.failed('table size update behind a field');
        if (size < 0 || size > this.tableBytesMax) return this.failed(`table size update to ${size}`);
        table.resize(size);
        continue;
      } else {
        // A literal: with indexing 01, without 0000, never indexed 0001.
        const isIndexed = byte >= 0x40;
        const isNever = !isIndexed && byte >= 0x10;
        const mask = isIndexed ? 0x3f : 0x0f;
        let index = byte & mask;
        if (index === mask) {
          index = this.integer(block, at, mask);
          at = this.at;
        } else at++;
        let nameFault: number;
        if (index === 0) {
          if (!this.string(block, at)) return 'compressionError';
          at = this.at;
          name = readName(this.from, this.start, this.end);
          nameFault = literalFault;
        } else {
          if (!table.find(index)) return this.failed(`no table entry at ${index}`);
          name = table.name;
          nameFault = table.fault & badName;
        }
        if (!this.string(block, at)) return 'compressionError';
        at = this.at;
        value = readValue(name, this.from, this.start, this.end, !isNever);
        const fieldFault = nameFault | literalFault;
        fault |= fieldFault;
        if (isIndexed) table.insert(name, value, fieldFault);
        else if (isNever) addSensitive(name, value);
      }
      fields++;
      // Beyond a limit, the rest is decoded only for the table: a few bytes could stand for very many.
      if (isTooLarge) continue;
      listBytes += fieldBytes(name, value);
      if (listBytes > headerListBytesMax || fields > headerFieldsMax) {
        isTooLarge = true;
        sink.length = first;
        this.why =
          fields > headerFieldsMax
            ? `more than ${headerFieldsMax} header fields`
            : `header list above ${headerListBytesMax} bytes`;
        continue;
      }
      sink.push(name, value);
    }
    if (isTooLarge) return 'tooLarge';
    if (fault === 0) return 'ok';
    this.why = (fault & badName) !== 0 ? 'invalid header field name' : 'invalid header field value';
    return 'malformed';
  }

  private failed(why: string): 'compressionError' {
    this.why = why;
    return 'compressionError';
  }

  /** The integer whose prefix has this mask (RFC 7541, section 5.1). -1: invalid. */
  private integer(block: Buffer, at: number, mask: number): number {
    let value = (block[at++] as number) & mask;
    if (value === mask) {
      for (let shift = 0; ; shift += 7) {
        if (at >= block.length || shift > 28) {
          value = -1;
          break;
        }
        const byte = block[at++] as number;
        value += (byte & 0x7f) * 2 ** shift;
        if (byte < 0x80) break;
      }
    }
    this.at = at;
    return value > integerMax ? -1 : value;
  }

  /** The string at this place (RFC 7541, section 5.2). False: invalid. */
  private string(block: Buffer, at: number): boolean {
    if (at >= block.length) {
      this.why = 'header block ends within a field';
      return false;
    }
    const byte = block[at] as number;
    let length = byte & 0x7f;
    if (length === 0x7f) {
      length = this.integer(block, at, 0x7f);
      at = this.at;
    } else at++;
    const end = at + length;
    if (length < 0 || end > block.length) {
      this.why = 'header block ends within a string';
      return false;
    }
    this.at = end;
    if (byte < 0x80) {
      this.from = block;
      this.start = at;
      this.end = end;
      return true;
    }
    const bytesMax = huffmanBytesMax(length);
    if (bytesMax > scratch.length) scratch = Buffer.allocUnsafe(bytesMax);
    this.from = scratch;
    this.start = 0;
    this.end = huffmanDecode(block, at, end, scratch);
    if (this.end >= 0) return true;
    this.why = 'invalid Huffman code';
    return false;
  }
}
