/**
 * Who is told the whole of a type next. Few whole answers are on their way at once, of nodes and of waypoints each, so that neither
 * waits for the other; one of a caller's share at a time, and the share that was served longest ago comes first: callers that do not
 * read what they asked for keep others from nothing.
 */
import { waypointOfCaller } from '../compile/waypoints.js';

/** Whole answers on their way at once: what nodes that all come back cost in memory. */
const wholeAnswersMax = { node: 8, waypoint: 8 } as const;
/** Shares whose last turn is remembered; of others it is as if they had none yet. */
const rememberedMax = 8_192;

export class Turns {
  readonly #busy = { node: new Set<string>(), waypoint: new Set<string>() };
  /** The one served last is at the end. */
  readonly #served = new Map<string, number>();
  #turns = 0;

  /** A node is a share of its own; the waypoints of a namespace are one. */
  static shareOf(caller: string): { readonly kind: 'node' | 'waypoint'; readonly name: string } {
    const waypoint = waypointOfCaller(caller);
    return waypoint
      ? { kind: 'waypoint', name: `waypoint:${waypoint.namespace}` }
      : { kind: 'node', name: caller };
  }

  mayBegin(caller: string): boolean {
    const { kind, name } = Turns.shareOf(caller);
    return this.#busy[kind].size < wholeAnswersMax[kind] && !this.#busy[kind].has(name);
  }

  /** Call only where it may begin; the returned function ends the turn. */
  begin(caller: string): () => void {
    const { kind, name } = Turns.shareOf(caller);
    this.#busy[kind].add(name);
    this.#served.delete(name);
    this.#served.set(name, ++this.#turns);
    const [oldest] = this.#served.keys();
    if (oldest !== undefined && this.#served.size > rememberedMax) this.#served.delete(oldest);
    return () => void this.#busy[kind].delete(name);
  }

  /** Of those that may begin, the one whose share was served longest ago. */
  next<T extends { readonly node: string }>(waiting: Iterable<T>): T | undefined {
    let first: T | undefined;
    let firstTurn = Infinity;
    for (const one of waiting) {
      const turn = this.#served.get(Turns.shareOf(one.node).name) ?? 0;
      if (turn >= firstTurn || !this.mayBegin(one.node)) continue;
      first = one;
      firstTurn = turn;
    }
    return first;
  }
}
