/** Divides the matches of a VirtualService's rule by what is known of the clients that they name. Pure. */
import type { RouteMatch, RouteRule } from '../../../src/model/route.js';
import type { ConnectionMatch, HttpMatch } from '../../objects/istio-virtual-service.js';
import { closedBackends, type RuleContext } from './virtual-service-context.js';
import { matchesAt } from './virtual-service-matches.js';
import { clientsOf } from './virtual-service-sources.js';

export interface DividedMatches {
  /** Matches of clients that are proven. */
  readonly matches: readonly RouteMatch[];
  /** A closed rule for the matches of clients whose labels are not known. */
  readonly closed: readonly RouteRule[];
  /** No client can meet the conditions: an empty list of matches would match all. */
  readonly isForNobody: boolean;
}

/**
 * Undefined: the rule is not for this port.
 * @param read the match without its clients; undefined: it matches nothing
 */
export function dividedMatches<M extends HttpMatch | ConnectionMatch>(
  {
    match: all,
    name,
    at,
  }: { readonly match: readonly M[] | undefined; readonly name: string; readonly at: string },
  context: RuleContext,
  read: (match: M, at: string) => RouteMatch | undefined,
): DividedMatches | undefined {
  const here = matchesAt(all, context.port);
  if (!here) return undefined;
  context.problem = undefined;
  const matches: RouteMatch[] = [];
  const unknown: RouteMatch[] = [];
  for (const { match, index } of here) {
    const found = read(match, `${at}.match[${index}]`);
    if (!found) continue;
    const { certain, unproven } = clientsOf(match, context.lookup);
    if (unproven.length > 0) unknown.push({ ...found, clients: unproven });
    if (!certain) matches.push(found);
    else if (certain.length > 0) matches.push({ ...found, clients: certain });
  }
  const reason = `${at}: sourceLabels: pods of the client's service account differ in these labels, and only the service account is proven`;
  return {
    matches,
    closed:
      unknown.length === 0 ? [] : [{ name, matches: unknown, filters: [], backends: closedBackends(reason) }],
    isForNobody: here.length > 0 && matches.length === 0,
  };
}
