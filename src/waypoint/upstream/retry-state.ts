/** The retries of one request: the endpoints that it has tried, what its budget counts, and the backoff. Made with the first failure. */
import type { Cluster, Excluded } from '../cluster/cluster.js';
import type { Endpoint } from '../cluster/endpoint.js';
import { backoffMs, retryLimitsOf, type FailedAttempt, type RetryRules } from './retry-policy.js';

export type Next =
  /** No further attempt. `flag`: the retry limit is reached (URX), or the cluster's retry budget is used up (UO). */
  | { readonly kind: 'none'; readonly flag: 'URX' | 'UO' | undefined }
  /** Retry at the same endpoint, by a new connection. */
  | { readonly kind: 'fresh' }
  /** Retry in `inMs` at the endpoint that the cluster picks. `by`: what the wait follows. */
  | { readonly kind: 'again'; readonly inMs: number; readonly by: 'backoff' | 'response' | undefined };

interface Circumstances {
  /** The cluster that the request is sent to now. */
  readonly cluster: Cluster;
  /** The time that the endpoint's response asks for. */
  readonly askedMs: number | undefined;
  /** Time until the request's timeout. */
  readonly leftMs: number;
  /** Whether the body so far can be sent again. Called only if nothing else prevents a retry. */
  canReplay(): boolean;
}

const noRetry: Next = { kind: 'none', flag: undefined };

export class RetryState {
  readonly #tried = new Set<Endpoint>();
  #retries = 0;
  /** The cluster whose retry budget counts the retry that waits for its attempt. */
  #reserved: Cluster | undefined;
  #backoff: NodeJS.Timeout | undefined;
  /** A retry waits for its backoff. */
  isWaiting = false;

  constructor(private readonly rules: RetryRules | undefined) {}

  /** What the next attempt's endpoint is chosen by. */
  get excluded(): Excluded {
    return this.#excludedFor(this.#retries);
  }

  #excludedFor(retries: number): Excluded {
    return { endpoints: this.#tried, mayRepeat: retries <= (this.rules?.attempts ?? 0) };
  }

  /** Decides what follows a failed attempt, and counts the retry that it allows until `handOver`. */
  after(failed: FailedAttempt, endpoint: Endpoint, now: Circumstances): Next {
    const { elsewhere, anywhere } = retryLimitsOf(failed, this.rules);
    if (this.#retries >= elsewhere) return { kind: 'none', flag: this.#retries > 0 ? 'URX' : undefined };
    const next = this.#nextOf(failed, endpoint, anywhere, now);
    if (next.kind === 'none') return next;
    // A retry that would wait until the request's timeout is of no use to the client.
    if (next.kind === 'again' && next.inMs >= now.leftMs) return noRetry;
    if (!now.canReplay()) return noRetry;
    return this.take(now.cluster) ? next : { kind: 'none', flag: 'UO' };
  }

  #nextOf(failed: FailedAttempt, endpoint: Endpoint, anywhere: number, now: Circumstances): Next {
    const { execution, failure } = failed;
    const repeat = this.#retries + 1;
    // A reused connection failed, which says nothing about the endpoint.
    if (repeat === 1 && (failure?.kind === 'refused' || failure?.kind === 'stale')) return { kind: 'fresh' };
    this.#tried.add(endpoint);
    // A request that was not executed goes at once to an endpoint that has not failed: the backoff protects endpoints that have.
    if (execution === 'none' || execution === 'unlikely') {
      if (now.cluster.hasOther(this.#excludedFor(repeat))) return { kind: 'again', inMs: 0, by: undefined };
    }
    if (!this.rules || repeat > anywhere) return { kind: 'none', flag: anywhere > 0 ? 'URX' : undefined };
    if (now.askedMs === undefined)
      return { kind: 'again', inMs: backoffMs(this.rules, repeat, Math.random()), by: 'backoff' };
    // Up to half as much is added, so that clients do not come back at the same moment (Envoy).
    const inMs = Math.min(now.askedMs * (1 + Math.random() / 2), this.rules.retryAfterMsMax);
    return { kind: 'again', inMs, by: 'response' };
  }

  /** The endpoints that a further attempt beside that at `endpoint` must not use. Undefined: the number of attempts is reached. */
  hedge(endpoint: Endpoint): Excluded | undefined {
    if (this.#retries >= (this.rules?.attempts ?? 0)) return undefined;
    this.#tried.add(endpoint);
    return { endpoints: this.#tried, mayRepeat: false };
  }

  /** Counts a retry until `handOver`. False: the cluster's retry budget is used up. */
  take(cluster: Cluster): boolean {
    if (!cluster.takeRetry()) return false;
    this.#reserved = cluster;
    this.#retries++;
    return true;
  }

  /** The attempt of the counted retry begins, and releases it from the budget of the cluster that is returned. */
  handOver(): Cluster | undefined {
    const reserved = this.#reserved;
    this.#reserved = undefined;
    return reserved;
  }

  backOff(ms: number, next: () => void): void {
    this.isWaiting = true;
    this.#backoff = setTimeout(() => {
      this.isWaiting = false;
      next();
    }, ms);
  }

  /** No attempt follows. */
  end(): void {
    clearTimeout(this.#backoff);
    this.isWaiting = false;
    this.handOver()?.releaseRetry();
  }
}
