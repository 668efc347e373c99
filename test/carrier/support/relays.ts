/** The relays that a test runs with: that of WEFT_RELAY, or both. The environment is how a testbed and its agents choose. */
import { readFileSync } from 'node:fs';

export type RelayName = 'carrier' | 'typescript';

const chosen = process.env['WEFT_RELAY'];
export const relays: readonly RelayName[] =
  chosen === 'carrier' || chosen === 'typescript' ? [chosen] : ['typescript', 'carrier'];

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
