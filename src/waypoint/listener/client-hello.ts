/** The name that a TLS client asks for (SNI, RFC 6066), decoded from its first bytes. Pure; never throws. */
import { serverNameCharacters } from '../../policy/host.js';

/** A ClientHello is at most this long here: its records without the headers. */
const helloBytesMax = 16_384;
/** Each new byte has the records so far read again: their number bounds that cost. */
const recordsMax = 64;
const handshake = 0x16;
const clientHello = 1;
const hostName = 0;
const extensions = { serverName: 0, encryptedClientHello: 0xfe0d } as const;
/** A name of DNS (RFC 1035, section 2.3.4). */
const nameBytesMax = 255;

export interface ClientHello {
  /** The first name, in lower case, as routes are chosen by it. Empty: there is none. */
  readonly sni: string;
  /**
   * The name that policies are evaluated with. Undefined: there is none, or endpoints may read another one: several names or extensions, bytes
   * that are left over, an encrypted ClientHello (RFC 9849), and what is no name of DNS, such as one with a final dot.
   */
  readonly serverName: string | undefined;
}

/** `more`: the bytes so far may be the start of a ClientHello. Undefined: they are none. */
export function clientHelloOf(bytes: Buffer): ClientHello | 'more' | undefined {
  const message = messageOf(bytes);
  if (message === 'more' || message === undefined) return message;
  try {
    return read(message);
  } catch {
    return undefined;
  }
}

interface Message {
  readonly content: Buffer;
  /** The last record has further bytes. */
  readonly isFollowed: boolean;
}

/** The content of the ClientHello, which may be spread over several records. */
function messageOf(bytes: Buffer): Message | 'more' | undefined {
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
    if (wanted !== undefined && length >= wanted) {
      const isFollowed = length > wanted || part.length < size;
      return { content: Buffer.concat(parts).subarray(4, wanted), isFollowed };
    }
    if (part.length < size) return 'more';
    if (size === 0) return undefined;
    at += 5 + size;
  }
  return undefined;
}

/** Throws beyond the end of the message. */
function read({ content, isFollowed }: Message): ClientHello {
  // Version and random.
  let at = 34;
  at += 1 + content.readUInt8(at);
  at += 2 + content.readUInt16BE(at);
  at += 1 + content.readUInt8(at);
  const end = at + 2 + content.readUInt16BE(at);
  const names: (string | undefined)[] = [];
  let sni = '';
  let isHidden = isFollowed || end !== content.length;
  for (at += 2; at < end;) {
    const type = content.readUInt16BE(at);
    const next = at + 4 + content.readUInt16BE(at + 2);
    if (next > content.length) throw new RangeError('an extension ends beyond the message');
    const extension = content.subarray(at + 4, next);
    if (type === extensions.serverName) {
      if (names.length === 0) sni = firstName(extension);
      names.push(onlyName(extension));
    } else if (type === extensions.encryptedClientHello) isHidden = true;
    at = next;
  }
  const [name] = names;
  const serverName = names.length === 1 && !isHidden && at === end ? name : undefined;
  return { sni, serverName };
}

/** Throws beyond the end of the extension. */
function firstName(extension: Buffer): string {
  if (extension.readUInt8(2) !== hostName) return '';
  const length = extension.readUInt16BE(3);
  const name = extension.subarray(5, 5 + length);
  return name.length === length ? name.toString('latin1').toLowerCase() : '';
}

/** The only name of the extension, if it is one of DNS. */
function onlyName(extension: Buffer): string | undefined {
  const length = extension.length - 5;
  if (extension.readUInt16BE(0) !== length + 3 || extension.readUInt8(2) !== hostName) return undefined;
  if (extension.readUInt16BE(3) !== length || length > nameBytesMax) return undefined;
  const name = extension.toString('latin1', 5).toLowerCase();
  return serverNameCharacters.test(name) && !name.endsWith('.') ? name : undefined;
}
