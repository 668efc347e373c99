/** Translates the HTTP rules of a VirtualService for one Service port. A rule that cannot be read responds 500 to what it might match. Pure. */
import { errorText } from '../../../src/base/errors.js';
import type { RouteBackend, RouteFilter, RouteMatch, RouteRule } from '../../../src/model/route.js';
import type { HttpRule } from '../../objects/istio-virtual-service.js';
import { targetOf, weightOf } from './virtual-service-destinations.js';
import { ruleFilters, headerFilters } from './virtual-service-filters.js';
import { dividedMatches } from './virtual-service-clients.js';
import { closedBackends, type RuleContext } from './virtual-service-context.js';
import { retryPolicy } from './virtual-service-retries.js';
import { optionalMs } from './duration.js';

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
  const divided = dividedMatches({ match: rule.match, name, at }, context, (match, field) =>
    context.reader.http(match, field),
  );
  if (!divided) return [];
  const { matches, closed, isForNobody } = divided;
  return isForNobody ? [...closed] : [...closed, ...readRule(written, matches, context)];
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
