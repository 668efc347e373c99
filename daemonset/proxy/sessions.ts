/** Connections of peers that have shown their certificate, of one worker: each holds memory for as long as its peer likes, so they have shares. */
import { FairLimit } from '../../src/base/fair-limit.js';
import { workloadIdentityOf, type SpiffeId } from '../../src/model/identity.js';

export class PeerSessions {
  readonly #shares: FairLimit;

  constructor(
    max: number,
    private readonly onLimit: () => void,
  ) {
    this.#shares = new FairLimit(max);
  }

  /** What to call once at its end; undefined: this identity or its namespace has its share, or all there may be are in use. */
  readonly admit = (peer: SpiffeId): (() => void) | undefined => {
    const group = workloadIdentityOf(peer)?.namespace ?? '';
    if (this.#shares.take(peer, group) === undefined) return () => this.#shares.release(peer, group);
    this.onLimit();
    return undefined;
  };
}
