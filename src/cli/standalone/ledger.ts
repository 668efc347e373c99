/** The ledger of a testbed. Each part is recorded before it is created, so that `down` finds all parts even if `up` was killed. */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { errorText, WeftError } from '../../base/errors.js';
import type { ProcessMark } from '../run.js';

/** The state directory of `weft standalone`. */
export const stateDefault = '/run/weft/standalone';

/** Content of bed.json in the state directory: the parts of a testbed that `down` removes. */
export interface Ledger {
  /** Process that created the testbed. A demo runs as long as its testbed. `standalone up` ends earlier. */
  readonly owner: ProcessMark | undefined;
  readonly from: string;
  readonly nodes: readonly { readonly name: string; readonly netns: string }[];
  readonly netns: string[];
  readonly instances: readonly string[];
  /** Waypoints that should run. `process` is a name in `processes`. */
  readonly waypoints: { readonly gateway: string; readonly netns: string; readonly process: string }[];
  processes: Record<string, ProcessMark>;
}

/** Environment variable of every program of a testbed: the state directory. It is set before the program is recorded. */
export const testbedVariable = 'WEFT_BED';

/** The file keeps its name in every build: a testbed can be older than the program that removes it. */
export const ledgerPath = (state: string): string => join(state, 'bed.json');

/** Undefined if there is no testbed at `state`. */
export function readLedger(state: string): Ledger | undefined {
  try {
    return JSON.parse(readFileSync(ledgerPath(state), 'utf8')) as Ledger;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new WeftError('WEFT_BED', `cannot read ${ledgerPath(state)}: ${errorText(error)}`, {
      cause: error,
    });
  }
}

/** Replaces the ledger of the testbed at `state` atomically. */
export function writeLedger(state: string, ledger: Ledger): void {
  const path = ledgerPath(state);
  writeFileSync(`${path}.new`, JSON.stringify(ledger), { mode: 0o600 });
  renameSync(`${path}.new`, path);
}
