/**
 * What a balancer chooses the endpoint by: the hash of a header, cookie, query parameter, or of the client (Envoy: hash_policy). The first key
 * that the request has decides. The hash has no secret, so that all replicas agree: a client can choose its endpoint, for its own requests.
 */
import { randomBytes } from 'node:crypto';
import { hash32 } from '../../base/hash.js';
import type { HashKey, LoadBalancing } from '../../discovery/gen/weft.js';
import { isToken } from '../filters/config-values.js';
import { keyReader, type KeyedRequest, type ReadKey } from '../filters/request-keys.js';
import type { Client } from '../listener/client.js';

/** Takes a cookie that the response has to set. */
export type SetCookie = (cookie: string) => void;

interface Key {
  readonly read: ReadKey;
  /** Makes the cookie that a request without one gets; undefined: it gets none. */
  readonly made: ((value: string) => string) | undefined;
}

/** A path, as a cookie's attribute may have it (RFC 6265, section 4.1.1). */
const cookiePath = /^[\x20-\x3a\x3c-\x7e]*$/;
const cookieValueBytes = 8;

export class RequestHash {
  private constructor(private readonly keys: readonly Key[]) {}

  /** Compiles keys. One that is not understood is left out: balancing restricts nothing. Undefined: none is left. */
  static of(keys: readonly HashKey[]): RequestHash | undefined {
    const compiled = keys.flatMap((key): Key[] => {
      try {
        return [{ read: keyReader(key), made: cookieOf(key) }];
      } catch {
        return [];
      }
    });
    return compiled.length > 0 ? new RequestHash(compiled) : undefined;
  }

  /**
   * The hash of a request; undefined if it has none of the keys.
   * @param setCookie absent: a response cannot set a cookie
   */
  hash(request: KeyedRequest, setCookie?: SetCookie): number | undefined {
    for (const { read, made } of this.keys) {
      const value = read(request);
      if (value !== undefined && value !== '') return hash32(value);
      if (!made || !setCookie) continue;
      const fresh = randomBytes(cookieValueBytes).toString('hex');
      setCookie(made(fresh));
      return hash32(fresh);
    }
    return undefined;
  }

  /** The hash of a connection, which has no headers. */
  hashOfConnection(client: Client): number | undefined {
    return this.hash({ client, downstream: noHead, routeLabel: undefined });
  }
}

const noHead: KeyedRequest['downstream'] = {
  head: { method: '', path: '/', authority: '', scheme: '', headers: [] },
};

function cookieOf({ kind, name, cookieTtlMs, cookiePath: path }: HashKey): Key['made'] {
  if (kind !== 'cookie' || cookieTtlMs === 0 || !isToken(name) || !cookiePath.test(path)) return undefined;
  const attributes = `; Max-Age=${Math.ceil(cookieTtlMs / 1000)}${path === '' ? '' : `; Path=${path}`}; HttpOnly`;
  return (value) => `${name}=${value}${attributes}`;
}

export function requestHashOf(loadBalancing: LoadBalancing | undefined): RequestHash | undefined {
  const { kind } = loadBalancing ?? {};
  if (kind?.$case !== 'ringHash' && kind?.$case !== 'maglev') return undefined;
  return RequestHash.of(kind.value.keys);
}
