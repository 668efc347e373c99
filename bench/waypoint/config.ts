/** Configuration files of the two bench programs that run Weft's proxy: plain.ts and tunnel.ts. */
import type { SocketAddress } from '../../src/model/address.js';
import type { Route } from '../../src/model/route.js';
import type { ServicePolicy } from '../../src/model/service-policy.js';
import type { ServiceKey } from '../../src/model/workload.js';
import type { MeshUpdate } from '../../src/state/store.js';
import type { Svid } from '../../src/tls/svid.js';

export interface PlainConfig {
  readonly listen: SocketAddress;
  readonly service: ServiceKey;
  readonly servicePort: number;
  readonly mesh: MeshUpdate;
  readonly routes: readonly Route[];
  readonly servicePolicies?: readonly ServicePolicy[];
  /** Each source address is a client with an identity of its own. Otherwise clients have none. */
  readonly identities?: true;
}

export interface TunnelConfig extends Omit<PlainConfig, 'servicePort' | 'servicePolicies' | 'identities'> {
  /** Of the waypoint. */
  readonly svid: Svid;
  /** Applied one after the other, and then from the beginning, one for each SIGUSR2. */
  readonly updates: readonly MeshUpdate[];
}

/** The text of a configuration file; a Map is written as `{"$map": entries}`. */
export const writeWeftConfig = (config: object): string =>
  JSON.stringify(config, (_key, value: unknown) => (value instanceof Map ? { $map: [...value] } : value));
/** The reverse of {@link writeWeftConfig}. The caller names the type: the file was written by this bench. */
export const parseWeftConfig = (text: string): unknown =>
  JSON.parse(text, (_key, value: unknown) =>
    value !== null && typeof value === 'object' && '$map' in value
      ? new Map(value.$map as [unknown, unknown][])
      : value,
  );
