/**
 * The connections that one worker relays. A connection is tracked before it is authorized: a policy change between the decision and the
 * tracking would otherwise miss it.
 */
import type { WorkloadUid } from '../../src/model/workload.js';

export interface LiveConnection {
  readonly id: number;
  /** The local pod of the connection. */
  readonly pod: WorkloadUid;
  readonly startedMs: number;
  /** Plain data for `weft dump`: what is known of the connection so far. */
  describe(): object;
  /** Called after a change that affects the connection. A reason means that it is now forbidden. */
  recheck(): string | undefined;
  /** The workload whose policies authorized the connection; undefined if the destination's node authorizes it. */
  readonly decidedBy?: () => WorkloadUid | undefined;
  /** Ends the connection at once; both ends see a reset. */
  cut(why: string): void;
}

export class Connections {
  readonly #live = new Map<number, LiveConnection>();
  #last = 0;
  readonly #empty: (() => void)[] = [];
  /** Calls that wait for all connections up to an id to end. */
  readonly #settling = new Set<{ readonly last: number; readonly done: () => void }>();
  readonly #ofPod = new Map<WorkloadUid, number>();

  constructor(
    /** Limit of open connections. Further ones are refused. */
    readonly max: number,
    /** Limit of open connections of one pod. Further ones are refused, so that a pod cannot use up the worker's limit. */
    readonly podMax = max,
  ) {}

  get size(): number {
    return this.#live.size;
  }

  /** Adds a connection. Returns the name of the limit if one is reached. The caller calls end() exactly once. */
  track(
    pod: WorkloadUid,
    make: (id: number) => LiveConnection,
  ): LiveConnection | 'connections' | 'connections-of-pod' {
    if (this.#live.size >= this.max) return 'connections';
    const own = this.#ofPod.get(pod) ?? 0;
    if (own >= this.podMax) return 'connections-of-pod';
    const connection = make(++this.#last);
    this.#live.set(connection.id, connection);
    this.#ofPod.set(pod, own + 1);
    return connection;
  }

  end(id: number): void {
    const ended = this.#live.get(id);
    if (ended) {
      const left = (this.#ofPod.get(ended.pod) ?? 1) - 1;
      if (left > 0) this.#ofPod.set(ended.pod, left);
      else this.#ofPod.delete(ended.pod);
    }
    this.#live.delete(id);
    if (this.#live.size === 0) for (const done of this.#empty.splice(0)) done();
    for (const waiting of this.#settling) if (this.#hasEnded(waiting.last)) waiting.done();
  }

  /** The map is in the order of insertion, so its first entry is the oldest connection. */
  #hasEnded(last: number): boolean {
    const [oldest] = this.#live.keys();
    return oldest === undefined || oldest > last;
  }

  /** Resolves when all connections that are open now have ended, or after `timeoutMs`. New ones are accepted meanwhile. */
  async settle(timeoutMs: number): Promise<void> {
    const last = this.#last;
    if (this.#hasEnded(last)) return;
    let timer: NodeJS.Timeout | undefined;
    const waiting = { last, done: (): void => undefined };
    await new Promise<void>((resolve) => {
      waiting.done = resolve;
      this.#settling.add(waiting);
      timer = setTimeout(resolve, timeoutMs);
    });
    clearTimeout(timer);
    this.#settling.delete(waiting);
  }

  /**
   * Closes the connections that the current policies forbid. Returns how many.
   * @param isTouched whether a change may alter a decision about a workload (src/state/change.ts); connections of other workloads are not
   *   authorized again
   */
  recheck(isTouched: (uid: WorkloadUid) => boolean): number {
    let cut = 0;
    for (const connection of [...this.#live.values()]) {
      const decidedBy = connection.decidedBy?.();
      if (decidedBy === undefined || !isTouched(decidedBy)) continue;
      const why = connection.recheck();
      if (why === undefined) continue;
      connection.cut(why);
      cut++;
    }
    return cut;
  }

  describe(): object[] {
    return [...this.#live.values()].map((connection) => connection.describe());
  }

  /** Resolves when no connection is left, or closes the rest after `timeoutMs`. Resolves with how many were closed. */
  async drain(timeoutMs: number): Promise<number> {
    if (this.#live.size === 0) return 0;
    let timer: NodeJS.Timeout | undefined;
    await Promise.race([
      new Promise<void>((resolve) => this.#empty.push(resolve)),
      new Promise<void>((resolve) => {
        timer = setTimeout(resolve, timeoutMs);
      }),
    ]);
    clearTimeout(timer);
    const left = [...this.#live.values()];
    for (const connection of left) connection.cut('drain-timeout');
    return left.length;
  }
}
