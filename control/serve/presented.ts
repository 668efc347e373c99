/** The certificate that the control plane's port shows. It changes without a cut: connections that stand keep theirs. */
import { experimental, type ServerCredentials } from '@grpc/grpc-js';
import type { KeyAndCertificate } from '../../src/tls/issue.js';

type Listener = experimental.IdentityCertificateUpdateListener;

export class PresentedCertificate implements experimental.CertificateProvider {
  readonly #listeners = new Set<Listener>();

  constructor(private certificate: KeyAndCertificate) {}

  credentials(): ServerCredentials {
    // The first is of the own certificate, the second of the clients', who show tokens instead.
    return experimental.createCertificateProviderServerCredentials(this, null, false);
  }

  present(certificate: KeyAndCertificate): void {
    this.certificate = certificate;
    for (const listener of this.#listeners) listener(this.#update());
  }

  #update(): experimental.IdentityCertificateUpdate {
    const { certPem, keyPem } = this.certificate;
    return { certificate: Buffer.from(certPem), privateKey: Buffer.from(keyPem) };
  }

  addIdentityCertificateListener(listener: Listener): void {
    this.#listeners.add(listener);
    // grpc-js has the listener before it has whom to tell; a port that is opened has passed this tick.
    process.nextTick(() => listener(this.#update()));
  }
  removeIdentityCertificateListener(listener: Listener): void {
    this.#listeners.delete(listener);
  }
  // Never asked for.
  addCaCertificateListener(): void {}
  removeCaCertificateListener(): void {}
}
