/**
 * Schedules full responses (all resources of a type that a stream lacks). Few are in flight at once, counted separately for nodes and for
 * waypoints, so that neither waits for the other. Each share has at most one in flight, and the share that was served longest ago comes first:
 * callers that do not read their responses delay only themselves.
 */
import { waypointOfCaller } from '../compile/waypoints.js';

/** Full responses in flight at once. The limit bounds memory when all nodes reconnect together. */
const fullResponsesMax = { node: 8, waypoint: 8 } as const;
/** Number of shares whose last turn is remembered. Other shares are treated as never served. */
const rememberedMax = 8_192;

export class FullResponseTurns {
  readonly #busy = { node: new Set<string>(), waypoint: new Set<string>() };
  /** Number of the last turn by share. The share served last is at the end. */
  readonly #served = new Map<string, number>();
  #turns = 0;

  /** Whether a full response to the caller may start now. */
  mayBegin(caller: string): boolean {
    const { kind, name } = shareOf(caller);
    return this.#busy[kind].size < fullResponsesMax[kind] && !this.#busy[kind].has(name);
  }

  /** Starts a turn. Call only if `mayBegin` is true. The returned function ends the turn. */
  begin(caller: string): () => void {
    const { kind, name } = shareOf(caller);
    this.#busy[kind].add(name);
    this.#served.delete(name);
    this.#served.set(name, ++this.#turns);
    const [oldest] = this.#served.keys();
    if (oldest !== undefined && this.#served.size > rememberedMax) this.#served.delete(oldest);
    return () => void this.#busy[kind].delete(name);
  }

  /** The stream that may start and whose share was served longest ago. */
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

/** Each node is a share of its own. All waypoints of a namespace are one share. */
function shareOf(caller: string): { readonly kind: 'node' | 'waypoint'; readonly name: string } {
  const waypoint = waypointOfCaller(caller);
  return waypoint
    ? { kind: 'waypoint', name: `waypoint:${waypoint.namespace}` }
    : { kind: 'node', name: caller };
}
