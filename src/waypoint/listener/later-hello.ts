/**
 * Watches a TLS client for a further ClientHello in clear text. A server that demands another key share gets a second one (HelloRetryRequest,
 * RFC 8446, section 4.1.4). It must have the name of the first one, but not every server checks that.
 */
import { clientHelloOf } from './client-hello.js';

const handshake = 0x16;
const headerBytes = 5;
/** Bytes of a handshake message that tell a ClientHello: type, length, version, random, length of the session ID. */
const startBytes = 39;

export class LaterHello {
  #isDone = false;
  #hasSecond = false;
  /** Bytes of the record's content that are still to come and do not matter. */
  #skip = 0;
  #pending: Buffer;

  /**
   * @param first the bytes that began with the ClientHello
   * @param serverName the name in it
   */
  constructor(
    first: Buffer,
    private readonly serverName: string,
  ) {
    this.#pending = afterHello(first);
  }

  /**
   * Checks bytes that follow, before they are sent on. Returns why the connection is no longer allowed; undefined: it is. The bytes of `first`
   * behind the ClientHello are checked at the first call.
   */
  check(bytes: Buffer): string | undefined {
    if (this.#isDone) return undefined;
    this.#pending = this.#pending.length === 0 ? bytes : Buffer.concat([this.#pending, bytes]);
    for (;;) {
      const skipped = Math.min(this.#skip, this.#pending.length);
      this.#skip -= skipped;
      this.#pending = this.#pending.subarray(skipped);
      if (this.#skip > 0 || this.#pending.length < headerBytes) return undefined;
      const size = this.#pending.readUInt16BE(3);
      // Servers may ignore empty records, alerts, and data that came before the handshake was complete.
      if (this.#pending[0] !== handshake || size === 0) {
        this.#skip = headerBytes + size;
        continue;
      }
      const start = handshakeStart(this.#pending);
      if (start === 'more') return undefined;
      // Only the handshake of TLS 1.2 has other messages in such records: no ClientHello in clear text follows.
      if (!isClientHello(start)) return this.#end();
      // A server demands one at most. Reading any number of them would cost the waypoint more than the client.
      if (this.#hasSecond) return 'a third ClientHello';
      const later = clientHelloOf(this.#pending);
      if (later === 'more') return undefined;
      if (later?.serverName !== this.serverName)
        return 'a second ClientHello does not have the server name of the first one';
      this.#hasSecond = true;
      this.#pending = afterHello(this.#pending);
    }
  }

  #end(): undefined {
    this.#isDone = true;
    this.#pending = Buffer.alloc(0);
  }
}

/** The bytes behind the records of the ClientHello that they begin with. */
function afterHello(bytes: Buffer): Buffer {
  // The shortest run of records that is a whole message.
  for (let at = 0; at + headerBytes <= bytes.length;) {
    at += headerBytes + bytes.readUInt16BE(at + 3);
    if (at > bytes.length) break;
    if (clientHelloOf(bytes.subarray(0, at)) !== 'more') return bytes.subarray(at);
  }
  return Buffer.alloc(0);
}

/** The first bytes of the handshake message that begins with these records. */
function handshakeStart(bytes: Buffer): Buffer | 'more' {
  let start: Buffer = Buffer.alloc(0);
  for (let at = 0; start.length < startBytes;) {
    if (at < bytes.length && bytes[at] !== handshake) return start;
    if (at + headerBytes > bytes.length) return 'more';
    const size = bytes.readUInt16BE(at + 3);
    const part = bytes.subarray(at + headerBytes, at + headerBytes + size);
    start = Buffer.concat([start, part]);
    if (part.length < size && start.length < startBytes) return 'more';
    if (size === 0) return start;
    at += headerBytes + size;
  }
  return start;
}

/**
 * Encrypted messages may begin with any bytes: of these, one in about 170000 is taken for a ClientHello. OpenSSL accepts up to 131396 bytes, and any
 * version from 3.1, which has no meaning in TLS 1.3.
 */
const isClientHello = (start: Buffer): boolean =>
  start[0] === 1 && (start[1] ?? 0) <= 2 && (start[startBytes - 1] ?? 0) <= 32;
