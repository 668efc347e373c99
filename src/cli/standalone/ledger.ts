/** What is written down of a testbed before it is made, so that `down` finds all of it, also after `up` was killed. */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { errorText, WeftError } from '../../base/errors.js';
import type { ProcessMark } from '../run.js';

/** The state directory of `weft standalone`. */
export const stateDefault = '/run/weft/standalone';

/** What `down` needs to know of a testbed; testbed.json in its state directory. */
export interface Ledger {
  /** Who made it; a demo lives as long as its testbed, `standalone up` does not. */
  readonly owner: ProcessMark | undefined;
  readonly from: string;
  readonly nodes: readonly { readonly name: string; readonly netns: string }[];
  readonly netns: string[];
  readonly instances: readonly string[];
  /** Those that are to run: `process` is a name in `processes`. */
  readonly waypoints: { readonly gateway: string; readonly netns: string; readonly process: string }[];
  processes: Record<string, ProcessMark>;
}

/** Every program of a testbed carries this with the testbed's state directory, from before it is written down. */
export const testbedVariable = 'WEFT_BED';

export const ledgerPath = (state: string): string => join(state, 'testbed.json');

/** Undefined where no testbed stands at `state`. */
export function readLedger(state: string): Ledger | undefined {
  try {
    return JSON.parse(readFileSync(ledgerPath(state), 'utf8')) as Ledger;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new WeftError('WEFT_BED', `${ledgerPath(state)} is not readable: ${errorText(error)}`, {
      cause: error,
    });
  }
}

/** Replaces the ledger of the testbed at `state` in one step. */
export function writeLedger(state: string, ledger: Ledger): void {
  const path = ledgerPath(state);
  writeFileSync(`${path}.new`, JSON.stringify(ledger), { mode: 0o600 });
  renameSync(`${path}.new`, path);
}
