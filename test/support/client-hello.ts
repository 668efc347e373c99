/** ClientHellos of any content, for tests. RFC 8446, section 4.1.2. */

const u8 = (n: number): Buffer => Buffer.from([n]);
const u16 = (n: number): Buffer => Buffer.from([n >> 8, n & 0xff]);
const u24 = (n: number): Buffer => Buffer.from([n >> 16, (n >> 8) & 0xff, n & 0xff]);
const sized = (length: (n: number) => Buffer, ...parts: readonly Buffer[]): Buffer => {
  const content = Buffer.concat(parts);
  return Buffer.concat([length(content.length), content]);
};

export const extension = (type: number, ...content: readonly Buffer[]): Buffer =>
  Buffer.concat([u16(type), sized(u16, ...content)]);
/** The extension server_name with these names. @param type 0: host name */
export const serverNames = (names: readonly string[], type = 0): Buffer =>
  extension(
    0,
    sized(u16, ...names.map((name) => Buffer.concat([u8(type), sized(u16, Buffer.from(name, 'latin1'))]))),
  );

/** The handshake message. @param rest bytes behind the extensions */
export const helloMessage = (extensions: readonly Buffer[], rest: Buffer = Buffer.alloc(0)): Buffer =>
  Buffer.concat([
    u8(1),
    sized(
      u24,
      u16(0x0303),
      Buffer.alloc(32, 7),
      sized(u8, Buffer.alloc(32, 9)),
      sized(u16, u16(0x1301)),
      sized(u8, u8(0)),
      sized(u16, ...extensions),
      rest,
    ),
  ]);

export const tlsRecord = (type: number, content: Buffer): Buffer =>
  Buffer.concat([u8(type), u16(0x0301), sized(u16, content)]);
/** A handshake message in records of at most `size` bytes. */
export function inRecords(message: Buffer, size = 16_384): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < message.length; at += size)
    parts.push(tlsRecord(0x16, message.subarray(at, at + size)));
  return Buffer.concat(parts);
}

/** A ClientHello with these names. */
export const helloFor = (...names: readonly string[]): Buffer =>
  inRecords(helloMessage([serverNames(names)]));

export const helloExtensions = { earlyData: 42, encryptedClientHello: 0xfe0d } as const;
