/** The CA's files in the state directory, and checks that key, certificate and roots belong together. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { splitPem } from '../../src/tls/certificate.js';

export const rootTtlS = 10 * 365 * 86_400;

export const caFiles = {
  key: 'ca-key.pem',
  cert: 'ca-cert.pem',
  roots: 'root-cert.pem',
  nextKey: 'next-key.pem',
  nextCert: 'next-cert.pem',
};

/** Whether a private key belongs to the (first) certificate. Pure. */
export const isPair = (cert: string, key: string): boolean => {
  try {
    return new X509Certificate(cert).checkPrivateKey(createPrivateKey(key));
  } catch {
    return false;
  }
};

/** Why certificates signed with this pair do not verify against these roots; undefined if they do. Pure. */
export function authorityErrorOf(cert: string, key: string, roots: string): string | undefined {
  const chain = splitPem(cert);
  const trusted = splitPem(roots);
  if (chain.length === 0 || trusted.length === 0) return 'the signing certificate or the roots are not PEM';
  if (!isPair(cert, key)) return 'the key does not belong to the signing certificate';
  try {
    const known = trusted.map((text) => new X509Certificate(text));
    const leads = chain
      .map((text) => new X509Certificate(text))
      .some((one) =>
        known.some(
          (root) => root.raw.equals(one.raw) || (one.checkIssued(root) && one.verify(root.publicKey)),
        ),
      );
    return leads ? undefined : 'none of the roots has issued the signing certificate';
  } catch {
    return 'a certificate cannot be read';
  }
}
