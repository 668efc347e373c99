/**
 * Decides when the lease of verdicts is renewed. Every valid verdict must rest on the current view: the lease is renewed only after a
 * sweep has checked all kernel flows that a previous agent allowed against the current policies. If a sweep could not cut all
 * flows that it had to cut, it is repeated before each renewal.
 */
import type { Attempt } from '../attempt.js';
import type { KernelFlows } from './flows.js';
import type { Verdicts } from './verdicts.js';

export interface LeaseParts {
  readonly verdicts: Pick<Verdicts, 'renewLease' | 'refresh'>;
  readonly flows: Pick<KernelFlows, 'sweep' | 'isUnfinished'>;
  /** This kernel does not support kernel flows: no lease is needed. */
  readonly isUnused: boolean;
  readonly attempt: Attempt;
  readonly onCut: (cut: number) => void;
  readonly onNotRenewed: () => void;
}

export class Lease {
  readonly #parts: LeaseParts;
  #isSwept = false;

  constructor(parts: LeaseParts) {
    this.#parts = parts;
  }

  /** Kernel flows that a previous agent allowed have been checked against the current policies. */
  get isSwept(): boolean {
    return this.#isSwept;
  }

  /** Checks kernel flows that began under earlier policies against the current ones. False: incomplete, to be tried again. */
  sweep(): boolean {
    const { attempt, flows, onCut } = this.#parts;
    return attempt('kernel flows could not be checked against the current policies, tried again', () => {
      const cut = flows.sweep();
      if (cut > 0) onCut(cut);
    });
  }

  /** Runs the first sweep; call it until the sweep has succeeded. */
  begin(): void {
    if (!this.#isSwept) this.#isSwept = this.sweep();
  }

  /** The view has changed: kernel flows that are now denied are cut. */
  refresh(): void {
    const { attempt, verdicts } = this.#parts;
    attempt('verdict epochs could not be updated, tried again', () => {
      if (verdicts.refresh()) this.sweep();
    });
  }

  renew(): void {
    const { attempt, verdicts, flows, isUnused, onNotRenewed } = this.#parts;
    if (!this.#isSwept || isUnused) return;
    if (flows.isUnfinished) this.sweep();
    const renewed = attempt(
      'the lease of verdicts is not renewed: new connections go through the agent',
      () => {
        if (verdicts.renewLease()) this.sweep();
      },
    );
    if (!renewed) onNotRenewed();
  }
}
