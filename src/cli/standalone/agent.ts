/** The agent of a testbed node: its files and its readiness report. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Root of pinned maps, with one directory per agent instance. */
export const pinRoot = '/sys/fs/bpf/weft';

export interface AgentReadiness {
  readonly ready: boolean;
  /** Process id of the agent that wrote the report. */
  readonly pid?: number;
  readonly pods: readonly { readonly uid: string; readonly certificate: boolean }[];
  /** Pods that wait to be enrolled, with the reason of each. */
  readonly waiting?: Readonly<Record<string, string>>;
  readonly control?: { readonly state: string; readonly why: string };
}

/** The last readiness report in the run directory of an agent. */
export function readReadiness(run: string): AgentReadiness {
  try {
    return JSON.parse(readFileSync(join(run, 'ready'), 'utf8')) as AgentReadiness;
  } catch {
    return { ready: false, pods: [] };
  }
}

export const runDirOf = (state: string, node: string): string => join(state, `agent-${node}`);
export const agentProcess = (node: string): string => `agent-${node}`;
