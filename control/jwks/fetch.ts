/**
 * Fetches one key set. The name is resolved here, and the address that is dialed is one that was checked: a name that resolves differently the
 * next time leads nowhere else. There are no redirects, no cookies, no credentials, and no connection is reused.
 */
import { request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { isIP } from 'node:net';
import { errorText } from '../../src/base/errors.js';
import { dnsLookup } from '../names/lookup.js';
import { jwksLimits, maxAgeOf, mayDial, type JwksAllowance } from './decide.js';
import { keySetLimits } from './key-set.js';

export interface FetchedText {
  readonly text: string;
  /** `max-age` of the response. */
  readonly maxAgeS: number | undefined;
}
/** Rejects with the reason, in words for the author of the policy. */
export type FetchKeys = (uri: string) => Promise<FetchedText>;

export interface FetchOptions {
  readonly allow: JwksAllowance;
  /** CAs besides those of Node.js, as PEM. */
  readonly ca?: string | undefined;
  /** Addresses of a name. */
  readonly lookup?: (host: string) => Promise<readonly string[]>;
  readonly timeoutMs?: number;
}

/** By DNS alone: the system's lookup would hold one of the few threads that file access needs, for as long as a name server likes. */
function addressLookup(): (host: string) => Promise<readonly string[]> {
  const lookup = dnsLookup();
  return async (host) => (await lookup(host)).addresses;
}

const howToAllow = "allow it by the control plane's flag --jwks-allow-cidrs, or write the keys inline";

/** The address to dial. Error: there is none that may be dialed. */
async function addressOf(
  host: string,
  lookup: (host: string) => Promise<readonly string[]>,
  allow: JwksAllowance,
): Promise<string> {
  const bare = host.replace(/^\[|\]$/g, '');
  const addresses = isIP(bare) ? [bare] : await lookup(bare);
  const found = addresses.find((one) => mayDial(one, allow));
  if (found !== undefined) return found;
  if (addresses.length === 0) throw new Error(`${bare} has no address`);
  // Not which address: the author of a policy may not be able to resolve the name.
  throw new Error(`${bare} has an address that is not public: ${howToAllow}`);
}

/** The whole body as text. Error: it is too long. */
async function bodyOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > keySetLimits.bytes) throw new Error(`the response has more than ${keySetLimits.bytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

export const keyFetcher =
  ({ allow, ca, lookup = addressLookup(), timeoutMs = jwksLimits.timeoutMs }: FetchOptions): FetchKeys =>
  async (uri) => {
    const url = new URL(uri);
    if (url.protocol !== 'https:' && !(url.protocol === 'http:' && allow.http))
      throw new Error(
        "http:// is not encrypted: use https://, or the control plane's flag --jwks-allow-http",
      );
    const signal = AbortSignal.timeout(timeoutMs);
    try {
      const address = await abortable(addressOf(url.hostname, lookup, allow), signal);
      return await exchange(url, address, { signal, ca });
    } catch (error) {
      if (signal.aborted)
        throw new Error(`no complete response within ${timeoutMs / 1000} s`, { cause: error });
      throw error;
    }
  };

/** A name lookup cannot be aborted: nobody waits for it any longer. */
const abortable = <T>(work: Promise<T>, signal: AbortSignal): Promise<T> =>
  Promise.race([
    work,
    new Promise<never>((_resolve, reject) => {
      signal.addEventListener('abort', () => reject(new Error('timeout')), { once: true });
    }),
  ]);

async function exchange(
  url: URL,
  address: string,
  { signal, ca }: { readonly signal: AbortSignal; readonly ca: string | undefined },
): Promise<FetchedText> {
  const isTls = url.protocol === 'https:';
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const options: RequestOptions & { readonly servername?: string; readonly ca?: string } = {
    method: 'GET',
    host: address,
    port: url.port === '' ? (isTls ? 443 : 80) : Number(url.port),
    path: `${url.pathname}${url.search}`,
    headers: {
      host: url.host,
      accept: 'application/jwk-set+json, application/json',
      // A compressed response could be much longer than it looks.
      'accept-encoding': 'identity',
      'user-agent': 'weft-control',
    },
    agent: false,
    signal,
    maxHeaderSize: 16_384,
    // The certificate has to be the host's, not the address's.
    ...(isTls ? { servername: isIP(host) ? '' : host, ...(ca === undefined ? {} : { ca }) } : {}),
  };
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const made = (isTls ? httpsRequest : httpRequest)(options, resolve);
    made.on('error', (error) => reject(new Error(errorText(error), { cause: error })));
    made.end();
  });
  try {
    const { statusCode = 0, headers } = response;
    if (statusCode >= 300 && statusCode < 400)
      throw new Error(
        `it redirects (status ${statusCode}), which is not followed: write the address that it leads to`,
      );
    if (statusCode !== 200) throw new Error(`the response has the status ${statusCode}`);
    const encoding = headers['content-encoding'];
    if (encoding !== undefined && encoding !== 'identity')
      throw new Error(`the response is compressed (${encoding}), although that was not asked for`);
    return { text: await bodyOf(response), maxAgeS: maxAgeOf(headers['cache-control']) };
  } finally {
    response.destroy();
  }
}
