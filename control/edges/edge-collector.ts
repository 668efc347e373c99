/** Takes reports of edges: each counts once, and only with what its caller may report. */
import { decodeEdge } from '../../src/discovery/codec/edge.js';
import type { EdgeReport } from '../../src/discovery/gen/weft.js';
import { edgesKeptMs } from '../../src/model/edge.js';
import type { Caller } from '../authentication/authenticator.js';
import type { EdgeStore } from './edge-store.js';
import { mayReport, type EdgeRegistry } from './may-report.js';

/** Programs of one caller whose reports are kept apart: replicas of a waypoint, and an agent and its successor. */
const programsMax = 64;
const sweepMs = 60_000;

export type RefusedEdge = 'undecodable' | 'not-its-own';

export interface EdgeCollectorParts {
  readonly store: Pick<EdgeStore, 'add'>;
  readonly registry: EdgeRegistry;
  readonly onRefused: (why: RefusedEdge, edges: number) => void;
  readonly now?: () => number;
}

interface Program {
  readonly number: number;
  readonly atMs: number;
}

export class EdgeCollector {
  /** The last report of each program, by caller. */
  readonly #programs = new Map<string, Map<string, Program>>();
  readonly #now: () => number;
  #sweptMs = 0;

  constructor(private readonly parts: EdgeCollectorParts) {
    this.#now = parts.now ?? Date.now;
  }

  /** @param caller authenticated */
  report(caller: Pick<Caller, 'name' | 'namespaces'>, report: EdgeReport): void {
    if (!this.#isNew(caller.name, report)) return;
    const { store, registry, onRefused } = this.parts;
    const refused: Record<RefusedEdge, number> = { undecodable: 0, 'not-its-own': 0 };
    for (const encoded of report.edges) {
      const edge = decodeEdge(encoded);
      const reported = edge && mayReport(caller, edge, registry);
      if (!edge) refused.undecodable++;
      else if (!reported) refused['not-its-own']++;
      else {
        const { namespace, destination } = reported;
        // Clocks differ: only the difference of the program's own times counts.
        store.add({ ...edge, destination }, caller.name, namespace, report.toMs - edge.counts.lastSeenMs);
      }
    }
    for (const why of ['undecodable', 'not-its-own'] as const)
      if (refused[why] > 0) onRefused(why, refused[why]);
  }

  #isNew(caller: string, { program, number }: EdgeReport): boolean {
    const nowMs = this.#now();
    if (nowMs - this.#sweptMs >= sweepMs) this.#sweep(nowMs);
    let programs = this.#programs.get(caller);
    if (!programs) this.#programs.set(caller, (programs = new Map()));
    if (number <= (programs.get(program)?.number ?? 0)) return false;
    programs.delete(program);
    programs.set(program, { number, atMs: nowMs });
    const [oldest] = programs.keys();
    if (programs.size > programsMax && oldest !== undefined) programs.delete(oldest);
    return true;
  }

  #sweep(nowMs: number): void {
    this.#sweptMs = nowMs;
    for (const [caller, programs] of this.#programs) {
      // A report is sent again for at most this long.
      for (const [program, { atMs }] of programs) if (nowMs - atMs > edgesKeptMs) programs.delete(program);
      if (programs.size === 0) this.#programs.delete(caller);
    }
  }
}
