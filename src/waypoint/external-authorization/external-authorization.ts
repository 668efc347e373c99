/**
 * The requests of a worker that wait for a decision, the decisions that are kept, and what was decided. They are apart from the filters
 * that use them, so that bounds and counts survive changes of configuration.
 */
import { performance } from 'node:perf_hooks';
import { errorText } from '../../base/errors.js';
import { FairLimit } from '../../base/fair-limit.js';
import type { ServicePort } from '../authorization/reachable.js';
import type { WaypointLimit } from '../limits.js';
import type {
  AskedRequest,
  Call,
  CallResponse,
  DecisionProtocol,
  ServiceTarget,
  Waiting,
} from './asked-request.js';
import type { Decision, NoDecision } from './decision.js';
import { cacheKey, DecisionCache } from './decision-cache.js';

/** Requests of a worker that wait for a decision. */
const waitingDecisionsMax = 8_192;
/** Body bytes of a worker that wait for a decision, in blocks. */
export const bodyBlockBytes = 4 << 10;
const bodyBlocksMax = 8_192;
/** Counts of a Service port that no request has used for this long are forgotten. Longer than Prometheus' lookback. */
const idleMsMax = 15 * 60_000;

/** What was decided about the requests of one Service port, as Envoy counts it. */
export interface DecisionCounts {
  ok: number;
  denied: number;
  /** Requests without a decision. */
  error: number;
  /** Of these, requests that were let through. */
  failureModeAllowed: number;
  /** Decisions that were kept from an earlier request. */
  cached: number;
  usedAtMs: number;
}

/** How a policy asks. */
export interface AskOptions {
  /** Unique for the compiled policy: decisions of another configuration mean something else. */
  readonly scope: string;
  readonly target: ServiceTarget;
  readonly protocol: DecisionProtocol;
  readonly timeoutMs: number;
  /** 0: decisions are not kept. */
  readonly cacheMs: number;
  /** The request does not wait for the decision. */
  readonly dryRun: boolean;
}

export interface ExternalAuthorizationOptions {
  /** Calls a service. Rejects if there is no complete response in time. */
  readonly call: (
    target: ServiceTarget,
    call: Call,
    timeoutMs: number,
    waiting: Waiting,
  ) => Promise<CallResponse>;
  readonly onLimitReached: (limit: WaypointLimit) => void;
  /** A service does not decide (`failure`: why), or decides again. */
  readonly onService: (service: string, failure: string | undefined) => void;
  readonly waitingMax?: number;
}

export class ExternalAuthorization {
  readonly cache: DecisionCache;
  /** Shares of the buffered body bytes. */
  readonly bodyShares = new FairLimit(bodyBlocksMax);
  readonly #waiting: FairLimit;
  readonly #counts = new Map<string, { readonly at: ServicePort; readonly counts: DecisionCounts }>();
  readonly #failing = new Set<string>();

  constructor(private readonly options: ExternalAuthorizationOptions) {
    this.#waiting = new FairLimit(options.waitingMax ?? waitingDecisionsMax);
    this.cache = new DecisionCache(() => options.onLimitReached('external-authorization-cache'));
  }

  /** What was decided, by Service port, for metrics. */
  counts(): Iterable<{ readonly at: ServicePort; readonly counts: DecisionCounts }> {
    return this.#counts.values();
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  countsOf(at: ServicePort): DecisionCounts {
    const name = `${at.service}:${at.port}`;
    let found = this.#counts.get(name);
    if (!found) {
      const counts = { ok: 0, denied: 0, error: 0, failureModeAllowed: 0, cached: 0, usedAtMs: 0 };
      this.#counts.set(name, (found = { at, counts }));
    }
    found.counts.usedAtMs = performance.now();
    return found.counts;
  }

  /** Asks about one request. A promise: the service was called. */
  ask(
    { scope, target, protocol, timeoutMs, cacheMs }: AskOptions,
    request: AskedRequest,
    waiting: Waiting,
    onCached: () => void,
  ): Decision | NoDecision | Promise<Decision | NoDecision> {
    const { client } = request;
    const call = protocol.call(request, timeoutMs);
    const key = cacheMs > 0 && !request.body ? cacheKey(scope, call, client) : undefined;
    const known = key !== undefined && this.cache.get(key, performance.now());
    if (known) {
      onCached();
      return known;
    }
    const { name, group } = client;
    if (this.#waiting.take(name, group) !== undefined) {
      this.options.onLimitReached('external-authorization-waiting');
      return { kind: 'none', why: 'too many requests of this client wait for a decision', isFull: true };
    }
    return this.options.call(target, call, timeoutMs, waiting).then(
      (response) => {
        this.#waiting.release(name, group);
        try {
          const decision = protocol.read(response);
          this.#decided(target, undefined);
          if (key !== undefined) this.cache.add(key, decision, performance.now() + cacheMs, client);
          return decision;
        } catch (error) {
          return this.#failed(target, error);
        }
      },
      (error: unknown) => {
        this.#waiting.release(name, group);
        return this.#failed(waiting.isOver ? undefined : target, error);
      },
    );
  }

  /** @param target undefined: it is not the service's failure */
  #failed(target: ServiceTarget | undefined, error: unknown): NoDecision {
    const why = errorText(error);
    if (target) this.#decided(target, why);
    return { kind: 'none', why };
  }

  /** Forgets what is not in use. Called about once a second. */
  sweep(): void {
    const nowMs = performance.now();
    this.cache.sweep(nowMs);
    for (const [name, { counts }] of this.#counts)
      if (nowMs - counts.usedAtMs > idleMsMax) this.#counts.delete(name);
  }

  #decided({ service, port }: ServiceTarget, failure: string | undefined): void {
    const name = `${service}:${port}`;
    if ((failure !== undefined) === this.#failing.has(name)) return;
    if (failure === undefined) this.#failing.delete(name);
    else this.#failing.add(name);
    this.options.onService(name, failure);
  }
}
