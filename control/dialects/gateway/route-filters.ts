/** Compiles filters of routes to the form in which waypoints apply them. Pure. */
import { encodeTarget } from '../../../src/discovery/codec/backend-target.js';
import type { Annotations } from '../../../src/model/labels.js';
import { externalAuthorizationKey, viaKey, viaPattern } from '../../../src/model/route-annotations.js';
import type { BackendTarget, HeaderPair, PathChange, RouteFilter } from '../../../src/model/route.js';
import type { BackendRef, PathModifier, RouteFilterObject } from '../../objects/objects.js';
import { decisionTimeoutMs, httpProtocol } from '../../compile/external-authorization.js';
import { rewrittenPath } from '../../compile/paths.js';
import type { RouteProblem } from './route-parents.js';

/** Problems of a route's references and filters. Only the first of each sort is kept, because a condition has one reason. */
export class RouteProblems {
  unsupported: RouteProblem | undefined;
  unresolved: RouteProblem | undefined;
  /** One message per invalid rule, with the field. */
  readonly invalid: string[] = [];
}

/**
 * Compiles a filter. Undefined if Weft does not support it, which is added to the problems. Errors name the field that cannot be read.
 * @param targetOf resolves a backend reference
 * @param name the route, for logs
 */
export function compileFilter(
  filter: RouteFilterObject,
  targetOf: (ref: BackendRef) => BackendTarget,
  problems: RouteProblems,
  name: string,
): RouteFilter | undefined {
  switch (filter.type) {
    case 'RequestHeaderModifier':
      return { $case: 'requestHeaders', value: headerChange(part(filter, 'requestHeaderModifier')) };
    case 'ResponseHeaderModifier':
      return { $case: 'responseHeaders', value: headerChange(part(filter, 'responseHeaderModifier')) };
    case 'RequestRedirect': {
      const {
        scheme = '',
        hostname = '',
        port = 0,
        path,
        statusCode = 302,
      } = part(filter, 'requestRedirect');
      return {
        $case: 'redirect',
        value: { scheme, hostname, port, path: path && pathChange(path), statusCode },
      };
    }
    case 'URLRewrite': {
      const { hostname = '', path } = part(filter, 'urlRewrite');
      return {
        $case: 'rewrite',
        value: { hostname, path: path && rewritten(pathChange(path)), pathSubstitution: undefined },
      };
    }
    case 'RequestMirror': {
      const { backendRef, percent, fraction } = part(filter, 'requestMirror');
      if (percent !== undefined && fraction)
        throw new Error('requestMirror: give either percent or fraction');
      const { numerator = percent ?? 100, denominator = 100 } = fraction ?? {};
      if (numerator > denominator)
        throw new Error(`requestMirror.fraction: ${numerator} is more than ${denominator}`);
      return {
        $case: 'mirror',
        value: { backend: encodeTarget(targetOf(backendRef)), numerator, denominator },
      };
    }
    case 'CORS': {
      const cors = part(filter, 'cors');
      return {
        $case: 'cors',
        value: {
          allowOrigins: cors.allowOrigins ?? [],
          allowMethods: cors.allowMethods ?? [],
          allowHeaders: cors.allowHeaders ?? [],
          exposeHeaders: cors.exposeHeaders ?? [],
          allowCredentials: cors.allowCredentials ?? false,
          maxAgeS: cors.maxAge ?? 5,
          originMatches: [],
          forwardUnmatchedPreflights: false,
        },
      };
    }
    case 'ExternalAuth':
      return externalAuth(part(filter, 'externalAuth'), targetOf, name);
    case 'ExtensionRef': {
      const { group, kind, name } = part(filter, 'extensionRef');
      problems.unresolved ??= {
        reason: 'InvalidKind',
        message: `filter ${name} is a ${kind}.${group}: extension filters are not supported`,
      };
      return undefined;
    }
    default:
      problems.unsupported ??= {
        reason: 'UnsupportedValue',
        message: `filters of type ${filter.type} are not supported: rules that use them respond with an error`,
      };
      return undefined;
  }
}

/** The longest body that a decision service gets. */
const bodyBytesMax = 1 << 20;

