/** Translates what a VirtualService's HTTP rule does with its requests to filters. Errors name the field within the rule. Pure. */
import { encodeTarget } from '../../../src/discovery/codec/backend-target.js';
import type { FaultFilter, HeaderFilter } from '../../../src/discovery/gen/weft.js';
import type { BackendTarget, HeaderPair, PathMatch, RouteFilter } from '../../../src/model/route.js';
import type {
  CorsPolicy,
  Destination,
  HeaderChanges,
  HeaderOperations,
  HttpFault,
  HttpRedirect,
  HttpRewrite,
  HttpRule,
} from '../../objects/istio-virtual-service.js';
import { rewrittenPath } from '../../compile/paths.js';
import { optionalMs } from './duration.js';
import { grpcStatusNames } from '../../../src/model/grpc-status.js';

export interface FilterContext {
  /** The port that the client dialed. */
  readonly port: number;
  /** The rule, in logs and metrics. */
  readonly origin: string;
  readonly target: (destination: Destination, field: string) => BackendTarget;
  /** As MatchReader.regexProblem: the expressions of an object have a budget in common. */
  readonly regexProblem: (source: string) => string;
}

/** The filters in the order in which Envoy applies them. @param path of the rule's only match, for rewrites */
export function ruleFilters(
  rule: HttpRule,
  path: PathMatch | undefined,
  context: FilterContext,
): RouteFilter[] {
  const { fault, corsPolicy, directResponse, redirect, rewrite } = rule;
  return [
    ...(fault ? faultFilter(fault, context.origin) : []),
    ...(corsPolicy ? [corsFilter(corsPolicy, context)] : []),
    ...headerFilters(rule.headers),
    ...mirrorFilters(rule, context),
    ...(redirect ? [redirectFilter(redirect, path, context.port)] : []),
    ...(directResponse ? [directResponseFilter(directResponse)] : []),
    ...(rewrite ? [rewriteFilter(rewrite, path, context)] : []),
  ];
}

export const headerFilters = (changes: HeaderChanges | undefined): RouteFilter[] => [
  ...(changes?.request
    ? [{ $case: 'requestHeaders' as const, value: headerFilter(changes.request, 'headers.request') }]
    : []),
  ...(changes?.response
    ? [{ $case: 'responseHeaders' as const, value: headerFilter(changes.response, 'headers.response') }]
    : []),
];

function headerFilter({ set, add, remove }: HeaderOperations, at: string): HeaderFilter {
  const pairs = (values: Readonly<Record<string, string>> | undefined, field: string): HeaderPair[] =>
    Object.entries(values ?? {}).map(([given, value]) => {
      const lower = given.toLowerCase();
      const name = lower === ':authority' ? 'host' : lower;
      // Envoy replaces %REQ(x)% and the like. `%%` is a percent sign.
      if (/%[^%]/.test(value.replaceAll('%%', '')))
        throw new Error(
          `${at}.${field}.${given}: variables of Envoy (%...%) are not filled in; write %% for a percent sign`,
        );
      return { name, value: value.replaceAll('%%', '%') };
    });
  return {
    set: pairs(set, 'set'),
    add: pairs(add, 'add'),
    remove: (remove ?? []).map((name) => name.toLowerCase()),
  };
}

const percentPpm = (field: string, percent: number): number => {
  if (!(percent >= 0 && percent <= 100)) throw new Error(`${field}: ${percent} is not from 0 to 100`);
  return Math.round(percent * 10_000);
};

/** Delays of requests that are pending at the same time, in one worker. Envoy has no limit by default. */
const activeMax = 10_000;

function faultFilter({ delay, abort }: HttpFault, name: string): RouteFilter[] {
  if (abort?.http2Error !== undefined)
    throw new Error('fault.abort.http2Error: Istio does not carry it out either');
  // Without a percentage there are no faults.
  const delayPpm = percentPpm(
    'fault.delay',
    delay?.percentage ? (delay.percentage.value ?? 0) : (delay?.percent ?? 0),
  );
  const abortPpm = percentPpm('fault.abort', abort?.percentage?.value ?? 0);
  const delayMs = optionalMs('fault.delay.fixedDelay', delay?.fixedDelay) ?? 0;
  const value: FaultFilter = {
    name,
    matches: [],
    delayMs,
    delayPpm,
    abort: abort && abortOf(abort),
    abortPpm,
    untilMs: 0,
    activeMax,
    dryRun: false,
  };
  return [{ $case: 'fault', value }];
}

function abortOf({ httpStatus, grpcStatus }: NonNullable<HttpFault['abort']>): FaultFilter['abort'] {
  if (grpcStatus !== undefined && grpcStatus !== '') {
    const code = grpcStatusNames.includes(grpcStatus)
      ? grpcStatusNames.indexOf(grpcStatus)
      : Number(grpcStatus);
    if (!Number.isInteger(code) || code < 0 || code > 16)
      throw new Error(
        `fault.abort.grpcStatus: ${JSON.stringify(grpcStatus.slice(0, 64))} is no status of gRPC`,
      );
    return { $case: 'grpcStatus', value: code };
  }
  if (httpStatus === undefined) throw new Error('fault.abort: it needs httpStatus or grpcStatus');
  if (!Number.isInteger(httpStatus) || httpStatus < 200 || httpStatus > 599)
    throw new Error(`fault.abort.httpStatus: ${httpStatus} is no status of a response`);
  return { $case: 'httpStatus', value: httpStatus };
}

