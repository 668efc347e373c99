/**
 * Making certificates: node-forge builds the ASN.1, node:crypto makes keys and signatures (node-forge has no ECDSA).
 * Sources: RFC 5280, SPIFFE X.509-SVID.
 */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  randomBytes,
  sign,
  verify,
} from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { X509Certificate } from 'node:crypto';
import forge from 'node-forge';
import type { Decoded } from '../base/errors.js';
import { errorText, WeftError } from '../base/errors.js';
import type { IpAddress } from '../model/address.js';
import { ipToBytes } from '../model/address.js';
import type { SpiffeId, TrustDomain } from '../model/identity.js';

const { asn1 } = forge;
type Node = forge.asn1.Asn1;
const { Class, Type } = asn1;

const oids = {
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

const backdateMs = 2 * 60_000;
const csrBytesMax = 16 * 1024;

const universal = (type: number, constructed: boolean, value: string | Node[]): Node =>
  asn1.create(Class.UNIVERSAL, type, constructed, value);
const sequence = (...items: Node[]): Node => universal(Type.SEQUENCE, true, items);
const set = (...items: Node[]): Node => universal(Type.SET, true, items);
const oid = (dotted: string): Node => universal(Type.OID, false, asn1.oidToDer(dotted).getBytes());
const octets = (bytes: string): Node => universal(Type.OCTETSTRING, false, bytes);
const bits = (bytes: string, unused = 0): Node =>
  universal(Type.BITSTRING, false, String.fromCharCode(unused) + bytes);
const bool = (): Node => universal(Type.BOOLEAN, false, '\xff');
const context = (tag: number, constructed: boolean, value: string | Node[]): Node =>
  asn1.create(Class.CONTEXT_SPECIFIC, tag, constructed, value);
const der = (node: Node): string => asn1.toDer(node).getBytes();
const binary = (bytes: Uint8Array): string => Buffer.from(bytes).toString('binary');
const bytesOf = (text: string): Buffer => Buffer.from(text, 'binary');
const parseDer = (bytes: Buffer): Node => asn1.fromDer(forge.util.createBuffer(bytes.toString('binary')));

function pem(label: string, bytes: Buffer): string {
  const lines = bytes.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}

function time(ms: number): Node {
  const date = new Date(ms);
  // RFC 5280, 4.1.2.5: UTCTime through 2049, GeneralizedTime from 2050 on.
  return date.getUTCFullYear() < 2050
    ? universal(Type.UTCTIME, false, asn1.dateToUtcTime(date) as unknown as string)
    : universal(Type.GENERALIZEDTIME, false, asn1.dateToGeneralizedTime(date) as unknown as string);
}

const extension = (id: string, critical: boolean, value: Node): Node =>
  sequence(oid(id), ...(critical ? [bool()] : []), octets(der(value)));

function distinguishedName(names: readonly (readonly [string, string])[]): Node {
  return sequence(
    ...names.map(([type, value]) =>
      set(sequence(oid(type), universal(Type.UTF8, false, forge.util.encodeUtf8(value)))),
    ),
  );
}

function spki(key: KeyObject): Buffer {
  return key.export({ type: 'spki', format: 'der' });
}

function keyIdentifier(key: KeyObject): string {
  return createHash('sha1').update(spki(key)).digest('binary');
}

/** Our own CA's keys are P-256; one that comes by a Secret may be of another kind. Error: WEFT_CA_KEY. */
function signatureAlgorithm(key: KeyObject): Node {
  if (key.asymmetricKeyType === 'ec') return sequence(oid(oids.ecdsaWithSha256));
  // RFC 4055, 5: its parameters are NULL.
  if (key.asymmetricKeyType === 'rsa')
    return sequence(oid(oids.rsaWithSha256), universal(Type.NULL, false, ''));
  throw new WeftError('WEFT_CA_KEY', `a CA key of type ${key.asymmetricKeyType}: it has to be ECDSA or RSA`);
}

interface Template {
  readonly issuer: Node;
  readonly issuerKey: KeyObject;
  /** Absent where the issuer has none. */
  readonly authorityKeyId: string | undefined;
  readonly subject: Node;
  readonly publicKey: KeyObject;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly extensions: readonly Node[];
}

function certificate(template: Template): string {
  const algorithm = signatureAlgorithm(template.issuerKey);
  const serial = randomBytes(16);
  // Positive, and never a leading zero byte that DER would forbid.
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40;
  const body = sequence(
    context(0, true, [universal(Type.INTEGER, false, '\x02')]),
    universal(Type.INTEGER, false, binary(serial)),
    algorithm,
    template.issuer,
    sequence(time(template.notBeforeMs), time(template.notAfterMs)),
    template.subject,
    parseDer(spki(template.publicKey)),
    context(3, true, [
      sequence(
        ...template.extensions,
        extension(oids.subjectKeyIdentifier, false, octets(keyIdentifier(template.publicKey))),
        ...(template.authorityKeyId === undefined
          ? []
          : [
              extension(
                oids.authorityKeyIdentifier,
                false,
                sequence(context(0, false, template.authorityKeyId)),
              ),
            ]),
      ),
    ]),
  );
  const signature = sign('sha256', bytesOf(der(body)), template.issuerKey);
  return pem('CERTIFICATE', bytesOf(der(sequence(body, algorithm, bits(binary(signature))))));
}

// Bit 0 is the highest: digitalSignature 0x80, keyCertSign 0x04, cRLSign 0x02.
const usageOfCa = extension(oids.keyUsage, true, bits('\x06', 1));
const usageOfLeaf = extension(oids.keyUsage, true, bits('\x80', 7));
const extendedUsage = extension(
  oids.extendedKeyUsage,
  false,
  sequence(oid(oids.serverAuth), oid(oids.clientAuth)),
);
const notCa = extension(oids.basicConstraints, true, sequence());

export interface KeyAndCertificate {
  /** PKCS#8 PEM */
  readonly keyPem: string;
  readonly certPem: string;
}

function newKey(): { publicKey: KeyObject; privateKey: KeyObject } {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' });
}
const exportKey = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }).toString();

