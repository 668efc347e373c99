/** The agent of a testbed's node: its files, and what it reports of itself. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Where agents pin, one folder per instance. */
export const pinRoot = '/sys/fs/bpf/weft';

export interface AgentReadiness {
  readonly ready: boolean;
  /** Of the agent that says so. */
  readonly pid?: number;
  readonly pods: readonly { readonly uid: string; readonly certificate: boolean }[];
  /** Pods that wait to be taken in, and why. */
  readonly waiting?: Readonly<Record<string, string>>;
  readonly control?: { readonly state: string; readonly why: string };
}

/** What an agent has last said of itself in its run directory. */
export function readReadiness(run: string): AgentReadiness {
  try {
    return JSON.parse(readFileSync(join(run, 'ready'), 'utf8')) as AgentReadiness;
  } catch {
    return { ready: false, pods: [] };
  }
}

export const runDirOf = (state: string, node: string): string => join(state, `agent-${node}`);
export const agentProcess = (node: string): string => `agent-${node}`;
