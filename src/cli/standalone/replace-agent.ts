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

/**
 * Starts a new agent beside the present one; resolves when it has the node, with the name of the former agent's process, which
 * still relays its connections. Errors: WEFT_START, WEFT_TIMEOUT; the new agent is ended then.
 */
export async function takeOver(
  testbed: Testbed,
  node: string,
  program: string = programs.agent,
): Promise<string> {
  const name = agentProcess(node);
  const successor = `${name}-next`;
  const { pid } = testbed.startAgent(node, program, successor);
  try {
    await until(`the next agent of ${node} has it`, takenMsMax, () => {
      testbed.died(successor);
      const state = testbed.readyState(node);
      return state.ready && state.pid === pid;
    });
  } catch (error) {
    await testbed.stop(successor, 'SIGKILL');
    throw error;
  }
  const former = `${name}-before-${pid}`;
  testbed.rename(name, former);
  testbed.rename(successor, name);
  return former;
}

/** As `takeOver`; resolves when the former agent has ended. */
export async function replaceAgent(
  testbed: Testbed,
  node: string,
  { program, onTaken }: ReplaceOptions = {},
): Promise<void> {
  const former = await takeOver(testbed, node, program);
  await onTaken?.();
  await testbed.stop(former, 'SIGTERM', takenMsMax);
}
