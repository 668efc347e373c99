/** The request attributes that policies match. */
import type { HttpAttributes } from '../../policy/authorize.js';
import type { RequestHead } from '../http/http-stream.js';
import { parameterName, parametersOf } from '../http/query.js';
import { joinedHeader } from '../http/headers.js';
import { pathOf, readingsOf } from '../../policy/path.js';

/** The readings of a path, computed when a policy first needs them: clients choose the path, and 8 KiB of escapes take 20 ms. */
export function readingsOnDemand(path: string): () => readonly string[] {
  let readings: readonly string[] | undefined;
  return () => (readings ??= readingsOf(pathOf(path)));
}

/** Whether a query has a parameter. Some endpoints take a semicolon for a separator, too. */
export function hasParameter(path: string, name: string): boolean {
  const at = path.indexOf('?');
  if (at < 0) return false;
  const query = path.slice(at + 1);
  const wanted = parameterName(name);
  return (
    parametersOf(query, wanted).length > 0 ||
    (query.includes(';') && parametersOf(query, wanted, true).length > 0)
  );
}

/** What was proven of the client, whatever a rule changes. */
export type ClientAttributes = Pick<HttpAttributes, 'claims' | 'claimsNamespace' | 'remoteIp'>;

/** The attributes of a request as it is sent to the endpoint. */
export function attributesOf(head: RequestHead, client: ClientAttributes = {}): HttpAttributes {
  const readings = readingsOnDemand(head.path);
  return {
    method: head.method,
    host: head.authority.replace(/:\d*$/, ''),
    get paths() {
      return readings();
    },
    header: (name) => (name === 'host' ? head.authority : joinedHeader(head.headers, name)),
    hasParameter: (name) => hasParameter(head.path, name),
    claims: client.claims,
    claimsNamespace: client.claimsNamespace,
    remoteIp: client.remoteIp,
  };
}
