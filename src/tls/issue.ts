/**
 * Issues certificates: node-forge builds the ASN.1, node:crypto creates keys and signatures (node-forge has no ECDSA).
 * Sources: RFC 5280, SPIFFE X.509-SVID.
 */
import {
  createPrivateKey,
  createPublicKey,
  randomBytes,
  sign,
  X509Certificate,
  type KeyObject,
} from 'node:crypto';
import { WeftError } from '../base/errors.js';
import { ipToBytes, type IpAddress } from '../model/address.js';
import type { SpiffeId, TrustDomain } from '../model/identity.js';
import {
  binary,
  bits,
  bool,
  bytesOf,
  Class,
  context,
  der,
  distinguishedName,
  extension,
  keyIdentifier,
  octets,
  oid,
  oidText,
  oids,
  parseDer,
  pem,
  sequence,
  spki,
  time,
  Type,
  universal,
  type Node,
} from './der.js';
import { exportKey, newKey } from './keys.js';

const backdateMs = 2 * 60_000;

/** The signature algorithm for a CA key. Keys of Weft's CA are P-256; a key from a Secret may be of another type. Error: WEFT_CA_KEY. */
function signatureAlgorithm(key: KeyObject): Node {
  if (key.asymmetricKeyType === 'ec') return sequence(oid(oids.ecdsaWithSha256));
  // RFC 4055, section 5: the parameters are NULL.
  if (key.asymmetricKeyType === 'rsa')
    return sequence(oid(oids.rsaWithSha256), universal(Type.NULL, false, ''));
  throw new WeftError(
    'WEFT_CA_KEY',
    `the CA key is of type ${key.asymmetricKeyType}: use an ECDSA or RSA key`,
  );
}

interface Template {
  readonly issuer: Node;
  readonly issuerKey: KeyObject;
  /** Undefined if the issuer has no key identifier. */
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
  // The serial must be positive, without a leading zero byte, which DER forbids.
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

// Bit 0 is the most significant: digitalSignature 0x80, keyCertSign 0x04, cRLSign 0x02.
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

/** Creates a self-signed P-256 root with the SPIFFE ID of the trust domain, without a path. */
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

interface Issuer {
  readonly caKeyPem: string;
  /** The signing certificate; if there are several, the first. */
  readonly caCertPem: string;
}

interface Signer {
  readonly key: KeyObject;
  readonly name: Node;
  readonly keyId: string | undefined;
  readonly notAfterMs: number;
}

/** The subject key identifier copied from the issuer's certificate, not computed (RFC 5280, section 4.2.1.1): methods differ. */
function subjectKeyIdOf(body: readonly Node[]): string | undefined {
  const tagged = body.find((node) => node.tagClass === Class.CONTEXT_SPECIFIC && (node.type as number) === 3);
  const extensions = ((tagged?.value as Node[] | undefined)?.[0]?.value ?? []) as Node[];
  for (const { value } of extensions) {
    const [id, ...rest] = value as Node[];
    if (!id || oidText(id) !== oids.subjectKeyIdentifier) continue;
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

interface SvidRequest extends Issuer {
  readonly csrPublicKeyPem: string;
  readonly id: SpiffeId;
  readonly ttlS: number;
  readonly nowMs?: number;
}

/** Issues an X.509-SVID (PEM): empty subject, critical SAN with exactly one URI, lifetime limited to the issuer's. */
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

interface ServerCertRequest extends Issuer {
  readonly ips: readonly IpAddress[];
  readonly dns: readonly string[];
  readonly ttlS: number;
}

/** Issues the control plane's serving certificate with a new key. */
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
