/** The serving certificate of the control plane. A new certificate applies to new handshakes; open connections keep theirs. */
import { experimental, type ServerCredentials } from '@grpc/grpc-js';
import type { KeyAndCertificate } from '../../src/tls/issue.js';

type Listener = experimental.IdentityCertificateUpdateListener;

export class ServingCertificate implements experimental.CertificateProvider {
  readonly #listeners = new Set<Listener>();

  constructor(private certificate: KeyAndCertificate) {}

  credentials(): ServerCredentials {
    // The second provider would be that of the CA for client certificates: clients present tokens instead.
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
    // grpc-js adds the listener before it can accept an update. The port opens after this tick.
    process.nextTick(() => listener(this.#update()));
  }
  removeIdentityCertificateListener(listener: Listener): void {
    this.#listeners.delete(listener);
  }
  // Never called: there is no provider of the client CA.
  addCaCertificateListener(): void {}
  removeCaCertificateListener(): void {}
}
