/** URIs of key sets. Pure. */
import { isRecord } from '../../src/base/record.js';

const uriCharsMax = 2_048;

/** Why no keys can be fetched from a URI; undefined if they can. */
export function uriProblem(uri: string): string | undefined {
  if (uri.length > uriCharsMax) return `it is longer than ${uriCharsMax} characters`;
  let url: URL;
  try {
    url = new URL(uri);
  } catch {
    return `${JSON.stringify(uri.slice(0, 64))} is no URI`;
  }
  if (url.protocol !== 'https:' && url.protocol !== 'http:') return 'it must begin with https://';
  if (url.username !== '' || url.password !== '') return 'it must not contain a user or a password';
  if (url.hash !== '') return 'it must not contain a fragment';
  return undefined;
}

const discoveryPath = '/.well-known/openid-configuration';

/** Where an issuer describes itself (OpenID Connect Discovery). */
export const discoveryUri = (issuer: string): string => `${issuer.replace(/\/$/, '')}${discoveryPath}`;

/** Whether a URI leads to the description of an issuer, which names the URI of its keys. */
export const isDiscovery = (uri: string): boolean => new URL(uri).pathname.endsWith(discoveryPath);

/** The URI of the keys in the description of an issuer. Error: it names none that can be fetched. */
export function keysUriIn(description: string): string {
  let parsed: unknown;
  try {
    parsed = JSON.parse(description);
  } catch {
    throw new Error('the description of the issuer is no JSON');
  }
  const uri = isRecord(parsed) ? parsed['jwks_uri'] : undefined;
  if (typeof uri !== 'string') throw new Error('the description of the issuer has no jwks_uri');
  const problem = uriProblem(uri);
  if (problem !== undefined) throw new Error(`jwks_uri: ${problem}`);
  return uri;
}
