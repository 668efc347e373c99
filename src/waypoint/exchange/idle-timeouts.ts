/**
 * The two idle timeouts of a request. The body timeout is for clients that announce a body and do not send it: it ends with the request's last
 * byte or the response's first. The stream timeout covers both directions for the whole request. Pure, except for the timer of `watchIdle`.
 */
import type { RouteRule } from '../../model/route.js';
import type { ServicePolicy } from '../../model/service-policy.js';
import type { WaypointLimits } from '../limits.js';

/** Milliseconds; 0: no limit. */
export interface IdleTimeouts {
  readonly bodyIdleMs: number;
  /** Applies until the response begins. */
  readonly streamIdleMs: number;
  /** Applies after the response has begun, to gRPC, and to upgraded connections: long silence is normal there. */
  readonly openIdleMs: number;
}

export interface RequestPhase {
  /** The request has not ended, and its response has not begun. */
  readonly awaitsBody: boolean;
  /** The waypoint has paused reading from the client, so the client cannot be late. */
  readonly isPaused: boolean;
  readonly hasBegun: boolean;
  /** A body of gRPC is a stream of messages: a pause in it is not a slow upload. */
  readonly isGrpc: boolean;
}

/**
 * The rule's timeouts, else those of the Service's port, else the waypoint's.
 * @param policy the settings of the Service port that the client dialed
 * @param ofConsumer the rule is in another namespace than the Service: it may shorten the Service's timeouts, but not lengthen them
 */
export function idleTimeoutsOf(
  limits: WaypointLimits,
  policy: Pick<ServicePolicy, 'bodyIdleMs' | 'streamIdleMs'> | undefined,
  rule: RouteRule | undefined,
  ofConsumer: boolean,
): IdleTimeouts {
  const { streamIdleMs, bodyIdleMs } = rule?.idleTimeouts ?? {};
  const either = (ofRule: number | undefined, ofService: number): number =>
    ofRule === undefined || (ofConsumer && isLonger(ofRule, ofService)) ? ofService : ofRule;
  return {
    bodyIdleMs: either(bodyIdleMs, policy?.bodyIdleMs ?? limits.bodyIdleMsMax),
    streamIdleMs: either(streamIdleMs, policy?.streamIdleMs ?? limits.streamIdleMsMax),
    openIdleMs: either(streamIdleMs, policy?.streamIdleMs ?? limits.openIdleMsMax),
  };
}

/** 0: no limit. */
const isLonger = (a: number, b: number): boolean => (a || Infinity) > (b || Infinity);

/** The times of a request's last activity. All times are of one monotonic clock, in milliseconds. */
export class IdleClock {
  #movedMs: number;
  #bodyMs: number;

  constructor(nowMs: number) {
    this.#movedMs = nowMs;
    this.#bodyMs = nowMs;
  }

  /** Call it on activity in either direction: a head, bytes, an end, or a drained buffer. */
  moved(nowMs: number): void {
    this.#movedMs = nowMs;
  }

  /** Call it when the client sent bytes of its request, or was asked to continue (1xx). */
  bodyMoved(nowMs: number): void {
    this.#movedMs = nowMs;
    this.#bodyMs = nowMs;
  }

  /** The timeout that has expired. `body`: the client is late with its request. `stream`: there was no activity in either direction. */
  overdue(nowMs: number, phase: RequestPhase, timeouts: IdleTimeouts): 'body' | 'stream' | undefined {
    if (phase.isPaused) this.#bodyMs = nowMs;
    const over = (sinceMs: number, mostMs: number): boolean => mostMs > 0 && nowMs - sinceMs > mostMs;
    if (phase.awaitsBody && !phase.isGrpc && over(this.#bodyMs, timeouts.bodyIdleMs)) return 'body';
    const isOpen = phase.hasBegun || phase.isGrpc;
    return over(this.#movedMs, isOpen ? timeouts.openIdleMs : timeouts.streamIdleMs) ? 'stream' : undefined;
  }
}

/** Checks the idle timeouts of all requests every `everyMs` milliseconds. Returns a function that stops it. */
export function watchIdle(
  exchanges: Iterable<{ checkIdle(nowMs: number): void }>,
  everyMs: number,
): () => void {
  const timer = setInterval(() => {
    const now = performance.now();
    for (const exchange of exchanges) exchange.checkIdle(now);
  }, everyMs);
  timer.unref();
  return () => clearInterval(timer);
}
