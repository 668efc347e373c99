/** Propagates changes of the CA's keys: from the Secret to the state directory, to the CA, and to the serving certificate. */
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
  /** Store of the Secret; undefined: the keys exist in the state directory only. */
  readonly store: AuthorityStore | undefined;
  /** Issues a new serving certificate, signed with the current signing key. */
  readonly servingCertificate: () => KeyAndCertificate;
  /** Sets the certificate for new handshakes. */
  readonly present: (certificate: KeyAndCertificate) => void;
  readonly onRootsChanged: () => void;
  readonly log: ControlLog & { error(fields: object, text: string): void };
}

export class AuthorityWatch {
  readonly #timers: readonly NodeJS.Timeout[];
  /** Signer of the serving certificate. */
  #signer: string;
  #renewAtMs = performance.now() + serverCertificateDueMs;
  /** The last logged error; empty if the last read succeeded. */
  #lastError = '';

  /** Starts the checks. Expects that the serving certificate has just been issued. */
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
      this.options.log.warn(
        { error: errorText(error) },
        'reading the Secrets of the keys failed: will retry',
      );
    }
  }

  #checkFiles(): void {
    const { ca, log, onRootsChanged } = this.options;
    let changed = false;
    try {
      changed = ca.reload();
      this.#lastError = '';
    } catch (error) {
      if (this.#lastError !== errorText(error))
        log.error({ error: errorText(error) }, "reading the CA's files failed: the former keys stay in use");
      this.#lastError = errorText(error);
    }
    // The serving certificate is renewed before nodes receive the new roots: a node that reconnects verifies it with the new roots.
    this.#renewIfDue();
    if (!changed) return;
    log.info({ version: ca.version }, 'roots changed');
    onRootsChanged();
  }

  /**
   * Issues a new serving certificate when the signer has changed or half of its lifetime is over. A node that trusts only the new root can then
   * reconnect. Open streams keep the certificate of their handshake.
   */
  #renewIfDue(): void {
    const { ca, servingCertificate, present, log } = this.options;
    if (ca.signer === this.#signer && performance.now() < this.#renewAtMs) return;
    try {
      present(servingCertificate());
      this.#signer = ca.signer;
      this.#renewAtMs = performance.now() + serverCertificateDueMs;
      log.info({ signer: this.#signer }, 'serving certificate renewed');
    } catch (error) {
      // Retried later, not at every check: the current certificate is still valid for half of its lifetime.
      this.#renewAtMs = performance.now() + renewRetryMs;
      this.#signer = ca.signer;
      log.error({ error: errorText(error) }, 'renewing the serving certificate failed: will retry');
    }
  }
}
