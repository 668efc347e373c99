/** The CA's keys and roots, kept in the state directory. */
import { createHash, X509Certificate } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { WeftError } from '../../src/base/errors.js';
import type { IpAddress } from '../../src/model/address.js';
import type { SpiffeId, TrustDomain } from '../../src/model/identity.js';
import { splitPem } from '../../src/tls/certificate.js';
import { createRoot, issueServerCert, issueSvid, type KeyAndCertificate } from '../../src/tls/issue.js';
import { authorityErrorOf, caFiles, rootTtlS } from './authority-files.js';
import { replaceFile } from '../replace-file.js';
import { rotateRoot, type RotationPhase } from './rotation.js';

/** Lifetime of the serving certificate, which is renewed after half of it (`serverCertificateDueMs`). */
const serverTtlS = 7 * 86_400;

/** Milliseconds after which a new serving certificate is due for renewal. */
export const serverCertificateDueMs = (serverTtlS * 1000) / 2;

export class CertificateAuthority {
  #key = '';
  #cert = '';
  #roots = '';

  constructor(
    readonly state: string,
    readonly trustDomain: TrustDomain,
  ) {
    mkdirSync(state, { recursive: true, mode: 0o700 });
    if (!existsSync(this.#path('key'))) {
      const root = createRoot(trustDomain, rootTtlS);
      // The key is written last: its presence means that the authority is complete.
      replaceFile(this.#path('roots'), root.certPem, 0o644);
      replaceFile(this.#path('cert'), root.certPem, 0o644);
      replaceFile(this.#path('key'), root.keyPem, 0o600);
    }
    this.reload();
  }

  #path(file: keyof typeof caFiles): string {
    return join(this.state, caFiles[file]);
  }

  /**
   * Reads keys and roots again; true if they have changed. Error: WEFT_CA_KEY, if they do not belong together; the former ones then stay in
   * use.
   */
  reload(): boolean {
    const read = (file: keyof typeof caFiles): string => readFileSync(this.#path(file), 'utf8');
    const [key, cert, roots] = [read('key'), read('cert'), read('roots')];
    if (cert === this.#cert && key === this.#key && roots === this.#roots) return false;
    // Another process may be between two files of a rotation step, or was killed there.
    const why = authorityErrorOf(cert, key, roots);
    if (why !== undefined) {
      throw new WeftError(
        'WEFT_CA_KEY',
        `${this.state}: ${why}: repeat the rotation step that was not finished, or restore the files`,
      );
    }
    this.#key = key;
    this.#cert = cert;
    this.#roots = roots;
    return true;
  }

  /** The root bundle (PEM), by which nodes verify this control plane. */
  get roots(): string {
    return this.#roots;
  }

  /** When the signing certificate or a root expires, in milliseconds since 1970. */
  expiries(): number[] {
    return [this.#cert, this.#roots]
      .flatMap(splitPem)
      .map((pem) => Date.parse(new X509Certificate(pem).validTo));
  }

  /** Hash of the signing certificate alone. */
  get signer(): string {
    return createHash('sha256').update(this.#cert).digest('hex').slice(0, 16);
  }

  /** Hash of the roots and the signing certificate. When it changes, nodes request their certificates again. */
  get version(): string {
    return createHash('sha256').update(this.#roots).update(this.#cert).digest('hex').slice(0, 16);
  }

  /** Issues a certificate. Returns the leaf, the signing certificate unless it is a root itself, and last the root bundle. */
  issue(publicKeyPem: string, id: SpiffeId, ttlS: number): string[] {
    const leaf = issueSvid({
      caKeyPem: this.#key,
      caCertPem: this.#cert,
      csrPublicKeyPem: publicKeyPem,
      id,
      ttlS,
    });
    return [leaf, ...this.#intermediates(), this.#roots];
  }

  /** Issues a serving certificate with its chain up to, but not including, a root: clients have the roots. */
  serverCertificate(ips: readonly IpAddress[], dns: readonly string[]): KeyAndCertificate {
    const issuer = { caKeyPem: this.#key, caCertPem: this.#cert };
    const { keyPem, certPem } = issueServerCert({ ...issuer, ips, dns, ttlS: serverTtlS });
    return { keyPem, certPem: [certPem, ...this.#intermediates()].join('\n') };
  }

  #intermediates(): string[] {
    const own = splitPem(this.#cert);
    const isRoot = splitPem(this.#roots).some((root) => root.trim() === own[0]?.trim());
    return isRoot ? [] : own;
  }

  /** Runs a step of rotateRoot() for this authority and reloads it. Errors: WEFT_ROTATION, WEFT_CA_KEY. */
  rotate(phase: RotationPhase): void {
    rotateRoot(this.state, this.trustDomain, phase);
    this.reload();
  }
}
