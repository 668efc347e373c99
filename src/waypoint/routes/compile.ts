/**
 * Compiles the routes of one Service port into one function from a request to its rule: compiled once per configuration, called once per
 * request. The precedence is the Gateway API's (HTTPRouteRule.matches); a regular expression ranks between exact paths and prefixes.
 */
import { errorText } from '../../base/errors.js';
import type { PathMatch, Route, RouteMatch, RouteRule } from '../../model/route.js';
import { Regex, RegexCost, RegexTime } from '../../policy/regex.js';
import type { RequestHead } from '../http/http-stream.js';
import { portChainOf, ruleChainOf, type PortChain, type RuleChain } from '../filters/chain.js';
import { isToken } from '../filters/config-values.js';
import type { Client } from '../listener/client.js';
import { pathOf } from '../../policy/path.js';
import { allOf, conditionOf, pathCondition, type Condition } from './match-condition.js';

export interface Matched {
  readonly route: Route;
  readonly rule: RouteRule;
  /** `<namespace>/<name>/<rule's name or index>`, for logs and metrics. */
  readonly label: string;
  /** The path prefix that matched, for rewrites. */
  readonly prefix: string | undefined;
  /** The rule's filters, composed with those of the Service port. */
  readonly chain: RuleChain;
}

/** @param client needed by the matches of ordered routes that name clients */
export type Matcher = (head: RequestHead, client?: Pick<Client, 'identity'>) => Matched | undefined;

interface Entry {
  readonly matched: Matched;
  readonly port: PortChain;
  readonly holds: Condition | undefined;
  readonly regexes: readonly Regex[];
  readonly order: readonly (number | string)[];
}

const any: RouteMatch = { headers: [], query: [] };
/** The prefix `/` matches every path, so it ranks below the name of a gRPC method (suffix). */
const rankOf = ({ kind, value }: PathMatch): number =>
  kind === 'exact'
    ? 0
    : kind === 'regex' || kind === 'string-prefix'
      ? 1
      : kind === 'suffix'
        ? 3
        : value === '/'
          ? 4
          : 2;
/** The path may be of a kind that this version does not know. It may precede all kinds except exact paths, which precede all others. */
const isAnyPath = ({ unreadable, path }: RouteMatch): boolean => unreadable === true && !path;
const anyPathRank = 0.5;

/**
 * Compiles routes. Undefined if there are none.
 * Routes whose rules match in the order written yield to all others: the control plane sends both only for a moment, in separate updates.
 * @param routes of one kind, and only those that apply to the client
 * @param time the time budget of their regular expressions
 * @param port the filters of the Service port
 */
export function compileRoutes(
  routes: readonly Route[],
  time: RegexTime = new RegexTime(),
  port: PortChain = portChainOf(),
): Matcher | undefined {
  if (routes.length === 0) return undefined;
  const sorted = routes.filter(({ ordered }) => ordered !== true);
  if (sorted.length === 0) return compileOrdered(routes, time, port);
  const exact = new Map<string, Entry[]>();
  const prefix = new Map<string, Entry[]>();
  const suffix = new Map<string, Entry[]>();
  const regex: Entry[] = [];
  for (const route of sorted) {
    route.rules.forEach((given, index) => {
      const { rule, chain } = compileRule(given, port);
      const matches = rule.matches.length > 0 ? rule.matches : [any];
      for (const match of matches) {
        const path = match.path ?? anyPath;
        const { made, regexes } = regexesOf(time);
        // The waypoint of a newer version may send it. It is matched as an expression is: one after the other.
        const isText = path.kind === 'string-prefix';
        const holds = [isText ? pathCondition(path) : undefined, conditionOf(match, path, made)];
        const entry: Entry = {
          matched: { route, rule, label: labelOf(route, rule, index), prefix: prefixOf(path), chain },
          port,
          holds: allOf(holds.filter((one) => one !== undefined)),
          regexes,
          order: orderOf(route, index, match, path),
        };
        if (path.kind === 'regex' || path.kind === 'string-prefix' || isAnyPath(match)) regex.push(entry);
        else listOf({ exact, prefix, suffix }[path.kind], path.value).push(entry);
      }
    });
  }
  for (const table of [exact, prefix, suffix]) for (const list of table.values()) list.sort(byOrder);
  regex.sort(byOrder);
  const root = prefix.get('/');
  const deep = prefix.size > (root ? 1 : 0);
  let longest = 0;
  for (const value of prefix.keys()) longest = Math.max(longest, value.length);
  return (head) => {
    const path = pathOf(head.path);
    const found =
      first(exact.size > 0 ? exact.get(path) : undefined, head, path) ??
      (regex.length > 0 ? first(regex, head, path) : undefined);
    if (found) return found;
    if (deep) {
      let end = path.length;
      if (path.charCodeAt(end - 1) === 0x2f) end--;
      // Start at the longest prefix: otherwise the cost for a path of many short segments would be quadratic.
      if (end > longest) end = path.lastIndexOf('/', longest);
      while (end > 0) {
        const one = first(prefix.get(path.slice(0, end)), head, path);
        if (one) return one;
        end = path.lastIndexOf('/', end - 1);
      }
    }
    const method = suffix.size > 0 ? suffix.get(path.slice(path.lastIndexOf('/'))) : undefined;
    return first(method, head, path) ?? first(root, head, path);
  };
}

