/**
 * The attempts of one request. Usually one is under way. If attempts are hedged, earlier ones go on beside the last; each attempt has at most
 * one that follows it, so only the last can be retried.
 */
import type { Attempt } from './attempt.js';
import type { RetryState } from './retry-state.js';

const none: readonly Attempt[] = [];

export class Attempts {
  /** The last attempt, or the one whose response is the client's. Its endpoint is known also after its end. */
  last: Attempt | undefined;
  /** Attempts beside which a further one was started, and which go on. */
  hedged = none;
  /** Number of attempts so far. */
  count = 0;
  /** Undefined: no attempt has failed yet. */
  retries: RetryState | undefined;

  begin(attempt: Attempt): void {
    this.last = attempt;
    this.count++;
  }

  /** A further attempt begins beside the last. */
  hedge(attempt: Attempt): void {
    attempt.isHedged = true;
    this.hedged = [...this.hedged, attempt];
  }

  /** Ends one attempt; others may go on. */
  drop(attempt: Attempt): void {
    attempt.abort();
    if (attempt.isHedged) this.hedged = this.hedged.filter((one) => one !== attempt);
  }

  /** Whether an attempt besides this one is under way, or a retry waits for its backoff. */
  hasOther(attempt: Attempt | undefined): boolean {
    const { last } = this;
    if (last !== undefined && last !== attempt && !last.isOver) return true;
    return this.retries?.isWaiting === true || this.hedged.some((one) => one !== attempt);
  }

  /** The response of this attempt is the client's: the others end, and none follows. */
  choose(attempt: Attempt): void {
    attempt.clearTryTimeout();
    this.retries?.end();
    if (this.hedged.length === 0) return;
    if (this.last !== attempt) this.last?.abort();
    this.last = attempt;
    this.#endHedged(attempt);
  }

  /** Cancels the upstreams: the rest of a response is discarded. */
  cancel(): void {
    this.#endHedged(undefined);
    this.last?.cancel();
  }

  /** The request ends. `whole`: it was sent, and its response is complete. */
  end(whole: boolean): void {
    this.#endHedged(undefined);
    if (whole) this.last?.end();
    else this.last?.abort();
    this.retries?.end();
  }

  #endHedged(except: Attempt | undefined): void {
    for (const attempt of this.hedged) if (attempt !== except) attempt.abort();
    this.hedged = none;
  }
}
