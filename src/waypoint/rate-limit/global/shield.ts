/**
 * The shield before one rate limit service, in one worker: most requests are decided from leases in memory. Keys that need a lease are
 * asked for together. While the service does not respond, no request waits for it.
 */
import { performance } from 'node:perf_hooks';
import { errorText } from '../../../base/errors.js';
import {
  RateLimitResponse_Code as Code,
  type RateLimitResponse_DescriptorStatus as DescriptorStatus,
} from '../../../discovery/gen/ratelimit.js';
import { restCounterName } from '../../../model/rate-limit.js';
import type { Lease } from './lease.js';
import type { RateLimitService } from './service.js';

const shieldLimits = {
  /** Time for the response to a call. Requests wait shorter, as their limit says. */
  callMsMax: 1_000,
  /** Pause after a failed call; it doubles with each further one. */
  pauseMsMin: 100,
  pauseMsMax: 2_000,
} as const;

export interface ShieldEvents {
  /** A call failed. */
  readonly onFailure: (why: string) => void;
  /** The service responds again. */
  readonly onRecovery: () => void;
}

export class Shield {
  /** Leases to ask for, by their owners, which take turns: a client that asks for many delays only itself. */
  readonly #queues = new Map<string, Set<Lease>>();
  #isScheduled = false;
  /** When each call under way began, and how long a request has waited for it in vain; the oldest first. */
  readonly #calls = new Set<{ readonly beganMs: number; waitedMs: number }>();
  /** `paused`: the last call failed. `probing`: one call tries whether the service responds again. */
  #state: 'responding' | 'paused' | 'probing' = 'responding';
  #failures = 0;
  #timer: NodeJS.Timeout | undefined;
  /** A request needed the service during the pause. */
  #isNeeded = false;

  constructor(
    private readonly service: RateLimitService,
    private readonly events: ShieldEvents,
    private readonly now: () => number = () => performance.now(),
  ) {}

  connect(): void {
    this.service.connect?.();
  }