const anyPath: PathMatch = { kind: 'prefix', value: '/' };

const labelOf = ({ namespace, name }: Route, rule: RouteRule, index: number): string =>
  `${namespace}/${name}/${rule.name ?? index}`;
const prefixOf = ({ kind, value }: PathMatch): string | undefined =>
  kind === 'prefix' || kind === 'string-prefix' ? value : undefined;

/** Makes the regular expressions of one match. */
function regexesOf(time: RegexTime): { readonly made: (source: string) => Regex; readonly regexes: Regex[] } {
  const regexes: Regex[] = [];
  const made = (source: string): Regex => {
    const regex = new Regex(source, time);
    regexes.push(regex);
    return regex;
  };
  return { made, regexes };
}

/**
 * Rules that match in the order written. If there are several routes for a moment, the oldest comes first.
 */
function compileOrdered(routes: readonly Route[], time: RegexTime, port: PortChain): Matcher {
  const entries: Entry[] = [];
  for (const route of routes) {
    route.rules.forEach((given, index) => {
      const { rule, chain } = compileRule(given, port);
      const label = labelOf(route, rule, index);
      for (const match of rule.matches.length > 0 ? rule.matches : [any]) {
        const path = match.path ?? anyPath;
        const { made, regexes } = regexesOf(time);
        const holds = [pathCondition(path, match.ignorePathCase), conditionOf(match, path, made)];
        entries.push({
          matched: { route, rule, label, prefix: prefixOf(path), chain },
          port,
          holds: allOf(holds.filter((one) => one !== undefined)),
          regexes,
          order: [route.createdMs, `${route.namespace}/${route.name}`, index],
        });
      }
    });
  }
  entries.sort(byOrder);
  return (head, client) => first(entries, head, pathOf(head.path), client);
}

function first(
  list: readonly Entry[] | undefined,
  head: RequestHead,
  path: string,
  client?: Pick<Client, 'identity'>,
): Matched | undefined {
  if (!list) return undefined;
  for (const entry of list) {
    const { holds, matched, port, regexes } = entry;
    try {
      if (holds && !holds(head, path, client)) continue;
    } catch (error) {
      if (!(error instanceof RegexCost)) throw error;
      // It is unknown whether the rule matches, so no other rule may apply in its place.
      return refused(matched, port, error.message);
    }
    // The control plane sends only regular expressions that it can compile, but one of another version may accept more than this waypoint.
    return regexes.every(({ isReadable }) => isReadable)
      ? matched
      : refused(matched, port, 'a regular expression of the rule is invalid');
  }
  return undefined;
}

function listOf(table: Map<string, Entry[]>, key: string): Entry[] {
  let list = table.get(key);
  if (!list) table.set(key, (list = []));
  return list;
}

function orderOf(route: Route, index: number, match: RouteMatch, path: PathMatch): (number | string)[] {
  return [
    isAnyPath(match) ? anyPathRank : rankOf(path),
    -path.value.length,
    match.unreadable ? 0 : 1,
    match.method === undefined ? 1 : 0,
    -match.headers.length,
    -match.query.length,
    route.createdMs,
    `${route.namespace}/${route.name}`,
    index,
  ];
}

function byOrder(a: Entry, b: Entry): number {
  for (let i = 0; i < a.order.length; i++) {
    const [x, y] = [a.order[i] ?? 0, b.order[i] ?? 0];
    if (x < y) return -1;
    if (x > y) return 1;
  }
  return 0;
}

/** Compiles a rule's filters. A rule whose filters cannot be compiled responds with an error. */
function compileRule(given: RouteRule, port: PortChain): Pick<Matched, 'rule' | 'chain'> {
  const { sessionPersistence: persistence, ...rest } = given;
  const rule = {
    ...rest,
    ...(persistence && isToken(persistence.name) ? { sessionPersistence: persistence } : {}),
  };
  try {
    return { rule, chain: ruleChainOf(rule, port) };
  } catch (error) {
    return refusedRule(rule, port, errorText(error));
  }
}

/** The rule with an invalid backend: requests that it might match get an error, because it may be meant to keep them from the next rule. */
function refusedRule(rule: RouteRule, port: PortChain, reason: string): Pick<Matched, 'rule' | 'chain'> {
  const refusing: RouteRule = {
    ...(rule.name === undefined ? {} : { name: rule.name }),
    matches: rule.matches,
    filters: [],
    backends: [{ target: { kind: 'invalid', reason }, weight: 1, filters: [] }],
  };
  return { rule: refusing, chain: ruleChainOf(refusing, port) };
}

/** The match with a rule that responds with an error. */
export const refused = (matched: Matched, port: PortChain, reason: string): Matched => ({
  ...matched,
  ...refusedRule(matched.rule, port, reason),
});