/** GEP-1494: without a decision the request is refused. */
function externalAuth(
  { protocol, backendRef, grpc, http, forwardBody }: NonNullable<RouteFilterObject['externalAuth']>,
  targetOf: (ref: BackendRef) => BackendTarget,
  name: string,
): RouteFilter {
  if ((grpc !== undefined) !== (protocol === 'GRPC') || (http !== undefined) !== (protocol === 'HTTP'))
    throw new Error(`externalAuth: protocol ${protocol} needs ${protocol.toLowerCase()}, and no other`);
  const { maxSize = 0 } = forwardBody ?? {};
  if (maxSize > bodyBytesMax) throw new Error(`externalAuth.forwardBody.maxSize: at most ${bodyBytesMax}`);
  const lower = (names: readonly string[] = []): string[] => names.map((one) => one.toLowerCase());
  const path = http?.path === undefined || http.path.startsWith('/') ? http?.path : `/${http.path}`;
  return {
    $case: 'externalAuthorization',
    value: {
      name,
      matches: [],
      service: encodeTarget(targetOf(backendRef)),
      protocol: http
        ? httpProtocol('externalAuth.http.path', path)
        : { $case: 'grpc', value: { context: [] } },
      timeoutMs: decisionTimeoutMs,
      failOpen: false,
      statusOnError: 503,
      requestHeaders: lower((grpc ?? http)?.allowedHeaders),
      bodyBytesMax: maxSize,
      bodyPartial: false,
      cacheMs: 0,
      dryRun: false,
      upstreamHeaders: http
        ? lower(http.allowedResponseHeaders?.length ? http.allowedResponseHeaders : ['*'])
        : [],
      clientHeaders: [],
      routesMayDisable: false,
    },
  };
}

/** Filters that a route's annotations turn on, for all of its rules, and the annotations that cannot be read. */
export function annotationFilters(annotations: Annotations): {
  readonly filters: readonly RouteFilter[];
  readonly withoutExternalAuthorization: boolean;
  readonly problems: readonly string[];
} {
  const filters: RouteFilter[] = [];
  const problems: string[] = [];
  const pseudonym = annotations[viaKey];
  if (pseudonym !== undefined) {
    if (viaPattern.test(pseudonym)) filters.push({ $case: 'via', value: { pseudonym } });
    else {
      const shown = JSON.stringify(pseudonym.slice(0, 64));
      problems.push(
        `annotation ${viaKey}: ${shown} is no name: expected a token such as api.shop, at most 64 characters; no Via field is added`,
      );
    }
  }
  const authorization = annotations[externalAuthorizationKey];
  if (authorization !== undefined && authorization !== 'disabled')
    problems.push(
      `annotation ${externalAuthorizationKey}: ${JSON.stringify(authorization.slice(0, 64))} is not disabled: decision services are asked`,
    );
  return { filters, withoutExternalAuthorization: authorization === 'disabled', problems };
}

function part<K extends Exclude<keyof RouteFilterObject, 'type'>>(
  filter: RouteFilterObject,
  field: K,
): NonNullable<RouteFilterObject[K]> {
  const found = filter[field];
  if (found === undefined) throw new Error(`a filter of type ${filter.type} needs ${field}`);
  return found;
}

const pair = ({ name, value }: HeaderPair): HeaderPair => ({ name: name.toLowerCase(), value });
const headerChange = (change: NonNullable<RouteFilterObject['requestHeaderModifier']>) => ({
  set: (change.set ?? []).map(pair),
  add: (change.add ?? []).map(pair),
  remove: (change.remove ?? []).map((name) => name.toLowerCase()),
});

function pathChange({ type, replaceFullPath, replacePrefixMatch }: PathModifier): PathChange {
  const [kind, value, field] =
    type === 'ReplaceFullPath'
      ? (['full', replaceFullPath, 'replaceFullPath'] as const)
      : (['prefix', replacePrefixMatch, 'replacePrefixMatch'] as const);
  if (value === undefined) throw new Error(`a path of type ${type} needs ${field}`);
  return { kind, value };
}

/** Checks a rewrite. Error: no request could be sent to the path. */
function rewritten(change: PathChange): PathChange {
  rewrittenPath('urlRewrite.path', change.value);
  return change;
}
