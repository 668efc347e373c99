/** Translates the HTTP rules of a VirtualService for one Service port. A rule that cannot be read responds 500 to what it might match. Pure. */
import { errorText } from '../../../src/base/errors.js';
import type { RouteBackend, RouteFilter, RouteMatch, RouteRule } from '../../../src/model/route.js';
import type { HttpRule } from '../../objects/istio-virtual-service.js';
import { targetOf, weightOf, type DestinationLookup } from './virtual-service-destinations.js';
import { ruleFilters, headerFilters } from './virtual-service-filters.js';
import { matchesAt, type MatchReader } from './virtual-service-matches.js';
import { retryPolicy } from './virtual-service-retries.js';
import { clientsOf, type SourceLookup } from './virtual-service-sources.js';
import { optionalMs } from './duration.js';

/** Where the rules are translated to. */
export interface RuleContext {
  /** Namespace of the VirtualService, whose short host names mean its Services. */
  readonly namespace: string;
  readonly port: number;
  /** The name of faults in logs and metrics. */
  readonly origin: string;
  readonly lookup: DestinationLookup & SourceLookup;
  readonly reader: MatchReader;
  /** Reports why a part of the object is closed. Reported more than once, as there are several ports. */
  readonly onProblem: (field: string, why: string) => void;
  /** The first problem of the rule that is being read. */
  problem?: string | undefined;
}

export const closedBackends = (reason: string): RouteBackend[] => [
  { target: { kind: 'invalid', reason }, weight: 1, filters: [] },
];

/** A rule with its field, before delegates are resolved. `name`: of its rule in logs and metrics. */
export interface WrittenRule {
  readonly rule: HttpRule;
  readonly at: string;
  readonly name: string;
  /** The rule's delegate cannot be followed: why. */
  readonly closed?: string;
  /** Namespace of the object that has the rule: a delegate may be in another one. */
  readonly namespace: string;
}

/** Translates one rule: none if it does not apply at the port; several if each match rewrites in its own way. */
export function httpRules(written: WrittenRule, context: RuleContext): RouteRule[] {
  const { rule, at, name } = written;
  const here = matchesAt(rule.match, context.port);
  if (!here) return [];
  context.problem = undefined;
  const matches: RouteMatch[] = [];
  /** Matches of clients whose labels are not known. */
  const unknown: RouteMatch[] = [];
  for (const { match, index } of here) {
    const read = context.reader.http(match, `${at}.match[${index}]`);
    const { certain, unproven } = clientsOf(match, context.lookup);
    if (unproven.length > 0) unknown.push({ ...read, clients: unproven });
    if (!certain) matches.push(read);
    else if (certain.length > 0) matches.push({ ...read, clients: certain });
  }
  const closed: RouteRule[] =
    unknown.length === 0
      ? []
      : [
          {
            name,
            matches: unknown,
            filters: [],
            backends: closedBackends(
              `${at}: sourceLabels: pods of the client's service account differ in these labels, and only the service account is proven`,
            ),
          },
        ];
  // No client can meet the conditions: an empty list would match all.
  if (here.length > 0 && matches.length === 0) return closed;
  return [...closed, ...readRule(written, matches, context)];
}

function readRule(written: WrittenRule, matches: readonly RouteMatch[], context: RuleContext): RouteRule[] {
  const { name, at } = written;
  let why = written.closed ?? context.problem;
  if (why === undefined) {
    try {
      return makeRules(written, matches, context);
    } catch (error) {
      why = `${at}.${errorText(error)}`;
    }
    context.onProblem('', why);
  } else if (written.closed !== undefined) context.onProblem('', why);
  return [{ name, matches, filters: [], backends: closedBackends(why) }];
}

function makeRules(
  { rule, at, name, namespace }: WrittenRule,
  matches: readonly RouteMatch[],
  context: RuleContext,
): RouteRule[] {
  const target = (destination: Parameters<typeof targetOf>[0], field: string) => {
    const found = targetOf(destination, namespace, context.port, context.lookup);
    if (found.kind === 'invalid') context.onProblem(`${at}.${field}`, found.reason);
    return found;
  };
  const { route = [], redirect, directResponse, timeout, retries } = rule;
  const kinds = [route.length > 0, redirect !== undefined, directResponse !== undefined].filter(Boolean);
  if (kinds.length !== 1)
    throw new Error('route: a rule needs one of route, redirect, directResponse and delegate');
  const backends = route.map(({ destination = {}, weight, headers }, index): RouteBackend => ({
    target: target(destination, `route[${index}].destination`),
    weight: weightOf(weight, route.length),
    filters: headerFilters(headers),
  }));
  if (backends.length > 1 && backends.every(({ weight }) => weight === 0))
    throw new Error('route: all weights are 0');
  const policy = retries && retryPolicy(retries);
  const requestTimeoutMs = optionalMs('timeout', timeout);
  const of = (some: readonly RouteMatch[], filters: readonly RouteFilter[]): RouteRule => ({
    name,
    matches: some,
    filters,
    backends,
    ...(requestTimeoutMs === undefined ? {} : { requestTimeoutMs }),
    ...(policy ? { retryPolicy: policy } : {}),
  });
  const filtersFor = (match: RouteMatch | undefined): RouteFilter[] =>
    ruleFilters(rule, match?.path, {
      port: context.port,
      origin: `${context.origin} ${name}`,
      target,
      regexProblem: (source) => context.reader.regexProblem(source),
    });
  // A prefix rewrite replaces what the match has matched.
  const isPerMatch = rule.rewrite?.uri !== undefined || redirect?.prefixRewrite !== undefined;
  if (!isPerMatch || matches.length <= 1) return [of(matches, filtersFor(matches[0]))];
  return matches.map((match) => of([match], filtersFor(match)));
}
