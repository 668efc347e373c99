/** Compiles external authorization of TrafficPolicies. Default values are filled in here; they are Envoy's unless a comment says otherwise. Pure. */
import { encodeTarget } from '../../src/discovery/codec/backend-target.js';
import type { ExternalAuthorizationFilter } from '../../src/discovery/gen/weft.js';
import type { RouteFilter } from '../../src/model/route.js';
import type { ServiceKey } from '../../src/model/workload.js';
import { normalizePath } from '../../src/policy/path.js';
import type { ExternalAuthorizationSpec } from '../objects/objects.js';
import { requestMatches, type PolicyContext } from './traffic-policy-requests.js';
import { positiveMs } from './traffic-policy-values.js';

/** Envoy's default. */
export const decisionTimeoutMs = 200;

/** The longest time that a decision is kept: a change of the service's mind holds after that. */
const cacheMsMax = 600_000;

/** Compiles one entry of the section. Errors name the field. @param at the path of the entry, for messages */
export function externalAuthorization(
  spec: ExternalAuthorizationSpec,
  at: string,
  context: PolicyContext,
): RouteFilter {
  const { service, protocol = 'GRPC', grpc, http, body, cache, requestHeaders = [] } = spec;
  if (http && protocol !== 'HTTP') throw new Error(`${at}.http: needs protocol HTTP`);
  if (grpc && protocol !== 'GRPC') throw new Error(`${at}.grpc: needs protocol GRPC`);
  const cacheMs = cache === undefined ? 0 : positiveMs(`${at}.cache`, cache, 0);
  if (cacheMs > cacheMsMax) throw new Error(`${at}.cache: at most 10m`);
  if (cacheMs > 0 && requestHeaders.length === 0)
    throw new Error(`${at}.cache: needs requestHeaders: with all headers no two requests are the same`);
  const namespace = service.namespace ?? context.namespace;
  return {
    $case: 'externalAuthorization',
    value: {
      name: `${context.origin} ${spec.name}`,
      matches: requestMatches(spec.matches, at, context),
      service: encodeTarget({
        kind: 'service',
        service: `${namespace}/${service.name}.${namespace}.svc.cluster.local` as ServiceKey,
        port: service.port,
      }),
      protocol:
        protocol === 'HTTP'
          ? httpProtocol(`${at}.http.pathPrefix`, http?.pathPrefix)
          : {
              $case: 'grpc',
              value: {
                context: Object.entries(grpc?.context ?? {}).map(([name, value]) => ({ name, value })),
              },
            },
      timeoutMs: positiveMs(`${at}.timeout`, spec.timeout, decisionTimeoutMs),
      failOpen: spec.failOpen ?? false,
      // Envoy: 403, which says that the request is forbidden. It is not known to be.
      statusOnError: spec.statusOnError ?? 503,
      requestHeaders: requestHeaders.map((name) => name.toLowerCase()),
      bodyBytesMax: body?.bytesMax ?? 0,
      bodyPartial: body?.partial ?? false,
      cacheMs,
      dryRun: context.dryRun || spec.dryRun === true,
      upstreamHeaders: (spec.upstreamHeaders ?? []).map((name) => name.toLowerCase()),
      clientHeaders: (spec.clientHeaders ?? []).map((name) => name.toLowerCase()),
      routesMayDisable: spec.routesMayDisable ?? false,
    },
  };
}

/** The protocol HTTP with a path that a request can have. Error: it cannot. */
export function httpProtocol(
  at: string,
  pathPrefix = '',
): NonNullable<ExternalAuthorizationFilter['protocol']> {
  if (pathPrefix !== '' && !pathPrefix.startsWith('/')) throw new Error(`${at}: a path begins with /`);
  let normal = '';
  try {
    normal = pathPrefix === '' ? '' : normalizePath(pathPrefix);
  } catch {
    throw new Error(`${at}: no request can have this path`);
  }
  if (normal.includes('?')) throw new Error(`${at}: a path has no query`);
  return { $case: 'http', value: { pathPrefix: normal } };
}
