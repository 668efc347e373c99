/** The CA's keys and roots, kept in the state directory. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { WeftError } from '../../src/base/errors.js';
import type { IpAddress } from '../../src/model/address.js';
import type { SpiffeId, TrustDomain } from '../../src/model/identity.js';
import { splitPem } from '../../src/tls/certificate.js';
import { createRoot, issueServerCert, issueSvid, type KeyAndCertificate } from '../../src/tls/issue.js';

const rootTtlS = 10 * 365 * 86_400;
const serverTtlS = 365 * 86_400;

export const caFiles = {
  key: 'ca-key.pem',
  cert: 'ca-cert.pem',
  roots: 'root-cert.pem',
  nextKey: 'next-key.pem',
  nextCert: 'next-cert.pem',
};

/** Written beside and renamed, so that a reader never sees half a file. */
export function replaceFile(path: string, text: string, mode: number): void {
  writeFileSync(`${path}.new`, text, { mode });
  renameSync(`${path}.new`, path);
}

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
      replaceFile(this.#path('key'), root.keyPem, 0o600);
      replaceFile(this.#path('cert'), root.certPem, 0o644);
      replaceFile(this.#path('roots'), root.certPem, 0o644);
    }
    this.reload();
  }

  #path(file: keyof typeof caFiles): string {
    return join(this.state, caFiles[file]);
  }

  /** Reads keys and roots again; true where they changed. */
  reload(): boolean {
    const [key, cert, roots] = [this.#path('key'), this.#path('cert'), this.#path('roots')].map((path) =>
      readFileSync(path, 'utf8'),
    );
    const changed = cert !== this.#cert || key !== this.#key || roots !== this.#roots;
    this.#key = key ?? '';
    this.#cert = cert ?? '';
    this.#roots = roots ?? '';
    return changed;
  }

  /** The roots that nodes check this control plane by. */
  get roots(): string {
    return this.#roots;
  }

  /** Changes with the signing certificate alone. */
  get signer(): string {
    return createHash('sha256').update(this.#cert).digest('hex').slice(0, 16);
  }

  /** Changes with the roots or the signing key: nodes then fetch their certificates anew. */
  get version(): string {
    return createHash('sha256').update(this.#roots).update(this.#cert).digest('hex').slice(0, 16);
  }

  /** Leaf first; the signing certificate where it is no root itself; last the root bundle. */
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

  /** Its chain up to a root, which whoever asks has. */
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

  /**
   * Root rotation in three steps, each let settle before the next: `begin` trusts a new root beside the old, `switch` signs
   * by the new one, `finish` drops the old. Throws WEFT_ROTATION where the step is not the next one.
   */
  rotate(phase: 'begin' | 'switch' | 'finish'): void {
    const begun = existsSync(this.#path('nextKey'));
    const count = splitPem(this.#roots).length;
    const refuse = (what: string): never => {
      throw new WeftError('WEFT_ROTATION', what);
    };
    if (phase === 'begin') {
      if (begun || count > 1) refuse('a rotation is under way already: switch or finish it');
      const next = createRoot(this.trustDomain, rootTtlS);
      replaceFile(this.#path('nextKey'), next.keyPem, 0o600);
      replaceFile(this.#path('nextCert'), next.certPem, 0o644);
      replaceFile(this.#path('roots'), this.#roots + next.certPem, 0o644);
    } else if (phase === 'switch') {
      if (!begun) refuse('no rotation has begun: begin first');
      replaceFile(this.#path('cert'), readFileSync(this.#path('nextCert'), 'utf8'), 0o644);
      replaceFile(this.#path('key'), readFileSync(this.#path('nextKey'), 'utf8'), 0o600);
      rmSync(this.#path('nextKey'));
      rmSync(this.#path('nextCert'));
    } else {
      if (begun || count < 2) refuse('nothing to finish: begin and switch first');
      replaceFile(this.#path('roots'), this.#cert, 0o644);
    }
    this.reload();
  }
}