  /** Asks for a lease, unless it is asked for already. Its waiters get the result. */
  ask(lease: Lease): void {
    if (lease.isAsking || this.#state !== 'responding') return;
    lease.isAsking = true;
    const queue = this.#queues.get(lease.owner);
    if (queue) queue.add(lease);
    else this.#queues.set(lease.owner, new Set([lease]));
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    // Keys of one turn of the event loop go in one call.
    setImmediate(() => {
      this.#isScheduled = false;
      this.#run();
    });
  }

  /** Whether a request would probably wait in vain: the last call failed, or one is under way for longer than the request may wait. */
  isLate(nowMs: number, timeoutMs: number): boolean {
    if (this.#state !== 'responding') return (this.#isNeeded = true);
    for (const { beganMs, waitedMs } of this.#calls)
      return waitedMs >= timeoutMs || nowMs - beganMs > timeoutMs;
    return false;
  }

  /** A request has waited this long in vain. */
  onTimeout(timeoutMs: number): void {
    const nowMs = this.now();
    for (const call of this.#calls)
      if (nowMs - call.beganMs > timeoutMs / 2) call.waitedMs = Math.max(call.waitedMs, timeoutMs);
  }

  close(): void {
    clearTimeout(this.#timer);
    this.service.close();
    for (const queue of this.#queues.values()) for (const lease of queue) lease.failed();
    this.#queues.clear();
  }

  #run(): void {
    while (this.#queues.size > 0 && this.#calls.size < this.service.callsMax && this.#state === 'responding')
      void this.#call(this.#take());
  }

  /** Takes leases of one domain: one of each owner in turn. */
  #take(): Lease[] {
    const batch: Lease[] = [];
    const { descriptorsMax } = this.service;
    let domain: string | undefined;
    // Each owner's leases are looked at once.
    const turns = new Map([...this.#queues].map(([owner, queue]) => [owner, queue.values()]));
    while (turns.size > 0 && batch.length < descriptorsMax)
      for (const [owner, leases] of turns) {
        if (batch.length >= descriptorsMax) break;
        const lease = nextOf(leases, domain);
        if (!lease) {
          turns.delete(owner);
          continue;
        }
        domain ??= lease.domain;
        batch.push(lease);
        const queue = this.#queues.get(owner);
        queue?.delete(lease);
        // The owner moves to the end, so that the next batch begins with another one.
        this.#queues.delete(owner);
        if (queue && queue.size > 0) this.#queues.set(owner, queue);
      }
    return batch;
  }

  async #call(batch: readonly Lease[]): Promise<void> {
    const { service } = this;
    const call = { beganMs: this.now(), waitedMs: 0 };
    this.#calls.add(call);
    const asked = batch.map((lease) => lease.ask(call.beganMs, service.grantsParts));
    const descriptors = batch.map(({ entries, config }, i) => ({
      entries,
      limit: { requestsPerUnit: config.requests, unit: config.unit },
      hitsAddend: asked[i] ?? 1,
    }));
    try {
      const { statuses } = await service.call(batch[0]?.domain ?? '', descriptors, shieldLimits.callMsMax);
      if (statuses.length !== batch.length)
        throw new Error(`the service sent ${statuses.length} statuses for ${batch.length} descriptors`);
      if (!statuses.some(hasResult)) throw new Error('the service could not count');
      this.#calls.delete(call);
      this.#responded();
      batch.forEach((lease, i) => this.#apply(lease, asked[i] ?? 1, statuses[i], call.beganMs));
    } catch (error) {
      this.#calls.delete(call);
      this.#failed(batch, errorText(error));
    }
    this.#run();
  }

  #apply(lease: Lease, asked: number, status: DescriptorStatus | undefined, atMs: number): void {
    lease.isAsking = false;
    // This key alone could not be counted, for example because there are too many.
    if (!status || !hasResult(status)) return lease.failed();
    const { code, currentLimit, limitRemaining, durationUntilReset: reset, quota } = status;
    if (currentLimit) lease.limit = currentLimit.requestsPerUnit;
    const isPartial = this.service.grantsParts;
    lease.isOfOwner = isPartial && currentLimit?.name === restCounterName;
    const most = isPartial ? (quota?.requests ?? 0) : asked;
    lease.apply({
      asked,
      granted: code === Code.OK ? Math.min(asked, most) : 0,
      atMs,
      resetMs: reset && Math.max(0, reset.seconds * 1000 + reset.nanos / 1e6),
      left: currentLimit && limitRemaining,
      isPartial,
    });
    // Requests came meanwhile, or a single hit is tried.
    if (lease.waiters.size > 0) this.ask(lease);
  }

  #responded(): void {
    if (this.#failures === 0) return;
    this.#failures = 0;
    this.#state = 'responding';
    clearTimeout(this.#timer);
    this.events.onRecovery();
  }

  #failed(batch: readonly Lease[], why: string): void {
    for (const leases of [batch, ...this.#queues.values()])
      for (const lease of leases) {
        lease.isAsking = false;
        lease.failed();
      }
    this.#queues.clear();
    // Calls that began before the pause fail, too.
    if (this.#state === 'paused') return;
    this.events.onFailure(why);
    this.service.reset();
    this.#state = 'paused';
    this.#isNeeded = false;
    const pauseMs = Math.min(shieldLimits.pauseMsMax, shieldLimits.pauseMsMin * 2 ** this.#failures++);
    this.#timer = setTimeout(() => this.#probe(batch[0]), pauseMs * (0.5 + Math.random() / 2));
    this.#timer.unref();
  }

  /** Ends the pause: the call of one key tries the service, if a request needed it during the pause. Requests go on without waiting. */
  #probe(lease: Lease | undefined): void {
    this.#state = this.#isNeeded ? 'probing' : 'responding';
    if (!lease || this.#state === 'responding') return;
    lease.isAsking = true;
    void this.#call([lease]);
  }
}

const hasResult = ({ code }: DescriptorStatus): boolean => code === Code.OK || code === Code.OVER_LIMIT;

/** The next lease of the domain; undefined domain: of any. */
function nextOf(leases: Iterator<Lease>, domain: string | undefined): Lease | undefined {
  for (;;) {
    const next = leases.next();
    if (next.done === true) return undefined;
    if (domain === undefined || next.value.domain === domain) return next.value;
  }
}
