/** The certificate that a gRPC server shows. A new certificate applies to new handshakes; open connections keep theirs. */
import { experimental, type ServerCredentials } from '@grpc/grpc-js';
import type { KeyAndCertificate } from './issue.js';

type IdentityListener = experimental.IdentityCertificateUpdateListener;
type RootsListener = experimental.CaCertificateUpdateListener;

export interface ShownCertificate extends Pick<KeyAndCertificate, 'certPem' | 'keyPem'> {
  /** Roots that verify the certificates of clients. */
  readonly rootsPem?: string;
}

export class ServedCertificate implements experimental.CertificateProvider {
  readonly #identity = new Set<IdentityListener>();
  readonly #roots = new Set<RootsListener>();

  constructor(private shown: ShownCertificate) {}

  /** Credentials of a server whose clients prove who they are by a token. */
  credentials(): ServerCredentials {
    return experimental.createCertificateProviderServerCredentials(this, null, false);
  }

  /** Credentials of a server whose clients need a certificate. The roots are those that are shown. */
  mutualCredentials(): ServerCredentials {
    return experimental.createCertificateProviderServerCredentials(this, this, true);
  }

  present(shown: ShownCertificate): void {
    this.shown = shown;
    for (const listener of this.#identity) this.#sendIdentity(listener);
    for (const listener of this.#roots) this.#sendRoots(listener);
  }

  addIdentityCertificateListener(listener: IdentityListener): void {
    this.#identity.add(listener);
    // grpc-js adds the listener before it can accept an update. The port opens after this tick.
    process.nextTick(() => this.#sendIdentity(listener));
  }
  removeIdentityCertificateListener(listener: IdentityListener): void {
    this.#identity.delete(listener);
  }
  addCaCertificateListener(listener: RootsListener): void {
    this.#roots.add(listener);
    process.nextTick(() => this.#sendRoots(listener));
  }
  removeCaCertificateListener(listener: RootsListener): void {
    this.#roots.delete(listener);
  }

  #sendIdentity(listener: IdentityListener): void {
    const { certPem, keyPem } = this.shown;
    listener({ certificate: Buffer.from(certPem), privateKey: Buffer.from(keyPem) });
  }
  #sendRoots(listener: RootsListener): void {
    listener({ caCertificate: Buffer.from(this.shown.rootsPem ?? '') });
  }
}
