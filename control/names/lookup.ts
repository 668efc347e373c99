/** DNS queries of the control plane. */
import { Resolver } from 'node:dns/promises';
import ipaddr from 'ipaddr.js';

/** The addresses of a name and their smallest TTL. An existing name may have none. */
export interface ResolvedName {
  readonly addresses: readonly string[];
  readonly ttlS: number;
}
/** Rejects if no server has answered, so that nothing is known about the name. */
export type LookupName = (name: string) => Promise<ResolvedName>;

const timeoutMs = 3_000;
/** Queries of one name, to different servers. */
const tries = 2;
/** The name, or this kind of address of it, does not exist. */
const absentCodes: ReadonlySet<string> = new Set(['ENOTFOUND', 'ENODATA']);
/** The time until an absent name is resolved again. */
const absentTtlS = 60;

/** Ranges to which a name of somebody else's zone must not lead the pods of a namespace. */
const refusedRanges: ReadonlySet<string> = new Set([
  'loopback',
  'linkLocal',
  'unspecified',
  'multicast',
  'broadcast',
]);
/** Whether an address that a name server gave may become an endpoint. */
export const mayBeEndpoint = (ip: string): boolean => !refusedRanges.has(ipaddr.process(ip).range());

/** Looks names up at the servers of /etc/resolv.conf, without search domains. */
export function dnsLookup(servers?: readonly string[]): LookupName {
  const resolver = new Resolver({ timeout: timeoutMs, tries });
  if (servers) resolver.setServers([...servers]);
  type Answers = readonly { readonly address: string; readonly ttl: number }[];
  const orAbsent = (answers: Promise<Answers>): Promise<Answers> =>
    answers.catch((error: NodeJS.ErrnoException) => {
      if (absentCodes.has(error.code ?? '')) return [];
      throw error;
    });
  return async (name) => {
    const answers = (
      await Promise.all([
        orAbsent(resolver.resolve4(name, { ttl: true })),
        orAbsent(resolver.resolve6(name, { ttl: true })),
      ])
    ).flat();
    return {
      addresses: answers.map(({ address }) => address),
      ttlS: answers.length === 0 ? absentTtlS : Math.min(...answers.map(({ ttl }) => ttl)),
    };
  };
}
