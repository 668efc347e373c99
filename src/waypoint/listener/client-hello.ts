/** The name that a TLS client asks for (SNI, RFC 6066), read from its first bytes, which are passed on unchanged. */
import type { Duplex } from 'node:stream';

/** A ClientHello is at most this long here: its records without the headers. */
const helloBytesMax = 16_384;
/** Each new byte has the records so far read again: their number bounds that cost. */
const recordsMax = 64;
const handshake = 0x16;
const clientHello = 1;
const serverName = 0;
const hostName = 0;

/** `more`: the bytes so far may be the start of a ClientHello. Undefined: they are none, or it names no host. */
export function sniOf(bytes: Buffer): string | 'more' | undefined {
  const hello = helloOf(bytes);
  if (hello === 'more' || hello === undefined) return hello;
  try {
    return nameIn(hello);
  } catch {
    return undefined;
  }
}

/** The content of the ClientHello, which may be spread over several records. */
function helloOf(bytes: Buffer): Buffer | 'more' | undefined {
  const parts: Buffer[] = [];
  let length = 0;
  let wanted: number | undefined;
  for (let at = 0; parts.length < recordsMax;) {
    if (at < bytes.length && bytes[at] !== handshake) return undefined;
    if (at + 5 > bytes.length) return 'more';
    const size = bytes.readUInt16BE(at + 3);
    const part = bytes.subarray(at + 5, at + 5 + size);
    if (length === 0 && part.length > 0 && part[0] !== clientHello) return undefined;
    parts.push(part);
    length += part.length;
    if (wanted === undefined && length >= 4) wanted = 4 + Buffer.concat(parts).readUIntBE(1, 3);
    if (wanted !== undefined && wanted > helloBytesMax) return undefined;
    if (wanted !== undefined && length >= wanted) return Buffer.concat(parts).subarray(4, wanted);
    if (part.length < size) return 'more';
    if (size === 0) return undefined;
    at += 5 + size;
  }
  return undefined;
}

/** Throws beyond the end of the message. */
function nameIn(hello: Buffer): string | undefined {
  // Version and random.
  let at = 34;
  at += 1 + hello.readUInt8(at);
  at += 2 + hello.readUInt16BE(at);
  at += 1 + hello.readUInt8(at);
  const end = at + 2 + hello.readUInt16BE(at);
  for (at += 2; at + 4 <= end;) {
    const type = hello.readUInt16BE(at);
    const size = hello.readUInt16BE(at + 2);
    if (type === serverName) {
      if (hello.readUInt8(at + 6) !== hostName) return undefined;
      const length = hello.readUInt16BE(at + 7);
      const name = hello.subarray(at + 9, at + 9 + length);
      return name.length === length ? name.toString('latin1').toLowerCase() : undefined;
    }
    at += 4 + size;
  }
  return undefined;
}

export interface Hello {
  /** Empty: the client names no host, or its first bytes are no ClientHello. */
  readonly sni: string;
  /** The bytes that were read. */
  readonly bytes: Buffer;
}

/**
 * Reads a client's ClientHello. The stream is paused then. Without one in time the name is empty.
 * @param first bytes that were read before
 * @param timeoutMs 0: no limit
 */
export function readHello(stream: Duplex, first: Buffer, timeoutMs: number): Promise<Hello> {
  return new Promise((resolve) => {
    let all = first;
    const finish = (sni = ''): void => {
      clearTimeout(timer);
      stream.removeListener('data', onData);
      stream.removeListener('end', end);
      stream.removeListener('close', end);
      stream.pause();
      resolve({ sni, bytes: all });
    };
    const decide = (): boolean => {
      const found = sniOf(all);
      if (found === 'more') return false;
      finish(found);
      return true;
    };
    const end = (): void => finish();
    const onData = (bytes: Buffer): void => {
      all = Buffer.concat([all, bytes]);
      decide();
    };
    const timer = timeoutMs > 0 ? setTimeout(end, timeoutMs) : undefined;
    timer?.unref();
    if (decide()) return;
    stream.once('end', end);
    stream.once('close', end);
    stream.on('data', onData);
    stream.resume();
  });
}
