/**
 * The matches of an HTTPRouteGroup, for policies and for routes. The specification anchors `pathRegex` at the beginning of the path. A
 * header's expression has to match the whole value, as in the specification's examples. Pure.
 */
import { errorText } from '../../../src/base/errors.js';
import {
  emptyHttpMatch,
  type HttpMatch,
  type PolicyPath,
  type RegexMatch,
  type StringMatch,
} from '../../../src/model/policy.js';
import type { RouteMatch } from '../../../src/model/route.js';
import { regexProblem, regexWeight, routeRegexWeightMax } from '../../../src/policy/regex.js';
import { byteRegex } from '../byte-regex.js';
import { policyPath } from '../../compile/paths.js';
import type { HttpMatchObject } from '../../objects/objects.js';

/** Text without characters that have a meaning in an expression. */
const literal = /^[^\\.[\](){}*+?|^$;%?#]*$/;
const anything: ReadonlySet<string> = new Set(['', '.*', '/.*', '/', '.+', '/?.*']);

/** An expression that matches a whole text if `source` matches it from its beginning. Error: the expression cannot be used. */
function fromBeginning(field: string, source: string): string {
  checked(field, source);
  // A quotation without an end (`\Q`) would contain what is added.
  return checked(field, `(?:${source})[\\s\\S]*`);
}

function checked(field: string, source: string): string {
  const problem = regexProblem(source);
  if (problem === '') return source;
  throw new Error(
    `${field}: ${JSON.stringify(source.slice(0, 200))} is not a supported RE2 regular expression: ${problem}`,
  );
}

/** A header's expression as it is compared. Error: it has no form in bytes. */
function inBytes(field: string, source: string): string {
  try {
    return byteRegex(source);
  } catch (error) {
    throw new Error(`${field}: ${errorText(error)}`, { cause: error });
  }
}

const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

/** The headers of a match as pairs of a lower-case name and an expression. Error: the field is no map of texts. */
function headersOf(field: string, given: unknown): readonly (readonly [string, string])[] {
  const maps: readonly unknown[] = given === undefined ? [] : Array.isArray(given) ? given : [given];
  return maps.flatMap((map) => {
    if (map === null || typeof map !== 'object' || Array.isArray(map))
      throw new Error(`${field}: it must be a map of regular expressions by header name`);
    return Object.entries(map).map(([name, value]: [string, unknown]) => {
      if (!token.test(name))
        throw new Error(`${field}: ${JSON.stringify(name.slice(0, 64))} is no header name`);
      if (typeof value !== 'string') throw new Error(`${field}.${name}: must be text`);
      return [name.toLowerCase(), inBytes(`${field}.${name}`, checked(`${field}.${name}`, value))] as const;
    });
  });
}

const methodsOf = ({ methods = [] }: HttpMatchObject): readonly string[] =>
  methods.includes('*') ? [] : methods;

/** The condition of an AccessPolicy that a path expression is, if it is a simple one: those need no expression at request time. */
function policyPathOf(field: string, source: string): PolicyPath | undefined {
  const bare = source.replace(/^\^/, '');
  if (anything.has(bare)) return undefined;
  const open = bare.replace(/\.\*\$?$/, '');
  if (literal.test(open)) return policyPath(field, `${open}*`);
  const whole = bare.replace(/\$$/, '');
  if (whole !== bare && literal.test(whole)) return policyPath(field, whole);
  return { kind: 'regex', value: fromBeginning(field, source) };
}

function headerCondition(source: string): StringMatch | RegexMatch {
  return source === '.+'
    ? { kind: 'presence' }
    : /^[^\\.[\](){}*+?|^$]+$/.test(source)
      ? { kind: 'exact', value: source }
      : { kind: 'regex', value: source };
}

/** Results by match: expressions are costly to check, and each object that names a group needs its matches. */
const known = {
  policy: new WeakMap<HttpMatchObject, HttpMatch>(),
  route: new WeakMap<HttpMatchObject, readonly RouteMatch[]>(),
};

/** A match as the condition of a policy. Error: the field that cannot be read. @param field the path of the match */
export function policyMatchOf(match: HttpMatchObject, field: string): HttpMatch {
  let found = known.policy.get(match);
  if (!found) known.policy.set(match, (found = readPolicyMatch(match, field)));
  return found;
}

/** A match as those of a route: one for each method. Error: the field that cannot be read. */
export function routeMatchesOf(match: HttpMatchObject, field: string): readonly RouteMatch[] {
  let found = known.route.get(match);
  if (!found) known.route.set(match, (found = readRouteMatches(match, field)));
  return found;
}

function readPolicyMatch(match: HttpMatchObject, field: string): HttpMatch {
  const path =
    match.pathRegex === undefined ? undefined : policyPathOf(`${field}.pathRegex`, match.pathRegex);
  return {
    ...emptyHttpMatch,
    methods: methodsOf(match),
    // Without a condition the match still is about HTTP requests alone.
    paths: [path ?? { kind: 'prefix', value: '' }],
    headers: headersOf(`${field}.headers`, match.headers).map(([name, source]) => ({
      name,
      values: [headerCondition(source)],
      negated: false,
    })),
  };
}

function readRouteMatches(match: HttpMatchObject, field: string): readonly RouteMatch[] {
  const { pathRegex = '' } = match;
  const path: Pick<RouteMatch, 'path'> = anything.has(pathRegex.replace(/^\^/, ''))
    ? {}
    : { path: { kind: 'regex', value: fromBeginning(`${field}.pathRegex`, pathRegex) } };
  const headers = headersOf(`${field}.headers`, match.headers).map(([name, value]) => ({
    kind: 'regex' as const,
    name,
    value,
  }));
  const methods = methodsOf(match);
  return (methods.length > 0 ? methods : [undefined]).map((method) => ({
    ...path,
    ...(method === undefined ? {} : { method }),
    headers,
    query: [],
  }));
}

/** Error: a match that cannot be read, or expressions that together cost too much. */
export function checkMatches(matches: readonly HttpMatchObject[], path: string): void {
  let weight = 0;
  const names = new Set<string>();
  for (const [index, match] of matches.entries()) {
    const field = `${path}[${index}]`;
    if (names.has(match.name))
      throw new Error(`${field}.name: ${match.name} is the name of an earlier match`);
    names.add(match.name);
    policyMatchOf(match, field);
    routeMatchesOf(match, field);
    weight += regexWeight(match.pathRegex ?? '');
    for (const [, source] of headersOf(field, match.headers)) weight += regexWeight(source);
  }
  if (weight > routeRegexWeightMax)
    throw new Error(`${path}: the regular expressions together exceed ${routeRegexWeightMax} steps`);
}

/** The text of an error of a function of this file; undefined: there is none. */
export function problemOf(check: () => void): string | undefined {
  try {
    check();
    return undefined;
  } catch (error) {
    return errorText(error);
  }
}
