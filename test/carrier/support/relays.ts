/** The relays that a test runs with: that of WEFT_RELAY, or both. The environment is how a testbed and its agents choose. */
export type RelayName = 'carrier' | 'typescript';

const chosen = process.env['WEFT_RELAY'];
export const relays: readonly RelayName[] =
  chosen === 'carrier' || chosen === 'typescript' ? [chosen] : ['typescript', 'carrier'];

/** For the testbeds that this process makes from now on. */
export function useRelay(name: RelayName): void {
  process.env['WEFT_RELAY'] = name;
}
