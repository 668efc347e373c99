/** What a rule's filters make of a request and its answer. Pure; the order is fixed: headers, redirect or rewrite, CORS. */
import type { PathChange, RouteFilter } from '../../model/route.js';
import type { RequestHead, ResponseHead } from '../http/http-stream.js';
import { headerOf, removeHeader, setHeader, type Headers } from '../http/headers.js';

export type HeaderFilter = Extract<RouteFilter, { readonly kind: 'request-headers' | 'response-headers' }>;

/** Gateway API, HTTPHeaderFilter: set replaces, add appends to what is there, remove takes all. In place. */
export function changeHeaders(headers: Headers, filter: HeaderFilter): void {
  for (const { name, value } of filter.set) setHeader(headers, name, value);
  for (const { name, value } of filter.add) {
    const before = headers.lastIndexOf(name);
    // RFC 9110, section 5.3: of all headers set-cookie is no list. What separates cookies is a semicolon (RFC 6265, section 4.2.1).
    if (before >= 0 && before % 2 === 0 && name !== 'set-cookie')
      headers[before + 1] = `${headers[before + 1]}${name === 'cookie' ? '; ' : ','}${value}`;
    else headers.push(name, value);
  }
  for (const name of filter.remove) removeHeader(headers, name);
}

/** `path` with its query; `prefix`: what the rule matched. */
export function changePath(path: string, change: PathChange, prefix: string | undefined): string {
  const at = path.indexOf('?');
  const [bare, query] = at < 0 ? [path, ''] : [path.slice(0, at), path.slice(at)];
  if (change.kind === 'full')
    return (change.value.startsWith('/') ? change.value : `/${change.value}`) + query;
  const matched = prefix === undefined || prefix === '/' ? '' : prefix;
  const rest = bare.slice(matched.length);
  const base = change.value.endsWith('/') ? change.value.slice(0, -1) : change.value;
  // One slash between both, whatever either ends or begins with; never none at all.
  const joined = rest === '' ? base || '/' : `${base}${rest.startsWith('/') ? '' : '/'}${rest}`;
  return (joined.startsWith('/') ? joined : `/${joined}`) + query;
}

export type RedirectFilter = Extract<RouteFilter, { kind: 'redirect' }>;

/** Gateway API, HTTPRequestRedirectFilter. `port`: that the request came to. */
export function redirectOf(
  head: RequestHead,
  filter: RedirectFilter,
  prefix: string | undefined,
  port: number,
): ResponseHead {
  const scheme = filter.scheme ?? head.scheme;
  const host = filter.hostname ?? head.authority.replace(/:\d*$/, '');
  const wellKnown = scheme === 'https' ? 443 : 80;
  // Without a port of its own: the scheme's where a scheme is named, else that of the listener, here the Service's.
  const to = filter.port ?? (filter.scheme === undefined ? port : wellKnown);
  const path = filter.path ? changePath(head.path, filter.path, prefix) : head.path;
  const location = `${scheme}://${host}${to === wellKnown ? '' : `:${to}`}${path}`;
  return { status: filter.statusCode, headers: ['location', location] };
}

export type CorsFilter = Extract<RouteFilter, { kind: 'cors' }>;

function originAllowed(filter: CorsFilter, origin: string): boolean {
  return filter.allowOrigins.some((allowed) => {
    if (allowed === '*' || allowed === origin) return true;
    const at = allowed.indexOf('://*');
    if (at < 0) return false;
    const scheme = allowed.slice(0, at + 3);
    const suffix = allowed.slice(at + 4);
    return (
      origin.startsWith(scheme) && origin.endsWith(suffix) && origin.length > scheme.length + suffix.length
    );
  });
}

/** With credentials a `*` would mean itself to browsers: what was asked for is named instead. */
const listed = (values: readonly string[], asked: string | undefined, credentials: boolean): string =>
  values.includes('*') && credentials ? (asked ?? '') : values.join(', ');

/** The answer to a preflight; undefined where the request is none. */
export function preflightOf(head: RequestHead, filter: CorsFilter): ResponseHead | undefined {
  const origin = headerOf(head.headers, 'origin');
  const method = headerOf(head.headers, 'access-control-request-method');
  if (head.method !== 'OPTIONS' || origin === undefined || method === undefined) return undefined;
  const headers: Headers = [];
  if (originAllowed(filter, origin)) {
    headers.push(...allowOrigin(filter, origin));
    const asked = headerOf(head.headers, 'access-control-request-headers');
    const methods = listed(filter.allowMethods, method, filter.allowCredentials);
    if (methods !== '') headers.push('access-control-allow-methods', methods);
    const names = listed(filter.allowHeaders, asked, filter.allowCredentials);
    if (names !== '') headers.push('access-control-allow-headers', names);
    headers.push('access-control-max-age', String(filter.maxAgeS));
  }
  return { status: 204, headers };
}

function allowOrigin(filter: CorsFilter, origin: string): Headers {
  const all = filter.allowOrigins.includes('*') && !filter.allowCredentials;
  const headers: Headers = ['access-control-allow-origin', all ? '*' : origin];
  if (!all) headers.push('vary', 'origin');
  if (filter.allowCredentials) headers.push('access-control-allow-credentials', 'true');
  return headers;
}

/** Of an answer to a request from another origin. In place. */
export function addCorsHeaders(headers: Headers, origin: string | undefined, filter: CorsFilter): void {
  // What the endpoint says about it would be a second answer.
  for (const name of [
    'access-control-allow-origin',
    'access-control-allow-credentials',
    'access-control-expose-headers',
  ])
    removeHeader(headers, name);
  if (origin === undefined || !originAllowed(filter, origin)) return;
  headers.push(...allowOrigin(filter, origin));
  const exposed = filter.exposeHeaders.join(', ');
  if (exposed !== '') headers.push('access-control-expose-headers', exposed);
}
