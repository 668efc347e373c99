/** The certificates of one worker, and the connections that wait for one. */
import type { SpiffeId } from '../../src/model/identity.js';
import type { Svid } from '../../src/tls/svid.js';

const waitMsMax = 5_000;

export class Svids {
  readonly #svids = new Map<SpiffeId, Svid>();
  readonly #waiting = new Map<SpiffeId, Set<(svid: Svid | undefined) => void>>();

  get(id: SpiffeId): Svid | undefined {
    return this.#svids.get(id);
  }

  /** Waits for a certificate that is being issued; undefined if none arrives in time (5 s). */
  valid(id: SpiffeId): Promise<Svid | undefined> {
    const present = this.#svids.get(id);
    if (present && present.notAfterMs > Date.now()) return Promise.resolve(present);
    return new Promise((resolve) => {
      const list = this.#waiting.get(id) ?? new Set();
      this.#waiting.set(id, list);
      const timer = setTimeout(() => {
        list.delete(done);
        resolve(undefined);
      }, waitMsMax);
      const done = (svid: Svid | undefined): void => {
        clearTimeout(timer);
        list.delete(done);
        resolve(svid);
      };
      list.add(done);
    });
  }

  update(svid: Svid): void {
    this.#svids.set(svid.id, svid);
  }

  /** Resolves the waiting calls. Call once everything else that uses the certificate has it. */
  announce(svid: Svid): void {
    for (const done of [...(this.#waiting.get(svid.id) ?? [])]) done(svid);
  }

  /** Forgets the keys of all other identities. */
  keep(wanted: ReadonlySet<SpiffeId>): void {
    for (const id of [...this.#svids.keys()]) if (!wanted.has(id)) this.#svids.delete(id);
    for (const [id, list] of this.#waiting) if (list.size === 0) this.#waiting.delete(id);
  }
}