function corsFilter(cors: CorsPolicy, { regexProblem }: FilterContext): RouteFilter {
  const originMatches = (cors.allowOrigins ?? []).map(({ exact, prefix, regex }, index) => {
    if (exact !== undefined) return { name: '', kind: 'exact', value: exact };
    if (prefix !== undefined) return { name: '', kind: 'prefix', value: prefix };
    const why = regexProblem(regex ?? '');
    if (why !== '') throw new Error(`corsPolicy.allowOrigins[${index}].regex: ${why}`);
    return { name: '', kind: 'regex', value: regex ?? '' };
  });
  const isAny = (value: string): boolean => value === '*';
  const ageMs = optionalMs('corsPolicy.maxAge', cors.maxAge);
  const exact = originMatches.filter(({ kind }) => kind === 'exact').map(({ value }) => value);
  return {
    $case: 'cors',
    value: {
      // Each is exact: wildcards within an origin are the Gateway API's.
      allowOrigins: [...exact, ...(cors.allowOrigin ?? [])].filter(isAny).slice(0, 1),
      originMatches: [
        ...originMatches,
        ...(cors.allowOrigin ?? []).map((value) => ({ name: '', kind: 'exact', value })),
      ].filter(({ value }) => !isAny(value)),
      allowMethods: [...(cors.allowMethods ?? [])],
      allowHeaders: [...(cors.allowHeaders ?? [])],
      exposeHeaders: [...(cors.exposeHeaders ?? [])],
      allowCredentials: cors.allowCredentials === true,
      // Browsers take 5 s if the response has no such field.
      maxAgeS: ageMs === undefined ? 5 : Math.round(ageMs / 1000),
      forwardUnmatchedPreflights: cors.unmatchedPreflights !== 'IGNORE',
    },
  };
}

/** As many filters as a rule of the Gateway API may have: each copies the request. */
const mirrorsMax = 16;

function mirrorFilters(rule: HttpRule, { target }: FilterContext): RouteFilter[] {
  const of = (destination: Destination, percent: number, field: string): RouteFilter => ({
    $case: 'mirror',
    value: {
      backend: encodeTarget(target(destination, field)),
      numerator: percentPpm(field, percent),
      denominator: 1_000_000,
    },
  });
  const { mirror, mirrors = [], mirrorPercentage, mirrorPercent, mirror_percent } = rule;
  if (mirrors.length > mirrorsMax)
    throw new Error(`mirrors: ${mirrors.length} are more than the limit of ${mirrorsMax}`);
  // A percentage without a value is 0, as in protobuf.
  const percent = mirrorPercentage ? (mirrorPercentage.value ?? 0) : (mirrorPercent ?? mirror_percent ?? 100);
  return [
    ...(mirror ? [of(mirror, percent, 'mirror')] : []),
    ...mirrors.map(({ destination = {}, percentage }, index) =>
      of(destination, percentage ? (percentage.value ?? 0) : 100, `mirrors[${index}]`),
    ),
  ];
}

function redirectFilter(redirect: HttpRedirect, path: PathMatch | undefined, dialed: number): RouteFilter {
  const { uri, authority = '', port, derivePort, scheme = '', redirectCode, prefixRewrite } = redirect;
  const wellKnown = scheme === 'https' ? 443 : 80;
  const statusCode = redirectCode ?? 301;
  if (!Number.isInteger(statusCode) || statusCode < 300 || statusCode > 399)
    throw new Error(`redirect.redirectCode: ${statusCode} is no status of a redirect`);
  if (port !== undefined && !(Number.isInteger(port) && port >= 0 && port <= 65_535))
    throw new Error(`redirect.port: ${port} is no port`);
  // Envoy keeps the port of the request's host, if neither a port nor an authority is given.
  const kept = dialed === 80 || authority !== '' ? wellKnown : dialed;
  return {
    $case: 'redirect',
    value: {
      scheme,
      hostname: authority,
      port: port ?? (derivePort === 'FROM_PROTOCOL_DEFAULT' ? wellKnown : derivePort ? dialed : kept),
      path:
        uri !== undefined
          ? { kind: 'full', value: uri }
          : prefixRewrite === undefined
            ? undefined
            : changeOf('redirect.prefixRewrite', prefixRewrite, path),
      statusCode,
    },
  };
}

/** Envoy's prefix rewrite: what was matched is replaced; by an exact path or an expression the whole path was matched. */
function changeOf(field: string, value: string, path: PathMatch | undefined) {
  const isWhole = path?.kind === 'exact' || path?.kind === 'regex';
  const kind = isWhole ? 'full' : 'string-prefix';
  return { kind, value: rewrittenPath(field, value) };
}

function rewriteFilter(
  rewrite: HttpRewrite,
  path: PathMatch | undefined,
  { regexProblem }: FilterContext,
): RouteFilter {
  const { uri, authority = '', uriRegexRewrite: regex } = rewrite;
  if (uri !== undefined && regex) throw new Error('rewrite: give either uri or uriRegexRewrite');
  if (regex) {
    const why = regexProblem(regex.match ?? '');
    if (why !== '') throw new Error(`rewrite.uriRegexRewrite.match: ${why}`);
  }
  return {
    $case: 'rewrite',
    value: {
      hostname: authority,
      path: uri === undefined ? undefined : changeOf('rewrite.uri', uri, path),
      pathSubstitution: regex && { pattern: regex.match ?? '', substitution: regex.rewrite ?? '' },
    },
  };
}

function directResponseFilter({ status, body }: NonNullable<HttpRule['directResponse']>): RouteFilter {
  if (status === undefined || !Number.isInteger(status) || status < 200 || status > 599)
    throw new Error(`directResponse.status: ${status} is no status of a response`);
  const bytes =
    body?.bytes === undefined ? Buffer.from(body?.string ?? '') : Buffer.from(body.bytes, 'base64');
  return { $case: 'directResponse', value: { status, body: bytes } };
}
