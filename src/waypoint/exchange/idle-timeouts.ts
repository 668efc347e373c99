/**
 * Idle clocks of a request. Two of them: the body clock guards the request against a client that announces a body and does not send it,
 * so it ends with the request's last byte or the response's first; the stream clock looks at both directions and runs as long as the
 * request does. Pure, but for the timer of `watchIdle`.
 */
import type { RouteRule } from '../../model/route.js';
import type { WaypointLimits } from '../limits.js';

/** Milliseconds; 0: the clock is off. */
export interface IdleTimeouts {
  readonly bodyIdleMs: number;
  /** Until the response begins. */
  readonly streamIdleMs: number;
  /** Once the response has begun, of gRPC and of upgraded connections: quiet for long is normal there. */
  readonly openIdleMs: number;
}

export interface RequestPhase {
  /** The request's end has not come, and its response has not begun. */
  readonly awaitsBody: boolean;
  /** Nobody reads the client at present: a client that is not read cannot be late. */
  readonly isPaused: boolean;
  readonly hasBegun: boolean;
  /** Messages come as there is something to say: a body that pauses is a stream of them, not a slow upload. */
  readonly isGrpc: boolean;
}

/**
 * What the rule says, else the waypoint.
 * @param ofConsumer the rule is of another namespace than the Service: it may shorten the waypoint's clocks, not lengthen them
 */
export function idleTimeoutsOf(
  limits: WaypointLimits,
  rule: RouteRule | undefined,
  ofConsumer: boolean,
): IdleTimeouts {
  const { streamIdleMs, bodyIdleMs } = rule?.idleTimeouts ?? {};
  const either = (ofRule: number | undefined, ofWaypoint: number): number =>
    ofRule === undefined || (ofConsumer && isLonger(ofRule, ofWaypoint)) ? ofWaypoint : ofRule;
  return {
    bodyIdleMs: either(bodyIdleMs, limits.bodyIdleMsMax),
    streamIdleMs: either(streamIdleMs, limits.streamIdleMsMax),
    openIdleMs: either(streamIdleMs, limits.openIdleMsMax),
  };
}

/** 0: no end. */
const isLonger = (a: number, b: number): boolean => (a || Infinity) > (b || Infinity);

/** When something of a request moved last. Times are of one monotonic clock, in milliseconds. */
export class IdleClock {
  #movedMs: number;
  #bodyMs: number;

  constructor(nowMs: number) {
    this.#movedMs = nowMs;
    this.#bodyMs = nowMs;
  }

  /** A head, bytes, an end, or room for more, in either direction. */
  moved(nowMs: number): void {
    this.#movedMs = nowMs;
  }

  /** The client sent some of its request, or was asked to go on (1xx). */
  bodyMoved(nowMs: number): void {
    this.#movedMs = nowMs;
    this.#bodyMs = nowMs;
  }

  /** `body`: the client is late with its request. `stream`: nothing moved in either direction for too long. */
  overdue(nowMs: number, phase: RequestPhase, timeouts: IdleTimeouts): 'body' | 'stream' | undefined {
    if (phase.isPaused) this.#bodyMs = nowMs;
    const over = (sinceMs: number, mostMs: number): boolean => mostMs > 0 && nowMs - sinceMs > mostMs;
    if (phase.awaitsBody && !phase.isGrpc && over(this.#bodyMs, timeouts.bodyIdleMs)) return 'body';
    const isOpen = phase.hasBegun || phase.isGrpc;
    return over(this.#movedMs, isOpen ? timeouts.openIdleMs : timeouts.streamIdleMs) ? 'stream' : undefined;
  }
}

/** Checks the idle clocks of all requests each `everyMs`. Returns a function that stops it. */
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
