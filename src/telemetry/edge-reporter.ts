/**
 * Sends what a program has observed to the control plane, as numbered reports. A report that fails is kept and sent again with the same
 * number, so that it counts once. Meanwhile the program's table goes on counting, which bounds the memory.
 */
import { randomUUID } from 'node:crypto';
import { status } from '@grpc/grpc-js';
import { errorText } from '../base/errors.js';
import { edgeLimits, encodeEdge } from '../discovery/codec/edge.js';
import type { EdgeReport } from '../discovery/gen/weft.js';
import { edgesKeptMs, type Edge } from '../model/edge.js';

export const edgeReportMs = 10_000;
/** Until the next try with a control plane that does not know the service. */
const unsupportedMs = 600_000;

export interface EdgeReporterParts {
  /** The edges that were observed since the last call. */
  readonly take: () => readonly Edge[];
  /** Rejects with gRPC's errors. */
  readonly send: (report: EdgeReport) => Promise<void>;
  /** Reports that the control plane will never have. */
  readonly onLost: (reports: number) => void;
  /** A report failed for another reason than the last one. */
  readonly onProblem: (why: string) => void;
  readonly now?: () => number;
}

const codeOf = (error: unknown): unknown => (error as { readonly code?: unknown } | undefined)?.code;

export class EdgeReporter {
  readonly #program = randomUUID();
  #number = 0;
  #waiting: EdgeReport[] = [];
  #sinceMs: number;
  #pauseUntilMs = 0;
  #isSending = false;
  #problem = '';
  readonly #now: () => number;

  constructor(private readonly parts: EdgeReporterParts) {
    this.#now = parts.now ?? Date.now;
    this.#sinceMs = this.#now();
  }

  /** Call it every `edgeReportMs`. Resolves when the reports were sent, or one has failed. Never rejects. */
  async tick(): Promise<void> {
    if (this.#isSending) return;
    this.#isSending = true;
    try {
      await this.#report(this.#now());
    } finally {
      this.#isSending = false;
    }
  }

  async #report(nowMs: number): Promise<void> {
    if (nowMs < this.#pauseUntilMs) return void this.parts.take();
    const current = this.#waiting.filter(({ toMs }) => nowMs - toMs <= edgesKeptMs);
    if (current.length < this.#waiting.length) this.parts.onLost(this.#waiting.length - current.length);
    this.#waiting = current;
    if (this.#waiting.length === 0) this.#take(nowMs);
    for (let [first] = this.#waiting; first; [first] = this.#waiting) {
      try {
        await this.parts.send(first);
        this.#problem = '';
      } catch (error) {
        if (!this.#failed(error)) return;
      }
      this.#waiting.shift();
    }
  }

  #take(nowMs: number): void {
    const edges = this.parts.take().map(encodeEdge);
    for (let at = 0; at < edges.length; at += edgeLimits.edgesPerReport)
      this.#waiting.push({
        program: this.#program,
        number: ++this.#number,
        fromMs: this.#sinceMs,
        toMs: nowMs,
        edges: edges.slice(at, at + edgeLimits.edgesPerReport),
      });
    this.#sinceMs = nowMs;
  }

  /** Whether to go on with the next report. */
  #failed(error: unknown): boolean {
    const code = codeOf(error);
    const why = errorText(error);
    if (why !== this.#problem) this.parts.onProblem(why);
    this.#problem = why;
    if (code === status.UNIMPLEMENTED) {
      this.#waiting = [];
      this.#pauseUntilMs = this.#now() + unsupportedMs;
      return false;
    }
    // The same report would be refused again.
    if (code !== status.INVALID_ARGUMENT && code !== status.PERMISSION_DENIED) return false;
    this.parts.onLost(1);
    return true;
  }
}
