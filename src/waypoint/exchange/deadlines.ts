/** The times after which a request ends whatever moves: its timeout, the client's grpc-timeout, and its greatest duration. */
import { performance } from 'node:perf_hooks';
import type { Timeouts } from '../../discovery/gen/weft.js';
import { timerMsMax } from '../../model/duration.js';
import type { RouteRule } from '../../model/route.js';

/** `rule`, `policy`: the timeout of the route's rule or of the TrafficPolicy. `grpc`: the client's. `duration`: the greatest duration. */
export type DeadlineKind = 'rule' | 'policy' | 'grpc' | 'duration';

export interface Deadline {
  readonly kind: DeadlineKind;
  /** Since the begin of the request. */
  readonly ms: number;
  /** Expiry is counted, and nothing ends. */
  readonly isDryRun: boolean;
}

interface DeadlineInputs {
  readonly rule: RouteRule | undefined;
  /** The rule is in another namespace than the Service: it may shorten the Service's timeouts, but not lengthen them. */
  readonly ofConsumer: boolean;
  readonly timeouts: Timeouts | undefined;
  /** The client's grpc-timeout; undefined: none, or the waypoint does not act on it. */
  readonly grpcMs: number | undefined;
}

/** The deadlines of a request, the earliest first. A rule's timeout replaces that of the policy; 0 is none. Pure. */
export function deadlinesOf({ rule, ofConsumer, timeouts, grpcMs }: DeadlineInputs): readonly Deadline[] {
  // Most requests have none.
  if (!rule?.requestTimeoutMs && !timeouts && grpcMs === undefined) return none;
  const all: Deadline[] = [];
  const add = (kind: DeadlineKind, ms: number | undefined, isDryRun = false): void => {
    if (ms !== undefined && ms > 0) all.push({ kind, ms: Math.min(ms, timerMsMax), isDryRun });
  };
  const ofRule = rule?.requestTimeoutMs;
  add('rule', ofRule);
  if (ofRule === undefined || ofConsumer) add('policy', timeouts?.requestMs, timeouts?.dryRun);
  add('duration', timeouts?.streamMsMax, timeouts?.dryRun);
  if (grpcMs !== undefined) all.push({ kind: 'grpc', ms: Math.min(grpcMs, timerMsMax), isDryRun: false });
  return all.length > 1 ? all.sort((a, b) => a.ms - b.ms) : all;
}

const none: readonly Deadline[] = [];

/** Runs the deadlines of one request with one timer. */
export class Deadlines {
  #timer: NodeJS.Timeout | undefined;

  /**
   * @param startedMs the begin of the request, by the monotonic clock
   * @param onExpired called for each deadline that expires, until `end`
   */
  constructor(
    private all: readonly Deadline[],
    private readonly startedMs: number,
    private readonly onExpired: (deadline: Deadline) => void,
  ) {}

  /** Waits for the earliest deadline. One that is over already expires at once. */
  start(): void {
    const [first] = this.all;
    if (!first) return;
    const leftMs = this.startedMs + first.ms - performance.now();
    if (leftMs > 0) this.#timer = setTimeout(() => this.#expire(first), Math.ceil(leftMs));
    else this.#expire(first);
  }

  /** Time until the request ends; Infinity without a deadline. */
  leftMs(nowMs: number): number {
    const first = this.all.find(({ isDryRun }) => !isDryRun);
    return first ? Math.max(0, this.startedMs + first.ms - nowMs) : Infinity;
  }

  /** The connection was upgraded: what is left has no timeout but its greatest duration. */
  upgraded(): void {
    this.end();
    this.all = this.all.filter(({ kind }) => kind === 'duration');
    this.start();
  }

  end(): void {
    clearTimeout(this.#timer);
  }

  #expire(deadline: Deadline): void {
    this.all = this.all.filter((one) => one !== deadline);
    this.onExpired(deadline);
    // Afterwards: the next deadline may be over as well, and end the request.
    if (deadline.isDryRun) this.start();
  }
}
