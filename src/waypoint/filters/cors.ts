/** CORS: responses to preflights, and headers of responses to requests from other origins (Gateway API, HTTPCORSFilter). */
import type { CorsFilter } from '../../discovery/gen/weft.js';
import { headerOf, removeHeader, type Headers } from '../http/headers.js';
import type { RequestHead, ResponseHead } from '../http/http-stream.js';
import { Regex, regexProblem } from '../../policy/regex.js';
import { isFieldValue } from './config-values.js';
import { Slot, type FilteredRequest, type FilterKind } from './filter.js';
import { CurrentTime } from './request-match.js';

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
    const clock = new CurrentTime();
    const isOther = originCondition(config.originMatches, clock);
    const isAllowed = (request: FilteredRequest): IsAllowed => {
      if (!isOther) return originAllowed;
      clock.time = request.context.state.regexTime(request.client.group);
      return (of, origin) => originAllowed(of, origin) || isOther(origin);
    };
    return {
      onRequest(request) {
        const head = preflightOf(request.downstream.head, filter, isAllowed(request));
        // The response to a preflight is complete: no CORS headers are added to it later.
        decisive.set(request, head ? undefined : filter);
        return head && { kind: 'response', head };
      },
      onResponse(request, { headers }) {
        if (decisive.get(request) !== filter) return;
        const origin = headerOf(request.authorization.originalHeaders, 'origin');
        addCorsHeaders(headers, origin, filter, isAllowed(request));
      },
    };
  },
};

type IsAllowed = (filter: CorsFilter, origin: string) => boolean;

/** The condition on origins beyond those that are listed. Undefined: there is none. Error: an expression cannot be used. */
function originCondition(
  matches: CorsFilter['originMatches'],
  clock: CurrentTime,
): ((origin: string) => boolean) | undefined {
  if (matches.length === 0) return undefined;
  const conditions = matches.map(({ kind, value }): ((origin: string) => boolean) => {
    switch (kind) {
      case 'exact':
        return (origin) => origin === value;
      case 'prefix':
        return (origin) => origin.startsWith(value);
      case 'regex': {
        const why = regexProblem(value);
        if (why !== '') throw new Error(`the expression of an origin cannot be used: ${why}`);
        const regex = new Regex(value, clock);
        return (origin) => regex.test(origin);
      }
      default:
        throw new Error(`origin of unknown kind ${JSON.stringify(kind.slice(0, 64))}`);
    }
  });
  return (origin) => conditions.some((holds) => holds(origin));
}

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

/** The response to a preflight; undefined if the request is no preflight, or one that is left to the endpoint. */
export function preflightOf(
  head: RequestHead,
  filter: CorsFilter,
  isAllowed: IsAllowed = originAllowed,
): ResponseHead | undefined {
  const origin = headerOf(head.headers, 'origin');
  const method = headerOf(head.headers, 'access-control-request-method');
  if (head.method !== 'OPTIONS' || origin === undefined || method === undefined) return undefined;
  const headers: Headers = [];
  const allowed = isAllowed(filter, origin);
  if (!allowed && filter.forwardUnmatchedPreflights) return undefined;
  if (allowed) {
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
export function addCorsHeaders(
  headers: Headers,
  origin: string | undefined,
  filter: CorsFilter,
  isAllowed: IsAllowed = originAllowed,
): void {
  // Remove the endpoint's own CORS headers: the rule decides.
  for (const name of [
    'access-control-allow-origin',
    'access-control-allow-credentials',
    'access-control-expose-headers',
  ])
    removeHeader(headers, name);
  if (origin === undefined || !isAllowed(filter, origin)) return;
  headers.push(...allowOrigin(filter, origin));
  const exposed = filter.exposeHeaders.join(', ');
  if (exposed !== '') headers.push('access-control-expose-headers', exposed);
}
