/** Follows the CA's keys: from the Secret to the state directory, from there to the CA, and on to the serving certificate. */
import { errorText } from '../../src/base/errors.js';
import type { KeyAndCertificate } from '../../src/tls/issue.js';
import type { ControlLog } from '../log.js';
import type { AuthorityStore } from './authority-store.js';
import { serverCertificateDueMs, type CertificateAuthority } from './ca.js';

const filesCheckMs = 500;
const secretCheckMs = 10_000;
const renewRetryMs = 60_000;

export interface AuthorityWatchOptions {
  readonly ca: CertificateAuthority;
  /** Of the Secret; undefined: the state directory is the only place of the keys. */
  readonly store: AuthorityStore | undefined;
  /** A new serving certificate, signed by the present signing key. */
  readonly servingCertificate: () => KeyAndCertificate;
  /** Handshakes from now on show it. */
  readonly present: (certificate: KeyAndCertificate) => void;
  readonly onRootsChanged: () => void;
  readonly log: ControlLog & { error(fields: object, text: string): void };
}

export class AuthorityWatch {
  readonly #timers: readonly NodeJS.Timeout[];
  /** Of the serving certificate. */
  #signer: string;
  #renewAtMs = performance.now() + serverCertificateDueMs;
  /** The error that was logged last; empty: the keys were read. */
  #lastError = '';

  /** The present serving certificate is new. */
  constructor(private readonly options: AuthorityWatchOptions) {
    const { ca, store } = options;
    this.#signer = ca.signer;
    this.#timers = [
      setInterval(() => this.#checkFiles(), filesCheckMs),
      ...(store ? [setInterval(() => void this.#pull(store), secretCheckMs)] : []),
    ];
  }

  stop(): void {
    for (const timer of this.#timers) clearInterval(timer);
  }

  async #pull(store: AuthorityStore): Promise<void> {
    try {
      await store.pull();
      await store.pullJoinKey();
    } catch (error) {
      this.options.log.warn({ error: errorText(error) }, 'the secrets of keys were not read again');
    }
  }

  #checkFiles(): void {
    const { ca, log, onRootsChanged } = this.options;
    let changed = false;
    try {
      changed = ca.reload();
      this.#lastError = '';
    } catch (error) {
      if (this.#lastError !== errorText(error)) log.error({ error: errorText(error) }, 'keys not read again');
      this.#lastError = errorText(error);
    }
    // Before nodes are sent the new roots: a node that reconnects with them needs a serving certificate that they verify.
    this.#renewIfDue();
    if (!changed) return;
    log.info({ version: ca.version }, 'roots changed');
    onRootsChanged();
  }

  /**
   * The signing key signs the serving certificate, so that a node that trusts only the new root can reconnect. Open streams keep the
   * certificate that they began with.
   */
  #renewIfDue(): void {
    const { ca, servingCertificate, present, log } = this.options;
    if (ca.signer === this.#signer && performance.now() < this.#renewAtMs) return;
    try {
      present(servingCertificate());
      this.#signer = ca.signer;
      this.#renewAtMs = performance.now() + serverCertificateDueMs;
      log.info({ signer: this.#signer }, 'serving under a new certificate');
    } catch (error) {
      // Tried again later, not at every check: the present certificate is valid for as long again.
      this.#renewAtMs = performance.now() + renewRetryMs;
      this.#signer = ca.signer;
      log.error({ error: errorText(error) }, 'no new serving certificate, tried again');
    }
  }
}
