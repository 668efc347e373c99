/** Replaces the agent of a testbed node as an upgrade does: both agents run until the new one has taken over the node. */
import { until } from '../../base/wait.js';
import { programs } from '../run.js';
import { agentProcess, type Testbed } from './testbed.js';

const takenMsMax = 60_000;

export interface ReplaceOptions {
  /** Agent of another build. */
  readonly program?: string;
  /** Called when the new agent has taken over, before the former one is stopped. */
  readonly onTaken?: () => Promise<void> | void;
}

/**
 * Starts a new agent beside the present one. Resolves when the new agent has taken over the node, with the process name of the
 * former agent, which still relays its connections. Errors: WEFT_START, WEFT_TIMEOUT. On an error the new agent is ended.
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
    await until(`the new agent of ${node} takes over`, takenMsMax, () => {
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

/** Like `takeOver`, but also stops the former agent and resolves when it has ended. */
export async function replaceAgent(
  testbed: Testbed,
  node: string,
  { program, onTaken }: ReplaceOptions = {},
): Promise<void> {
  const former = await takeOver(testbed, node, program);
  await onTaken?.();
  await testbed.stop(former, 'SIGTERM', takenMsMax);
}
