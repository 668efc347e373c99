/**
 * One certificate per identity in use: fetched when wanted, renewed at half life, kept while renewal fails. The one owner
 * of keys in this process.
 */
import { errorText } from '../base/errors.js';
import type { Clock } from '../base/clock.js';
import type { SpiffeId } from '../model/identity.js';
import { assembleSvid } from './certificate.js';
import { createCsr } from './csr.js';
import type { Svid } from './svid.js';

interface ManagerOptions {
  /** The chain, its last element the root bundle. */
  readonly issue: (csrPem: string, id: SpiffeId, ttlS: number) => Promise<readonly string[]>;
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
  readonly ttlS: number;
  readonly onSvid: (svid: Svid) => void;
  readonly onError: (id: SpiffeId, error: unknown, retryInMs: number) => void;
}

const retryMsMin = 1_000;
const retryMsMax = 150_000;
const identitiesMax = 4096;

interface Entry {
  svid: Svid | undefined;
  failures: number;
  error: string | undefined;
  cancel: () => void;
  /** When renewal is due by the wall clock; never, while one is under way or tried again. */
  dueAtMs: number;
  /** Raised whenever what is under way shall no longer count. */
  turn: number;
}

export class CertificateManager {
  readonly #entries = new Map<SpiffeId, Entry>();
  readonly #options: ManagerOptions;

  constructor(options: ManagerOptions) {
    this.#options = options;
  }

  /** Fetches what is wanted and not there; forgets, with its key, what is wanted no more. */
  want(ids: ReadonlySet<SpiffeId>): void {
    for (const [id, entry] of this.#entries) {
      if (ids.has(id)) continue;
      entry.cancel();
      entry.turn++;
      this.#entries.delete(id);
    }
    for (const id of ids) {
      if (this.#entries.has(id) || this.#entries.size >= identitiesMax) continue;
      const entry: Entry = {
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

  get(id: SpiffeId): Svid | undefined {
    return this.#entries.get(id)?.svid;
  }

  /** Fetches all anew, since the roots changed; the present ones serve meanwhile. */
  refreshAll(): void {
    for (const [id, entry] of this.#entries) {
      entry.cancel();
      entry.turn++;
      void this.#fetch(id, entry);
    }
  }

  /**
   * Call now and then: timers do not move with the clock, which jumps forward where it is set, or the machine slept; certificates are
   * then due, or have ended, long before their timer.
   */
  tick(): void {
    for (const [id, entry] of this.#entries) {
      if (this.#options.clock.now() < entry.dueAtMs) continue;
      entry.cancel();
      entry.turn++;
      void this.#fetch(id, entry);
    }
  }

  /** Without keys. */
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

  async #fetch(id: SpiffeId, entry: Entry): Promise<void> {
    const { issue, clock, random, ttlS, onSvid, onError } = this.#options;
    const turn = entry.turn;
    entry.dueAtMs = Infinity;
    try {
      const { keyPem, csrPem } = createCsr(id);
      const svid = assembleSvid(id, keyPem, await issue(csrPem, id, ttlS));
      if (entry.turn !== turn) return;
      entry.svid = svid;
      entry.failures = 0;
      entry.error = undefined;
      // Half of what is left: certificates are dated back for clocks that lag, and that part is no life.
      const lifeMs = svid.notAfterMs - clock.now();
      // A tenth of jitter, so that the pods of a node do not renew in one moment.
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
