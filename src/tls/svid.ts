import type { SpiffeId } from '../model/identity.js';

/** An X.509-SVID with its key and the roots that verify peers. Plain data: the main thread sends it to workers. */
export interface Svid {
  readonly id: SpiffeId;
  /** PKCS#8 PEM. Never logged, never sent out of the process. */
  readonly keyPem: string;
  /** Leaf first, then intermediates. */
  readonly chainPem: string;
  /** One or more roots. */
  readonly rootsPem: string;
  readonly serial: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}
