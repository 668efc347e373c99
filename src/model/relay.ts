/** The program that relays the bytes of a node's connections, where the kernel does not carry them itself. */

export const relays = ['carrier', 'typescript'] as const;
/** `carrier`: the process weft-carrier, which outlives the agent. `typescript`: worker threads of the agent. */
export type Relay = (typeof relays)[number];

/** The relay without a flag: of the environment variable WEFT_RELAY, or the carrier. Other values are ignored. */
export function relayDefault(env: Readonly<Record<string, string | undefined>> = process.env): Relay {
  return relays.find((relay) => relay === env['WEFT_RELAY']) ?? 'carrier';
}

/** A carrier that an agent is connected to. */
export interface CarrierStatus {
  /** Of its socket. */
  readonly name: string;
  readonly build: string;
  readonly pid: number;
  readonly startedMs: number;
  readonly flows: number;
  /** How long its rules still admit connections without the agent. */
  readonly leaseMs: number;
  /** It has been replaced: it takes no new connection. */
  readonly isDraining: boolean;
}

/** What an agent says of its relay. */
export interface RelayStatus {
  readonly relay: Relay;
  /** The carrier in use first, then those that it, or the TypeScript relay, has replaced. */
  readonly carriers: readonly CarrierStatus[];
  /** `typescript`: who chose it. `carrier`: why none is in use, empty if one is. */
  readonly why: string;
}
