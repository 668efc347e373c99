/**
 * The connections that one worker carries. A connection is tracked before it is authorized, so that no policy change
 * falls between the decision and the list that the change is held against.
 */
import type { WorkloadUid } from '../../src/model/workload.js';

export interface LiveConnection {
  readonly id: number;
  /** The local pod it belongs to. */
  readonly pod: WorkloadUid;
  readonly startedMs: number;
  /** Plain data for `weft dump`: what is known of it so far. */
  describe(): object;
  /** Asked after a change that touches it; a reason means it is now forbidden. */
  recheck(): string | undefined;
  /** The workload whose policies decided it; undefined where its destination's own node decides. */
  readonly decidedBy?: () => WorkloadUid | undefined;
  /** Ends it at once, both ends see a reset. */
  cut(why: string): void;
}

export class Connections {
  readonly #live = new Map<number, LiveConnection>();
  #last = 0;
  readonly #empty: (() => void)[] = [];
  /** Those who wait for all connections up to an id to end. */
  readonly #settling = new Set<{ readonly last: number; readonly done: () => void }>();
  readonly #ofPod = new Map<WorkloadUid, number>();

  constructor(
    /** Above this, new connections are refused. */
    readonly max: number,
    /** Above this, new connections of one pod are refused: the others' are not its to take. */
    readonly podMax = max,
  ) {}

  get size(): number {
    return this.#live.size;
  }

  /** The limit where one is reached. The caller ends the track exactly once. */
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

  /** The map is in the order of their beginnings: its first is the oldest. */
  #hasEnded(last: number): boolean {
    const [oldest] = this.#live.keys();
    return oldest === undefined || oldest > last;
  }

  /** Resolves when all that live now have ended, or after `timeoutMs`; new ones are taken all the while. */
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
   * Cuts what the present policies forbid, leaves all else alone; returns how many were cut. `isTouched`: the workloads about which a
   * decision may come out differently (src/state/change.ts); of all others nothing is decided again.
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

  /** Resolves when none is left, or cuts the rest after `timeoutMs`. */
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
