/** Helpers for ASN.1 values in DER with node-forge: the building blocks of certificates and requests. Source: RFC 5280, X.690. */
import { createHash, type KeyObject } from 'node:crypto';
import forge from 'node-forge';

const { asn1 } = forge;
export type Node = forge.asn1.Asn1;
export const { Class, Type } = asn1;

export const oids = {
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  rsaWithSha256: '1.2.840.113549.1.1.11',
  commonName: '2.5.4.3',
  organization: '2.5.4.10',
  basicConstraints: '2.5.29.19',
  keyUsage: '2.5.29.15',
  extendedKeyUsage: '2.5.29.37',
  subjectAltName: '2.5.29.17',
  subjectKeyIdentifier: '2.5.29.14',
  authorityKeyIdentifier: '2.5.29.35',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
  extensionRequest: '1.2.840.113549.1.9.14',
} as const;

export const universal = (type: number, constructed: boolean, value: string | Node[]): Node =>
  asn1.create(Class.UNIVERSAL, type, constructed, value);
export const sequence = (...items: Node[]): Node => universal(Type.SEQUENCE, true, items);
export const set = (...items: Node[]): Node => universal(Type.SET, true, items);
export const oid = (dotted: string): Node => universal(Type.OID, false, asn1.oidToDer(dotted).getBytes());
/** The dotted form of an object identifier. Throws if the node has none. */
export const oidText = (node: Node | undefined): string => asn1.derToOid(node?.value as string);
export const octets = (bytes: string): Node => universal(Type.OCTETSTRING, false, bytes);
export const bits = (bytes: string, unused = 0): Node =>
  universal(Type.BITSTRING, false, String.fromCharCode(unused) + bytes);
export const bool = (): Node => universal(Type.BOOLEAN, false, '\xff');
export const context = (tag: number, constructed: boolean, value: string | Node[]): Node =>
  asn1.create(Class.CONTEXT_SPECIFIC, tag, constructed, value);
/** The DER encoding as a binary string. */
export const der = (node: Node): string => asn1.toDer(node).getBytes();
export const binary = (bytes: Uint8Array): string => Buffer.from(bytes).toString('binary');
export const bytesOf = (text: string): Buffer => Buffer.from(text, 'binary');
export const parseDer = (bytes: Buffer): Node =>
  asn1.fromDer(forge.util.createBuffer(bytes.toString('binary')));

export function pem(label: string, bytes: Buffer): string {
  const lines = bytes.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}

export function time(ms: number): Node {
  const date = new Date(ms);
  // RFC 5280, 4.1.2.5: UTCTime through 2049, GeneralizedTime from 2050 on.
  return date.getUTCFullYear() < 2050
    ? universal(Type.UTCTIME, false, asn1.dateToUtcTime(date) as unknown as string)
    : universal(Type.GENERALIZEDTIME, false, asn1.dateToGeneralizedTime(date) as unknown as string);
}

export const extension = (id: string, critical: boolean, value: Node): Node =>
  sequence(oid(id), ...(critical ? [bool()] : []), octets(der(value)));

export function distinguishedName(names: readonly (readonly [string, string])[]): Node {
  return sequence(
    ...names.map(([type, value]) =>
      set(sequence(oid(type), universal(Type.UTF8, false, forge.util.encodeUtf8(value)))),
    ),
  );
}

export function keyIdentifier(key: KeyObject): string {
  return createHash('sha1').update(spki(key)).digest('binary');
}

export function spki(key: KeyObject): Buffer {
  return key.export({ type: 'spki', format: 'der' });
}
