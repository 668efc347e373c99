import type { SpiffeId } from '../model/identity.js';

/** An X.509-SVID as everyone may see it: the chain and the roots that verify peers. Its key may be in another process. */
export interface IssuedCertificate {
  readonly id: SpiffeId;
  /** Leaf first, then intermediates. */
  readonly chainPem: string;
  /** One or more roots. */
  readonly rootsPem: string;
  readonly serial: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** An X.509-SVID with its key. Plain data: the main thread sends it to workers. */
export interface Svid extends IssuedCertificate {
  /** PKCS#8 PEM. Never logged, never sent out of the process. */
  readonly keyPem: string;
}
