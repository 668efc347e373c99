import type { Fields } from '../http2.js';
import type { Encoder, OutputBuffer } from './hpack.js';

/** Encodes the header blocks of one connection. */
export class HpackEncoder implements Encoder {
  setTableBytesMax(_bytes: number): void {}

  encode(_fields: Fields, _into: OutputBuffer): void {}
}
