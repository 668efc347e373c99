/** Shows the progress of a run on stderr: on a terminal one line that is redrawn, elsewhere an occasional line. */
import { plain } from './view.js';

export interface Stream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

export interface Estimate {
  /** 0 to 1. */
  readonly share: number;
  /** Undefined until a step has ended. */
  readonly leftMs?: number;
}

/**
 * The share of steps that are done, and the time left, if further steps take as long as the finished ones. The current step counts
 * by its time so far, at most as one step.
 */
export function estimate(stepsAll: number, stepsDone: number, doneMs: number, currentMs = 0): Estimate {
  if (stepsAll <= 0) return { share: 1, leftMs: 0 };
  const done = Math.min(Math.max(stepsDone, 0), stepsAll);
  if (done === 0) return { share: 0 };
  if (done === stepsAll) return { share: 1, leftMs: 0 };
  const stepMs = doneMs / done;
  const current = stepMs > 0 ? Math.min(currentMs / stepMs, 1) : 0;
  return { share: (done + current) / stepsAll, leftMs: (stepsAll - done - current) * stepMs };
}

/** `3 h 05 min`, `12 min`, `40 s`. */
export function duration(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 90) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, '0')} min`;
}

const barWidth = 24;

export function progressLine({ share, leftMs }: Estimate, text: string, columns: number): string {
  const full = Math.round(share * barWidth);
  const left = leftMs === undefined ? '' : `, ${duration(leftMs)} left`;
  const line = `[${'#'.repeat(full)}${'.'.repeat(barWidth - full)}] ${String(Math.floor(share * 100)).padStart(3)} %${left}  ${plain(text)}`;
  // A line that wraps cannot be redrawn.
  return [...line].slice(0, Math.max(columns - 1, 10)).join('');
}

const redrawMs = 1000;
/** Not on a terminal: a line at each twentieth of the run, and after this time without one. */
const lineShare = 0.05;
const lineMs = 60_000;

export class Progress {
  readonly #stepsAll: number;
  readonly #stream: Stream;
  readonly #now: () => number;
  readonly #startMs: number;
  #begun = 0;
  #stepMs: number;
  #text = '';
  #drawn = false;
  #said = { share: -1, atMs: 0 };
  #timer: NodeJS.Timeout | undefined;

  constructor(
    stepsAll: number,
    stream: Stream = process.stderr,
    now: () => number = () => performance.now(),
  ) {
    this.#stepsAll = stepsAll;
    this.#stream = stream;
    this.#now = now;
    this.#startMs = this.#stepMs = now();
  }

  /** Call before each step: all steps before it are done. */
  step(text: string): void {
    this.#begun++;
    this.#stepMs = this.#now();
    this.#text = text;
    if (this.#stream.isTTY) {
      this.#draw();
      this.#timer ??= setInterval(() => this.#draw(), redrawMs).unref();
      return;
    }
    const { share, leftMs } = this.#estimate();
    if (share - this.#said.share < lineShare && this.#stepMs - this.#said.atMs < lineMs) return;
    this.#said = { share, atMs: this.#stepMs };
    const left = leftMs === undefined ? '' : `, ${duration(leftMs)} left`;
    this.#stream.write(`${Math.floor(share * 100)} %${left}: ${plain(text)}\n`);
  }

  /** Prints a line that is not redrawn. */
  note(text: string): void {
    this.#clear();
    this.#stream.write(`${plain(text)}\n`);
    if (this.#timer) this.#draw();
  }

  end(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#clear();
  }

  #estimate(): Estimate {
    return estimate(
      this.#stepsAll,
      this.#begun - 1,
      this.#stepMs - this.#startMs,
      this.#now() - this.#stepMs,
    );
  }

  #draw(): void {
    this.#stream.write(`\r${progressLine(this.#estimate(), this.#text, this.#stream.columns ?? 80)}\u001b[K`);
    this.#drawn = true;
  }

  #clear(): void {
    if (this.#drawn) this.#stream.write('\r\u001b[K');
    this.#drawn = false;
  }
}