/** A self-signed P-256 root whose SPIFFE ID is the trust domain's, without a path. */
export function createRoot(trustDomain: TrustDomain, ttlS: number, nowMs = Date.now()): KeyAndCertificate {
  const { publicKey, privateKey } = newKey();
  const name = distinguishedName([
    [oids.organization, trustDomain],
    [oids.commonName, `weft root ${randomBytes(4).toString('hex')}`],
  ]);
  const certPem = certificate({
    issuer: name,
    issuerKey: privateKey,
    authorityKeyId: keyIdentifier(publicKey),
    subject: name,
    publicKey,
    notBeforeMs: nowMs - backdateMs,
    notAfterMs: nowMs + ttlS * 1000,
    extensions: [
      extension(oids.basicConstraints, true, sequence(bool())),
      usageOfCa,
      extension(oids.subjectAltName, false, sequence(context(6, false, `spiffe://${trustDomain}`))),
    ],
  });
  return { keyPem: exportKey(privateKey), certPem };
}

export interface Issuer {
  readonly caKeyPem: string;
  /** The signing certificate; the first where several are given. */
  readonly caCertPem: string;
}

interface Signer {
  readonly key: KeyObject;
  readonly name: Node;
  readonly keyId: string | undefined;
  readonly notAfterMs: number;
}

/** As the issuer's own certificate has it (RFC 5280, 4.2.1.1): how it was made is its maker's affair. */
function subjectKeyIdOf(body: readonly Node[]): string | undefined {
  const tagged = body.find((node) => node.tagClass === Class.CONTEXT_SPECIFIC && (node.type as number) === 3);
  const extensions = ((tagged?.value as Node[] | undefined)?.[0]?.value ?? []) as Node[];
  for (const { value } of extensions) {
    const [id, ...rest] = value as Node[];
    if (!id || asn1.derToOid(id.value as string) !== oids.subjectKeyIdentifier) continue;
    const wrapped = rest.at(-1)?.value;
    if (typeof wrapped === 'string') return parseDer(bytesOf(wrapped)).value as string;
  }
  return undefined;
}

function signerOf(issuer: Issuer): Signer {
  const parsed = new X509Certificate(issuer.caCertPem);
  const key = createPrivateKey(issuer.caKeyPem);
  if (!parsed.checkPrivateKey(key)) {
    throw new WeftError(
      'WEFT_CA_KEY',
      'the CA key does not belong to the CA certificate: check the state directory',
    );
  }
  const body = (parseDer(parsed.raw).value as Node[])[0]?.value as Node[];
  const subject = body[5];
  if (!subject) throw new WeftError('WEFT_CA_CERTIFICATE', 'the CA certificate has no subject');
  return {
    key,
    name: subject,
    keyId: subjectKeyIdOf(body),
    notAfterMs: Date.parse(parsed.validTo),
  };
}

export interface SvidRequest extends Issuer {
  readonly csrPublicKeyPem: string;
  readonly id: SpiffeId;
  readonly ttlS: number;
  readonly nowMs?: number;
}

/** An X.509-SVID: empty subject, critical SAN with exactly one URI, lifetime clamped to the issuer's. PEM. */
export function issueSvid(request: SvidRequest): string {
  const signer = signerOf(request);
  const now = request.nowMs ?? Date.now();
  return certificate({
    issuer: signer.name,
    issuerKey: signer.key,
    authorityKeyId: signer.keyId,
    subject: sequence(),
    publicKey: createPublicKey(request.csrPublicKeyPem),
    notBeforeMs: now - backdateMs,
    notAfterMs: Math.min(now + request.ttlS * 1000, signer.notAfterMs),
    extensions: [
      notCa,
      usageOfLeaf,
      extendedUsage,
      extension(oids.subjectAltName, true, sequence(context(6, false, request.id))),
    ],
  });
}

export interface ServerCertRequest extends Issuer {
  readonly ips: readonly IpAddress[];
  readonly dns: readonly string[];
  readonly ttlS: number;
}

