/**
 * Manages one certificate per identity in use: requests it when it is wanted, renews it at half of its life, and keeps it while renewal
 * fails. Where keys are is the key source's decision.
 */
import { errorText } from '../base/errors.js';
import type { Clock } from '../base/clock.js';
import type { SpiffeId } from '../model/identity.js';
import { assembleSvid } from './certificate.js';
import { createCsr } from './csr.js';
import type { IssuedCertificate, Svid } from './svid.js';

/** A new key and its request. */
export interface KeyRequest<C extends IssuedCertificate> {
  readonly csrPem: string;
  /** Parses the CA's response. Throws WEFT_SVID_INVALID. */
  readonly accept: (chain: readonly string[]) => C;
}

/** Where keys are generated and stay. */
export interface KeySource<C extends IssuedCertificate> {
  /** Generates a key. A later call for the same identity replaces a former one. */
  request(id: SpiffeId): Promise<KeyRequest<C>>;
}

/** Keys in this process, which the manager alone owns. */
export const ownKeys: KeySource<Svid> = {
  request: (id) => {
    const { keyPem, csrPem } = createCsr(id);
    return Promise.resolve({ csrPem, accept: (chain) => assembleSvid(id, keyPem, chain) });
  },
};

/** What the users of certificates see of their manager. */
export interface Certificates {
  get(id: SpiffeId): IssuedCertificate | undefined;
  state(): readonly {
    readonly id: SpiffeId;
    readonly serial?: string;
    readonly notAfter?: string;
    readonly error?: string;
  }[];
  want(ids: ReadonlySet<SpiffeId>): void;
  refreshAll(): void;
  tick(): void;
  stop(): void;
}

/** When each certificate expires, in milliseconds since 1970. */
export function* expiriesOf(certificates: Pick<Certificates, 'state'>): Generator<number> {
  for (const { notAfter } of certificates.state()) if (notAfter !== undefined) yield Date.parse(notAfter);
}

interface ManagerOptions<C extends IssuedCertificate> {
  readonly keys: KeySource<C>;
  /** Requests a certificate. Resolves with the chain (PEM); its last element is the root bundle. */
  readonly issue: (csrPem: string, id: SpiffeId, ttlS: number) => Promise<readonly string[]>;
  readonly clock: Clock;
  /** Random number in [0, 1). */
  readonly random: () => number;
  readonly ttlS: number;
  readonly onSvid: (svid: C) => void;
  readonly onError: (id: SpiffeId, error: unknown, retryInMs: number) => void;
}

const retryMsMin = 1_000;
const retryMsMax = 150_000;
const identitiesMax = 4096;

interface Entry<C> {
  svid: C | undefined;
  failures: number;
  error: string | undefined;
  cancel: () => void;
  /** Wall-clock time at which renewal is due; infinite while a request is in progress or waits for its retry. */
  dueAtMs: number;
  /** Incremented to invalidate a request in progress. */
  turn: number;
}

export class CertificateManager<C extends IssuedCertificate = Svid> implements Certificates {
  readonly #entries = new Map<SpiffeId, Entry<C>>();
  readonly #options: ManagerOptions<C>;

  constructor(options: ManagerOptions<C>) {
    this.#options = options;
  }

  /** Requests certificates for new identities and drops, with their keys, those of identities that are no longer wanted. */
  want(ids: ReadonlySet<SpiffeId>): void {
    for (const [id, entry] of this.#entries) {
      if (ids.has(id)) continue;
      entry.cancel();
      entry.turn++;
      this.#entries.delete(id);
    }
    for (const id of ids) {
      if (this.#entries.has(id) || this.#entries.size >= identitiesMax) continue;
      const entry: Entry<C> = {
        svid: undefined,
        failures: 0,
        error: undefined,
        cancel: () => undefined,
        dueAtMs: Infinity,
        turn: 0,
      };
      this.#entries.set(id, entry);
      void this.#fetch(id, entry);
    }
  }

  get(id: SpiffeId): C | undefined {
    return this.#entries.get(id)?.svid;
  }

  /** Requests all certificates again after the roots changed. The present certificates stay in use meanwhile. */
  refreshAll(): void {
    for (const [id, entry] of this.#entries) {
      entry.cancel();
      entry.turn++;
      void this.#fetch(id, entry);
    }
  }

  /**
   * Must be called periodically. Timers do not follow the wall clock, which jumps forward when it is set or the machine was suspended.
   * Certificates are then due for renewal, or expired, long before their timer fires.
   */
  tick(): void {
    for (const [id, entry] of this.#entries) {
      if (this.#options.clock.now() < entry.dueAtMs) continue;
      entry.cancel();
      entry.turn++;
      void this.#fetch(id, entry);
    }
  }

  /** State for display, without keys. */
  state(): { id: SpiffeId; serial?: string; notAfter?: string; error?: string }[] {
    return [...this.#entries].map(([id, { svid, error }]) => ({
      id,
      ...(svid ? { serial: svid.serial, notAfter: new Date(svid.notAfterMs).toISOString() } : {}),
      ...(error === undefined ? {} : { error }),
    }));
  }

  stop(): void {
    this.want(new Set());
  }

  async #fetch(id: SpiffeId, entry: Entry<C>): Promise<void> {
    const { keys, issue, clock, random, ttlS, onSvid, onError } = this.#options;
    const turn = entry.turn;
    entry.dueAtMs = Infinity;
    try {
      const key = await keys.request(id);
      if (entry.turn !== turn) return;
      const svid = key.accept(await issue(key.csrPem, id, ttlS));
      if (entry.turn !== turn) return;
      entry.svid = svid;
      entry.failures = 0;
      entry.error = undefined;
      // Half of the remaining life: certificates are backdated for lagging clocks, and the backdated part does not count.
      const lifeMs = svid.notAfterMs - clock.now();
      // Jitter of a tenth of the life, so that the pods of a node do not renew at the same moment.
      const dueMs = lifeMs / 2 + (random() - 0.5) * lifeMs * 0.1;
      const renewInMs = Math.max(dueMs, retryMsMin);
      entry.cancel = clock.after(renewInMs, () => void this.#fetch(id, entry));
      entry.dueAtMs = clock.now() + renewInMs;
      onSvid(svid);
    } catch (error) {
      if (entry.turn !== turn) return;
      entry.error = errorText(error);
      const retryInMs = Math.min(retryMsMax, retryMsMin * 2 ** entry.failures++) * (0.5 + random() / 2);
      entry.cancel = clock.after(retryInMs, () => void this.#fetch(id, entry));
      onError(id, error, retryInMs);
    }
  }
}
