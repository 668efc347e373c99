/** CORS: responses to preflights, and headers of responses to requests from other origins (Gateway API, HTTPCORSFilter). */
import type { CorsFilter } from '../../discovery/gen/weft.js';
import { headerOf, removeHeader, type Headers } from '../http/headers.js';
import type { RequestHead, ResponseHead } from '../http/http-stream.js';
import { isFieldValue } from './config-values.js';
import { Slot, type FilterKind } from './filter.js';

/** The CORS filter that decides about the response: the last one, whose rule or backend is closer to the endpoint. */
const decisive = new Slot<CorsFilter>();

export const cors: FilterKind<CorsFilter> = {
  stage: 'route',
  // The endpoint's own CORS headers, and those that other filters set, are replaced.
  respondsLast: true,
  compile(config) {
    const filter: CorsFilter = {
      ...config,
      allowOrigins: config.allowOrigins.filter(isFieldValue),
      allowMethods: config.allowMethods.filter(isFieldValue),
      allowHeaders: config.allowHeaders.filter(isFieldValue),
      exposeHeaders: config.exposeHeaders.filter(isFieldValue),
    };
    return {
      onRequest(request) {
        const head = preflightOf(request.downstream.head, filter);
        // The response to a preflight is complete: no CORS headers are added to it later.
        decisive.set(request, head ? undefined : filter);
        return head && { kind: 'response', head };
      },
      onResponse(request, { headers }) {
        if (decisive.get(request) !== filter) return;
        addCorsHeaders(headers, headerOf(request.authorization.originalHeaders, 'origin'), filter);
      },
    };
  },
};

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

/** With credentials, browsers take `*` as a literal name: the requested value is returned instead. */
const listed = (values: readonly string[], asked: string | undefined, credentials: boolean): string =>
  values.includes('*') && credentials ? (asked ?? '') : values.join(', ');

/** The response to a preflight; undefined if the request is no preflight. */
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

/** Sets the CORS headers of a response, in place. `origin`: of the request. */
export function addCorsHeaders(headers: Headers, origin: string | undefined, filter: CorsFilter): void {
  // Remove the endpoint's own CORS headers: the rule decides.
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
