/**
 * The closed form of a route of which only single rules cannot be read: these rules respond with an error to what they might match, and the
 * other rules stay. Pure.
 */
import type { ClosedRule, RouteObject } from '../../objects/objects.js';
import { isRecord } from '../../../src/base/record.js';

/** Errors by the index of the rule. `path`: of the field inside the rule. */
export type RuleErrors = ReadonlyMap<
  number,
  readonly { readonly path: readonly string[]; readonly message: string }[]
>;

/** Fields of a match, of HTTPRoutes and GRPCRoutes. */
const matchFields = ['path', 'method', 'headers', 'queryParams'] as const;

/** The readable fields of a match. @param wrong the others; undefined: a field that is not known, which may be about the path */
function closedMatch(match: unknown, wrong: ReadonlySet<string | undefined>, pathField: string): object {
  const fields = isRecord(match) ? match : {};
  const kept = matchFields.flatMap((name) =>
    fields[name] === undefined || wrong.has(name) ? [] : [[name, fields[name]] as const],
  );
  const isPath = wrong.has(undefined) || wrong.has(pathField);
  return { ...Object.fromEntries(kept), unreadable: isPath ? 'path' : 'other' };
}

const everything = { unreadable: 'path' } as const;

function closedMatches(
  rule: Readonly<Record<string, unknown>>,
  paths: readonly (readonly string[])[],
  pathField: string,
): object[] {
  const { matches } = rule;
  const ofMatches = paths.filter(([field]) => field === 'matches');
  // An error of the rule itself may be an unknown kind of condition beside `matches`, but every known field of a rule that is not a
  // condition is about what happens to the requests, and so is an unknown one.
  if (ofMatches.some(([, index]) => index === undefined)) return [everything];
  if (!Array.isArray(matches)) return [];
  return matches.map((match: unknown, at) => {
    const wrong = ofMatches.filter(([, index]) => index === String(at));
    return wrong.length === 0
      ? (match as object)
      : closedMatch(match, new Set(wrong.map(([, , field]) => field)), pathField);
  });
}

/** The route with each rule that has errors in its closed form. */
export function withClosedRules(object: RouteObject, errors: RuleErrors): RouteObject {
  const given = (object.spec as { readonly rules: readonly unknown[] }).rules;
  // The method of a gRPC request is its path.
  const pathField = object.kind === 'GRPCRoute' ? 'method' : 'path';
  const rules = given.map((rule, index): unknown => {
    const wrong = errors.get(index);
    if (!wrong) return rule;
    const paths = wrong.map(({ path }) => path);
    const fields = isRecord(rule) ? rule : {};
    const name = fields['name'];
    const isNamed = typeof name === 'string' && !paths.some(([field]) => field === 'name');
    const closed: ClosedRule = {
      ...(isNamed ? { name } : {}),
      invalid: wrong.map(({ message }) => message).join('; '),
      matches: isRecord(rule) ? closedMatches(fields, paths, pathField) : [everything],
    };
    return closed;
  });
  return { ...object, spec: { ...object.spec, rules } } as RouteObject;
}
