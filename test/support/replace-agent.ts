/** An upgrade of a testbed's agent: two side by side, until the new one has the node. */
import { until } from '../../src/base/wait.js';
import { programs } from '../../src/cli/run.js';
import { agentProcess, type Bed } from '../../src/cli/standalone/bed.js';

const takenMsMax = 60_000;

export interface ReplaceOptions {
  /** Another build's agent. */
  readonly program?: string;
  /** Called when the new agent has the node, before the former is asked to end. */
  readonly onTaken?: () => Promise<void> | void;
}

/** Starts a new agent beside the present one; resolves when that has ended. Errors: WEFT_START, WEFT_TIMEOUT. */
export async function replaceAgent(bed: Bed, node: string, options: ReplaceOptions = {}): Promise<void> {
  const name = agentProcess(node);
  const successor = `${name}-next`;
  const former = `${name}-former`;
  const { pid } = bed.startAgent(node, options.program ?? programs.agent, successor);
  await until(`the next agent of ${node} has it`, takenMsMax, () => {
    bed.died(successor);
    const state = bed.readyState(node);
    return state.ready && state.pid === pid;
  });
  await options.onTaken?.();
  bed.rename(name, former);
  bed.rename(successor, name);
  await bed.stop(former, 'SIGTERM', takenMsMax);
}
