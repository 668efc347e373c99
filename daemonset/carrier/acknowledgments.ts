/**
 * Tells a carrier which ends of flows this agent has recorded. The carrier keeps an end until then, because an agent that is killed may have
 * received it and not written it.
 */
import type { ToCarrierKind } from './protocol.js';

/** Acknowledgments are collected for so long: a carrier may report thousands of ends in a second. */
const collectMs = 20;

export interface AcknowledgmentsParts {
  readonly send: (message: ToCarrierKind) => void;
  /** Calls back once the records so far are written. */
  readonly afterRecords: (call: () => void) => void;
}

export class Acknowledgments {
  readonly #parts: AcknowledgmentsParts;
  /** The last batch of each thread of the carrier whose ends were recorded. */
  #batches = new Map<number, number>();
  #timer: NodeJS.Timeout | undefined;
  #delayMs = collectMs;

  constructor(parts: AcknowledgmentsParts) {
    this.#parts = parts;
  }

  /** Every end of this packet was recorded. */
  recorded(worker: number, batch: number): void {
    this.#batches.set(worker, batch);
    this.#timer ??= setTimeout(() => this.#flush(), this.#delayMs).unref();
  }

  /** Another agent is about to take over: what it need not get, it does not get. */
  hurry(): void {
    this.#delayMs = 0;
    this.#flush();
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const batches = this.#batches;
    if (batches.size === 0) return;
    this.#batches = new Map();
    this.#parts.afterRecords(() => {
      for (const [worker, batch] of batches)
        this.#parts.send({ $case: 'acknowledge', value: { worker, batch } });
    });
  }
}
