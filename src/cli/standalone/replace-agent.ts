/** An upgrade of a testbed's agent: two side by side, until the new one has the node. */
import { until } from '../../base/wait.js';
import { programs } from '../run.js';
import { agentProcess, type Testbed } from './testbed.js';

const takenMsMax = 60_000;

export interface ReplaceOptions {
  /** Another build's agent. */
  readonly program?: string;
  /** Called when the new agent has the node, before the former is asked to end. */
  readonly onTaken?: () => Promise<void> | void;
}

/** Starts a new agent beside the present one; resolves when that has ended. Errors: WEFT_START, WEFT_TIMEOUT. */
export async function replaceAgent(
  testbed: Testbed,
  node: string,
  options: ReplaceOptions = {},
): Promise<void> {
  const name = agentProcess(node);
  const successor = `${name}-next`;
  const former = `${name}-former`;
  const { pid } = testbed.startAgent(node, options.program ?? programs.agent, successor);
  await until(`the next agent of ${node} has it`, takenMsMax, () => {
    testbed.died(successor);
    const state = testbed.readyState(node);
    return state.ready && state.pid === pid;
  });
  await options.onTaken?.();
  testbed.rename(name, former);
  testbed.rename(successor, name);
  await testbed.stop(former, 'SIGTERM', takenMsMax);
}
