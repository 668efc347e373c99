/** Compiles filters of routes to the form in which waypoints apply them. Pure. */
import { encodeTarget } from '../../../src/discovery/codec/backend-target.js';
import type { Annotations } from '../../../src/model/labels.js';
import { viaKey, viaPattern } from '../../../src/model/route-annotations.js';
import type { BackendTarget, HeaderPair, PathChange, RouteFilter } from '../../../src/model/route.js';
import type { BackendRef, PathModifier, RouteFilterObject } from '../../objects/objects.js';
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
 */
export function compileFilter(
  filter: RouteFilterObject,
  targetOf: (ref: BackendRef) => BackendTarget,
  problems: RouteProblems,
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

/** Filters that a route's annotations turn on, for all of its rules, and the annotations that cannot be read. */
export function annotationFilters(annotations: Annotations): {
  readonly filters: readonly RouteFilter[];
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
  return { filters, problems };
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
