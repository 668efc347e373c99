/** Compiles the conditions of a route's or a filter's match to functions: path, method, headers, query and client. */
import type { PathMatch, RouteMatch, ValueMatch } from '../../model/route.js';
import { quoteRegex, type Regex } from '../../policy/regex.js';
import { headerOf, joinedHeader } from '../http/headers.js';
import type { RequestHead } from '../http/http-stream.js';
import type { Client } from '../listener/client.js';
import { queryCondition } from './query-condition.js';

/**
 * Whether a request meets a condition. `path`: without the query. `client`: needed by matches of ordered routes. Without it no match with
 * clients holds.
 */
export type Condition = (head: RequestHead, path: string, client?: Pick<Client, 'identity'>) => boolean;
export type MakeRegex = (source: string) => Pick<Regex, 'test'>;
export type TextCondition = (text: string) => boolean;

/**
 * Compiles the conditions of a match. Undefined if there are none.
 * @param path the path to match, if it is a regular expression; for other paths there are tables and `pathCondition`
 * @param made makes a regular expression of the match
 */
export function conditionOf(match: RouteMatch, path: PathMatch, made: MakeRegex): Condition | undefined {
  const { method, withoutHeaders = [], clients = [] } = match;
  const conditions: Condition[] = [];
  // The cheapest first.
  if (method !== undefined) conditions.push((head) => head.method === method);
  if (clients.length > 0) conditions.push(clientCondition(clients));
  if (path.kind === 'regex') {
    const pattern = made(path.value);
    conditions.push((_head, text) => pattern.test(text));
  }
  for (const header of match.headers) conditions.push(headerCondition(header, made));
  for (const header of withoutHeaders) {
    const holds = headerCondition(header, made);
    conditions.push((head, text) => !holds(head, text));
  }
  for (const query of match.query) conditions.push(queryCondition(query, valueOf(query, made)));
  return allOf(conditions);
}

/** All conditions; undefined if there are none. */
export function allOf(conditions: readonly Condition[]): Condition | undefined {
  if (conditions.length <= 1) return conditions[0];
  return (head, text, client) => {
    for (const condition of conditions) if (!condition(head, text, client)) return false;
    return true;
  };
}

/** The condition on the path, as the tables of compiled routes have it; undefined for a regular expression, and if every path meets it. */
export function pathCondition({ kind, value }: PathMatch, ignoreCase = false): Condition | undefined {
  switch (kind) {
    case 'exact': {
      if (ignoreCase) return ignoringCase(`${quoteRegex(value)}$`);
      return (_head, path) => path === value;
    }
    case 'prefix': {
      if (value === '/') return undefined;
      const below = `${value}/`;
      return (_head, path) => path === value || path.startsWith(below);
    }
    case 'string-prefix':
      if (ignoreCase) return ignoringCase(quoteRegex(value));
      return (_head, path) => path.startsWith(value);
    case 'suffix':
      return (_head, path) => path.slice(path.lastIndexOf('/')) === value;
    case 'regex':
      // conditionOf matches it.
      return undefined;
  }
}

/** A literal text, so its cost is linear. Unlike a comparison of lower case texts it makes no copy of the path. */
function ignoringCase(source: string): Condition {
  const pattern = new RegExp(`^${source}`, 'i');
  return (_head, path) => pattern.test(path);
}

/** As `isFrom`, without a copy of the identity's parts for each request. */
function clientCondition(clients: NonNullable<RouteMatch['clients']>): Condition {
  const paths = clients.map(({ namespace, serviceAccount }) => ({
    path: `/ns/${namespace}/sa/${serviceAccount}`,
    isWhole: serviceAccount !== '',
  }));
  return (_head, _path, client) => {
    const identity = client?.identity;
    if (identity === undefined) return false;
    const at = identity.indexOf('/', 'spiffe://'.length);
    if (at < 0) return false;
    for (const { path, isWhole } of paths) {
      if (!identity.startsWith(path, at)) continue;
      const end = at + path.length;
      if (isWhole ? identity.length === end : identity.length > end && identity.indexOf('/', end) < 0)
        return true;
    }
    return false;
  };
}

function headerCondition(match: ValueMatch, made: MakeRegex): Condition {
  const { name } = match;
  const holds = valueOf(match, made);
  switch (name) {
    case 'host':
      return hostCondition(match, holds);
    case ':authority':
      return authorityCondition(match, holds);
    case ':method':
      return ({ method }) => holds(method);
    case ':scheme':
      return ({ scheme }) => holds(scheme);
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

function hostCondition({ kind, value }: ValueMatch, holds: TextCondition): Condition {
  const exact = value.toLowerCase();
  return ({ authority }) => {
    const bare = withoutPort(authority);
    return kind === 'exact' ? authority === exact || bare === exact : holds(authority) || holds(bare);
  };
}

const withoutPort = (authority: string): string => authority.replace(/:\d*$/, '');

/** Matches with and without the port, as `hostCondition`. Exact values and prefixes are in lower case, as the authority is. */
function authorityCondition({ kind, value }: ValueMatch, holds: TextCondition): Condition {
  if (kind !== 'exact')
    return ({ authority }) => holds(authority) || (kind === 'regex' && holds(withoutPort(authority)));
  return ({ authority }) =>
    authority === value ||
    (authority.length > value.length &&
      authority.charCodeAt(value.length) === 0x3a &&
      authority.startsWith(value) &&
      authority.indexOf(':', value.length + 1) < 0);
}

function valueOf({ kind, value }: ValueMatch, made: MakeRegex): TextCondition {
  switch (kind) {
    case 'exact':
      return (text) => text === value;
    case 'prefix':
      return (text) => text.startsWith(value);
    case 'present':
      return () => true;
    case 'regex': {
      const pattern = made(value);
      return (text) => pattern.test(text);
    }
  }
}