/** The control plane's serving certificate, with a new key. */
export function issueServerCert(request: ServerCertRequest): KeyAndCertificate {
  const signer = signerOf(request);
  const { publicKey, privateKey } = newKey();
  const now = Date.now();
  const certPem = certificate({
    issuer: signer.name,
    issuerKey: signer.key,
    authorityKeyId: signer.keyId,
    subject: distinguishedName([[oids.commonName, request.dns[0] ?? request.ips[0] ?? 'weft']]),
    publicKey,
    notBeforeMs: now - backdateMs,
    notAfterMs: Math.min(now + request.ttlS * 1000, signer.notAfterMs),
    extensions: [
      notCa,
      usageOfLeaf,
      extendedUsage,
      extension(
        oids.subjectAltName,
        false,
        sequence(
          ...request.dns.map((name) => context(2, false, name)),
          ...request.ips.map((ip) => context(7, false, binary(ipToBytes(ip)))),
        ),
      ),
    ],
  });
  return { keyPem: exportKey(privateKey), certPem };
}

/** A new P-256 key and a request for `id`: empty subject, one URI SAN. The key stays with the caller. */
export function createCsr(id: SpiffeId): { readonly keyPem: string; readonly csrPem: string } {
  const { publicKey, privateKey } = newKey();
  const extensions = sequence(extension(oids.subjectAltName, true, sequence(context(6, false, id))));
  const body = sequence(
    universal(Type.INTEGER, false, '\x00'),
    sequence(),
    parseDer(spki(publicKey)),
    context(0, true, [sequence(oid(oids.extensionRequest), set(extensions))]),
  );
  const signature = sign('sha256', bytesOf(der(body)), privateKey);
  const request = sequence(body, sequence(oid(oids.ecdsaWithSha256)), bits(binary(signature)));
  return { keyPem: exportKey(privateKey), csrPem: pem('CERTIFICATE REQUEST', bytesOf(der(request))) };
}

/** URI names in a request's attributes (RFC 2986, 4.1; RFC 2985, 5.4.2). */
function urisAsked(attributes: Node | undefined): string[] {
  const children = (node: Node | undefined): Node[] => (Array.isArray(node?.value) ? node.value : []);
  const named = (list: Node[], id: string): Node[] =>
    list.filter((item) => {
      const first = children(item)[0];
      return first?.type === Type.OID && asn1.derToOid(first.value as string) === id;
    });
  const uriTag = 6;
  return named(children(attributes), oids.extensionRequest)
    .flatMap((attribute) => children(children(attribute)[1]))
    .flatMap((extensions) => named(children(extensions), oids.subjectAltName))
    .flatMap((found) => {
      const value = children(found).at(-1)?.value;
      return typeof value === 'string' ? children(parseDer(bytesOf(value))) : [];
    })
    .filter((name) => (name.type as number) === uriTag && typeof name.value === 'string')
    .map((name) => name.value as string);
}

/** A request's public key, once its signature is checked. Whom a certificate is issued for, the CA decides, not the request. */
export function parseCsr(
  csrPem: string,
): Decoded<{ readonly publicKeyPem: string; /** The one URI name it asks for. */ readonly uri?: string }> {
  try {
    if (Buffer.byteLength(csrPem) > csrBytesMax)
      return { ok: false, errors: [`request longer than ${csrBytesMax} bytes`] };
    const match = /-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----([A-Za-z0-9+/=\s]+)-----END/.exec(csrPem);
    if (!match?.[1]) return { ok: false, errors: ['no PEM certificate request'] };
    const [body, algorithm, signature] = parseDer(Buffer.from(match[1], 'base64')).value as Node[];
    if (!body || !algorithm || !signature) return { ok: false, errors: ['request is incomplete'] };
    const algorithmOid = asn1.derToOid((algorithm.value as Node[])[0]?.value as string);
    if (algorithmOid !== oids.ecdsaWithSha256) {
      return { ok: false, errors: [`signature algorithm ${algorithmOid} is not ECDSA with SHA-256`] };
    }
    const keyNode = (body.value as Node[])[2];
    if (!keyNode) return { ok: false, errors: ['request has no public key'] };
    const key = createPublicKey({ key: bytesOf(der(keyNode)), format: 'der', type: 'spki' });
    if (key.asymmetricKeyType !== 'ec' || key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') {
      return { ok: false, errors: ['key is not ECDSA P-256'] };
    }
    const raw =
      (signature as Node & { bitStringContents?: string }).bitStringContents ?? (signature.value as string);
    if (!verify('sha256', bytesOf(der(body)), key, bytesOf(raw.slice(1)))) {
      return { ok: false, errors: ['signature does not match the key'] };
    }
    const uris = urisAsked((body.value as Node[])[3]);
    return {
      ok: true,
      value: {
        publicKeyPem: key.export({ type: 'spki', format: 'pem' }).toString(),
        ...(uris.length === 1 && uris[0] !== undefined ? { uri: uris[0] } : {}),
      },
    };
  } catch (error) {
    return { ok: false, errors: [errorText(error)] };
  }
}
