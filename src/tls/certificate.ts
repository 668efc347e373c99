/** Parses certificates and applies SPIFFE's checks. Source: SPIFFE X.509-SVID, sections 2 to 5. */
import { createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto';
import type { Decoded } from '../base/errors.js';
import { errorText, WeftError } from '../base/errors.js';
import { parseSpiffeId, type SpiffeId } from '../model/identity.js';
import type { IssuedCertificate, Svid } from './svid.js';

const pemPattern = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g;
const uriNamesMax = 16;
const dnsNamesMax = 256;
/** A type and a value that is a JSON string or has neither a quote nor a comma. An address has no quotes; a directory name may have spaces. */
const namePattern = /([A-Za-z][A-Za-z ]*):(?:("(?:[^"\\]|\\.)*")|([^",]*))(?:, (?=.)|$)/sy;

export function splitPem(bundle: string): string[] {
  return (bundle.match(pemPattern) ?? []).map((text) => `${text}\n`);
}

/**
 * The URI names of a certificate, parsed from Node's text of its names: `URI:spiffe://…, DNS:…`. Node writes a name with a comma, a quote
 * or a control character as a JSON string with escaped commas (CVE-2021-44532). Parsing that form never splits within a name, whatever
 * characters a version of Node escapes.
 * Undefined if the text does not have that form. Pure.
 */
export const uriNames = (subjectAltName: string | undefined): string[] | undefined =>
  namesOf('URI', subjectAltName, uriNamesMax);

/** The DNS names of a certificate, as `uriNames`. */
export const dnsNames = (subjectAltName: string | undefined): string[] | undefined =>
  namesOf('DNS', subjectAltName, dnsNamesMax);

function namesOf(
  wanted: 'URI' | 'DNS',
  subjectAltName: string | undefined,
  max: number,
): string[] | undefined {
  const text = subjectAltName ?? '';
  const names: string[] = [];
  let at = 0;
  while (at < text.length) {
    // One name, followed by ", " or the end.
    namePattern.lastIndex = at;
    const found = namePattern.exec(text);
    if (!found) return undefined;
    const [all, type, quoted, plain = ''] = found;
    at += all.length;
    if (type !== wanted) continue;
    if (quoted === undefined) names.push(plain);
    else {
      try {
        names.push(JSON.parse(quoted) as string);
      } catch {
        return undefined;
      }
    }
    if (names.length > max) return undefined;
  }
  return names;
}

/** The SPIFFE ID of a peer's certificate. Only the names are checked; TLS verifies the chain and the dates. */
export function spiffeIdOfNames(subjectAltName: string | undefined): Decoded<SpiffeId> {
  const uris = uriNames(subjectAltName);
  if (!uris) return { ok: false, errors: ['the names of the certificate cannot be parsed'] };
  if (uris.length !== 1)
    return { ok: false, errors: [`certificate has ${uris.length} URI names, exactly one is allowed`] };
  try {
    return { ok: true, value: parseSpiffeId(uris[0] ?? '') };
  } catch (error) {
    return { ok: false, errors: [errorText(error)] };
  }
}

interface Leaf {
  readonly id: SpiffeId;
  readonly serial: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** Parses a leaf certificate by SPIFFE's rules: exactly one URI name, which has a path, and not a CA. */
export function parseLeaf(certificate: string | Buffer): Decoded<Leaf> {
  try {
    const parsed = new X509Certificate(certificate);
    if (parsed.ca) return { ok: false, errors: ['certificate is a CA, not a leaf'] };
    const id = spiffeIdOfNames(parsed.subjectAltName);
    if (!id.ok) return id;
    return {
      ok: true,
      value: {
        id: id.value,
        serial: parsed.serialNumber,
        notBeforeMs: Date.parse(parsed.validFrom),
        notAfterMs: Date.parse(parsed.validTo),
      },
    };
  } catch (error) {
    return { ok: false, errors: [errorText(error)] };
  }
}

/**
 * Builds an SVID from a CA's response. `chain`: leaf first, then intermediates; the last element is the root bundle. Throws
 * WEFT_SVID_INVALID if the leaf has another identity, does not match the key, or is not signed by a certificate of the chain.
 */
export function assembleSvid(id: SpiffeId, keyPem: string, chain: readonly string[]): Svid {
  const key = createPrivateKey(keyPem);
  return { ...assemble(id, chain, (certificate) => certificate.checkPrivateKey(key)), keyPem };
}

/** As `assembleSvid`, for a key of another process. `publicKeyPem`: the key of the certificate request. */
export function assembleCertificate(
  id: SpiffeId,
  publicKeyPem: string,
  chain: readonly string[],
): IssuedCertificate {
  const key = createPublicKey(publicKeyPem);
  return assemble(id, chain, ({ publicKey }) => publicKey.equals(key));
}

function assemble(
  id: SpiffeId,
  chain: readonly string[],
  isOfKey: (certificate: X509Certificate) => boolean,
): IssuedCertificate {
  const refuse = (reason: string): never => {
    throw new WeftError('WEFT_SVID_INVALID', `the CA's response for ${id} is rejected: ${reason}`, {
      source: 'upstream',
      retryable: true,
    });
  };
  if (chain.length < 2) refuse('it has fewer than two elements');
  const certificates = chain.slice(0, -1).flatMap(splitPem);
  const rootsPem = chain.at(-1) ?? '';
  const [leafPem] = certificates;
  if (leafPem === undefined || splitPem(rootsPem).length === 0)
    return refuse('the leaf or the roots are missing');
  const leaf = parseLeaf(leafPem);
  if (!leaf.ok) return refuse(leaf.errors.join('; '));
  if (leaf.value.id !== id) refuse(`the certificate is for ${leaf.value.id}`);
  const parsed = new X509Certificate(leafPem);
  if (!isOfKey(parsed)) refuse('the certificate is for another key');
  const issuers = [...certificates.slice(1), ...splitPem(rootsPem)].map((text) => new X509Certificate(text));
  if (!issuers.some((issuer) => parsed.checkIssued(issuer) && parsed.verify(issuer.publicKey))) {
    refuse('no certificate of the response has signed the leaf');
  }
  return {
    id,
    chainPem: certificates.join(''),
    rootsPem,
    serial: leaf.value.serial,
    notBeforeMs: leaf.value.notBeforeMs,
    notAfterMs: leaf.value.notAfterMs,
  };
}
