/** Types that the HPACK decoder and encoder share with the connection. */

/**
 * What a header block was.
 * `ok`: all fields are in the list.
 * `malformed`: a name or value that a message must not have (RFC 9113, section 8.2). The stream is to be reset (PROTOCOL_ERROR).
 * `tooLarge`: beyond a limit; the list is empty. The stream is to be reset or refused.
 * `compressionError`: the block cannot be decoded (COMPRESSION_ERROR). The connection is to be closed, and the decoder must not be used again.
 * Except for the last, the dynamic table is right, and the connection goes on. The decoder's `why` has the reason in words.
 */
export type DecodeResult = 'ok' | 'malformed' | 'tooLarge' | 'compressionError';

/** Limits of one decoded header block. */
export interface HeaderLimits {
  /** Sum of the lengths of names and values, and 32 bytes for each field (RFC 9113, section 6.5.2). */
  readonly headerListBytesMax: number;
  readonly headerFieldsMax: number;
}

/** Where encoded bytes go. The frame writer owns it. */
export interface OutputBuffer {
  /** `reserve` may replace it. */
  bytes: Buffer;
  /** The bytes that are used. */
  length: number;
  /** Makes room for this many bytes behind `length`. */
  reserve(bytesMin: number): void;
}
