/** The relays that a test runs with: that of WEFT_RELAY, or both. The environment is how a testbed and its agents choose. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { until } from '../../../src/base/wait.js';
import { adminGet, adminPort } from '../../../src/cli/admin.js';
import type { RelayStatus } from '../../../src/model/relay.js';

export type RelayName = 'carrier' | 'typescript';

const chosen = process.env['WEFT_RELAY'];
export const relays: readonly RelayName[] =
  chosen === 'carrier' || chosen === 'typescript' ? [chosen] : ['typescript', 'carrier'];

/** What the agent in a network namespace says of its relay. An agent serves its pods a moment before it serves its status. */
export async function relayStatus(netns: string): Promise<RelayStatus> {
  let problem: unknown;
  const status = await until('the agent says its status', 30_000, () =>
    adminGet(netns, adminPort, '/status').catch((error: unknown) => void (problem = error)),
  ).catch(() => {
    throw problem;
  });
  return (JSON.parse(status) as { relay: RelayStatus }).relay;
}

/** Fails if the agent of a node relays otherwise: a test of one relay must not pass with the other. */
export async function checkRelay(netns: string, name: RelayName): Promise<void> {
  const { relay, carriers } = await relayStatus(netns);
  assert.equal(relay, name);
  assert.equal(carriers.length, name === 'carrier' ? 1 : 0);
}

/** For the testbeds that this process makes from now on. */
export function useRelay(name: RelayName): void {
  process.env['WEFT_RELAY'] = name;
}

/** The name in a testbed of the process that relays a node's bytes. */
export const relayProcess = (relay: RelayName, node: string): string =>
  `${relay === 'carrier' ? 'carrier' : 'agent'}-${node}`;

/** Resident memory of a process, in MiB. */
export const residentMiB = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024;
