/**
 * When the lease of verdicts is renewed: for what was decided by the present view alone, once all that a former life of the agent
 * allowed was held against the policies of today, and after what could not be cut was tried again.
 */
import type { Attempt } from '../attempt.js';
import type { KernelFlows } from './flows.js';
import type { Verdicts } from './verdicts.js';

export interface LeaseParts {
  readonly verdicts: Pick<Verdicts, 'renewLease' | 'refresh'>;
  readonly flows: Pick<KernelFlows, 'sweep' | 'isUnfinished'>;
  /** This kernel cannot carry connections: no lease is needed. */
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

  /** What a former life of the agent allowed was held against the policies of today. */
  get isSwept(): boolean {
    return this.#isSwept;
  }

  /** Connections that were begun under other policies are held against those of today. False: not all were, tried again. */
  sweep(): boolean {
    const { attempt, flows, onCut } = this.#parts;
    return attempt('connections in the kernel could not be held against the policies, tried again', () => {
      const cut = flows.sweep();
      if (cut > 0) onCut(cut);
    });
  }

  /** The first sweep, until it has succeeded. */
  begin(): void {
    if (!this.#isSwept) this.#isSwept = this.sweep();
  }

  /** The view has changed: what is forbidden now ends. */
  refresh(): void {
    const { attempt, verdicts } = this.#parts;
    attempt('verdicts could not be moved, tried again', () => {
      if (verdicts.refresh()) this.sweep();
    });
  }

  renew(): void {
    const { attempt, verdicts, flows, isUnused, onNotRenewed } = this.#parts;
    if (!this.#isSwept || isUnused) return;
    if (flows.isUnfinished) this.sweep();
    const renewed = attempt(
      'the lease of verdicts is not renewed: the agent carries what the kernel did',
      () => {
        if (verdicts.renewLease()) this.sweep();
      },
    );
    if (!renewed) onNotRenewed();
  }
}
