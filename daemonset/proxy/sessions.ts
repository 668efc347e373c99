/**
 * Shares of one worker's authenticated peer connections. Each connection holds memory for as long as its peer likes, so identities and
 * namespaces have shares.
 */
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

  /**
   * Admits a connection. Returns the function to call once at its end; undefined if this identity or its namespace has used its share, or
   * if the limit is reached.
   */
  readonly admit = (peer: SpiffeId): (() => void) | undefined => {
    const group = workloadIdentityOf(peer)?.namespace ?? '';
    if (this.#shares.take(peer, group) === undefined) return () => this.#shares.release(peer, group);
    this.onLimit();
    return undefined;
  };
}
