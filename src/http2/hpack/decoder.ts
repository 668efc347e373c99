import type { Fields } from '../http2.js';
import type { Decoder, DecodeResult, HeaderLimits } from './hpack.js';

/** Decodes the header blocks of one connection. */
export class HpackDecoder implements Decoder {
  why = '';

  /** `tableBytesMax`: the announced SETTINGS_HEADER_TABLE_SIZE, at least the initial 4096. */
  constructor(private readonly tableBytesMax: number) {}

  decode(_block: Buffer, _sink: Fields, _limits: HeaderLimits): DecodeResult {
    this.why = `not implemented (${this.tableBytesMax})`;
    return 'compressionError';
  }
}
