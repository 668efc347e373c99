/** Compiles the conditions of a route's or a filter's match to functions: method, headers, query, and paths by regular expression. */
import type { PathMatch, RouteMatch, ValueMatch } from '../../model/route.js';
import type { Regex } from '../../policy/regex.js';
import { headerOf, joinedHeader } from '../http/headers.js';
import type { RequestHead } from '../http/http-stream.js';

/** Whether a request meets a condition. `path`: without the query. */
export type Condition = (head: RequestHead, path: string) => boolean;
export type MakeRegex = (source: string) => Pick<Regex, 'test'>;

/**
 * Compiles the conditions of a match. Undefined if there are none.
 * @param path the path to match, if it is a regular expression; the caller finds other paths in tables
 * @param made makes a regular expression of the match
 */
export function conditionOf(match: RouteMatch, path: PathMatch, made: MakeRegex): Condition | undefined {
  const { method } = match;
  const conditions: Condition[] = [];
  if (path.kind === 'regex') {
    const pattern = made(path.value);
    conditions.push((_head, text) => pattern.test(text));
  }
  if (method !== undefined) conditions.push((head) => head.method === method);
  for (const header of match.headers) conditions.push(headerCondition(header, made));
  if (match.query.length > 0) {
    const queries = match.query.map((one) => ({ name: one.name, holds: valueOf(one, made) }));
    conditions.push((head) => {
      const at = head.path.indexOf('?');
      const parameters = new URLSearchParams(at < 0 ? '' : head.path.slice(at + 1));
      return queries.every(({ name, holds }) => {
        const value = parameters.get(name);
        return value !== null && holds(value);
      });
    });
  }
  if (conditions.length === 0) return undefined;
  if (conditions.length === 1) return conditions[0];
  return (head, text) => {
    for (const condition of conditions) if (!condition(head, text)) return false;
    return true;
  };
}

function headerCondition(match: ValueMatch, made: MakeRegex): Condition {
  const { name } = match;
  const holds = valueOf(match, made);
  if (name === 'host') {
    const exact = match.value.toLowerCase();
    return ({ authority }) => {
      const bare = authority.replace(/:\d*$/, '');
      return match.kind === 'exact' ? authority === exact || bare === exact : holds(authority) || holds(bare);
    };
  }
  return ({ headers }) => {
    const value = headerOf(headers, name);
    if (value === undefined) return false;
    if (holds(value)) return true;
    // Repeated fields form one list (RFC 9110, section 5.3).
    const joined = joinedHeader(headers, name);
    return joined !== undefined && joined !== value && holds(joined);
  };
}

function valueOf({ kind, value }: ValueMatch, made: MakeRegex): (text: string) => boolean {
  if (kind === 'exact') return (text) => text === value;
  const pattern = made(value);
  return (text) => pattern.test(text);
}
