/**
 * Which stream is sent a full response next: all resources of a type that it lacks. Few full responses are under way at once, counted for
 * nodes and for waypoints, so that neither waits for the other. Of one caller's share there is one at a time, and the share that was
 * served longest ago comes first: callers that do not read what they asked for delay only themselves.
 */
import { waypointOfCaller } from '../compile/waypoints.js';

/** Full responses under way at once: they bound the memory that nodes cost when they all come back. */
const fullResponsesMax = { node: 8, waypoint: 8 } as const;
/** Shares whose last turn is remembered. Others count as never served. */
const rememberedMax = 8_192;

export class FullResponseTurns {
  readonly #busy = { node: new Set<string>(), waypoint: new Set<string>() };
  /** By share; the one served last is at the end. */
  readonly #served = new Map<string, number>();
  #turns = 0;

  mayBegin(caller: string): boolean {
    const { kind, name } = shareOf(caller);
    return this.#busy[kind].size < fullResponsesMax[kind] && !this.#busy[kind].has(name);
  }

  /** Call only where it may begin. The returned function ends the turn. */
  begin(caller: string): () => void {
    const { kind, name } = shareOf(caller);
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
      const turn = this.#served.get(shareOf(one.node).name) ?? 0;
      if (turn >= firstTurn || !this.mayBegin(one.node)) continue;
      first = one;
      firstTurn = turn;
    }
    return first;
  }
}

/** A node is a share of its own. The waypoints of a namespace are one. */
function shareOf(caller: string): { readonly kind: 'node' | 'waypoint'; readonly name: string } {
  const waypoint = waypointOfCaller(caller);
  return waypoint
    ? { kind: 'waypoint', name: `waypoint:${waypoint.namespace}` }
    : { kind: 'node', name: caller };
}
