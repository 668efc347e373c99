/** Who may read from `weft dashboard`, and what browsers may do with its page. Pure. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { isIP } from 'node:net';

/** Scripts, styles and data only from the server itself; the page cannot be framed, and sends no form. */
export const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self' data:",
  "base-uri 'none'",
  "frame-ancestors 'none'",
  "form-action 'none'",
].join('; ');

/** Headers of each response. There is no header that lets pages of other origins read it. */
export const responseHeaders: Readonly<Record<string, string>> = {
  'content-security-policy': contentSecurityPolicy,
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin',
  'cache-control': 'no-store',
};

/** What decides whether a request is served. */
export interface AskedRequest {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  readonly host: string | undefined;
  readonly authorization: string | undefined;
  /** `Sec-Fetch-Site`: browsers say whose page made the request. Undefined: no browser made it. */
  readonly fetchSite: string | undefined;
}
export interface Refusal {
  readonly status: 403 | 401 | 405;
  readonly why: string;
}

/** Without the port, and without the brackets of IPv6. Empty: there is none, or it is no host. */
function hostName(host: string | undefined): string {
  try {
    const { hostname } = new URL(`http://${host ?? ''}`);
    return hostname.replace(/^\[|\]$/g, '');
  } catch {
    return '';
  }
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();

function hasToken(authorization: string | undefined, token: string): boolean {
  const given = /^Bearer ([\w-]+)$/.exec(authorization ?? '')?.[1];
  return given !== undefined && timingSafeEqual(digest(given), digest(token));
}

/**
 * Undefined: the request is served. The host must be an address, against DNS rebinding: a page of another site whose name resolves to this
 * machine sends that name. The page's own files are the same for everybody and need no token. Paths below /api/ need it.
 */
export function refusalOf(request: AskedRequest, token: string): Refusal | undefined {
  const { method, path, host, authorization, fetchSite = 'none' } = request;
  if (method !== 'GET' && method !== 'HEAD')
    return { status: 405, why: 'the dashboard only reads: use GET or HEAD' };
  const name = hostName(host);
  if (name !== 'localhost' && isIP(name) === 0)
    return {
      status: 403,
      why: 'the host of the URL is neither an address nor localhost: open the URL that weft dashboard printed',
    };
  if (!path.startsWith('/api/')) return undefined;
  if (fetchSite !== 'same-origin' && fetchSite !== 'none')
    return { status: 403, why: 'pages of other origins may not read from the dashboard' };
  return hasToken(authorization, token)
    ? undefined
    : {
        status: 401,
        why: 'the token is missing or is that of another run: open the URL that weft dashboard printed',
      };
}
