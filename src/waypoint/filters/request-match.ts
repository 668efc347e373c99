/**
 * Matches of filters: which requests a filter acts on. The conditions are those of routes, compiled by the same code, with the same time
 * budget of regular expressions.
 */
import { decodeMatch } from '../../discovery/codec/route-match.js';
import type * as pb from '../../discovery/gen/weft.js';
import type { PathMatch } from '../../model/route.js';
import { pathOf, readingsOf } from '../../policy/path.js';
import { Regex, regexWeight, regexWeightMax, type RegexTime } from '../../policy/regex.js';
import { conditionOf, pathCondition, type Condition, type MakeRegex } from '../routes/match-condition.js';
import type { FilteredRequest } from './filter.js';

/** What matches read of a request. */
export interface MatchableRequest {
  readonly context: Pick<FilteredRequest['context'], 'state'>;
  readonly client: Pick<FilteredRequest['client'], 'group'>;
  readonly downstream: Pick<FilteredRequest['downstream'], 'head'>;
}

/** Whether a request matches. Throws if that is unknown, because a regular expression is invalid or too expensive. */
export type RequestMatch = (request: MatchableRequest) => boolean;

/**
 * Compiles matches of a limit. Endpoints read some paths differently: `/orders;x=1` may be served as `/orders`. A limit counts a request if one
 * of the readings matches, so that no spelling evades it.
 */
export const limitMatch = (matches: readonly pb.RouteMatch[]): RequestMatch =>
  compileMatch(matches, readingsOf);

/**
 * Compiles matches. A request matches if at least one of them holds; without any, every request matches. Throws if a match is not
 * understood: it is unknown which requests it was meant for.
 */
export const requestMatch = (matches: readonly pb.RouteMatch[]): RequestMatch =>
  compileMatch(matches, undefined);

function compileMatch(
  matches: readonly pb.RouteMatch[],
  readings: ((path: string) => readonly string[]) | undefined,
): RequestMatch {
  if (matches.length === 0) return () => true;
  const clock = new CurrentTime();
  const conditions: Condition[] = [];
  let matchesAll = false;
  for (const message of matches) {
    const match = decodeMatch(message);
    if (match.unreadable) throw new Error('a match has a condition that cannot be read');
    const path = match.path ?? anyPath;
    const holds = conditionOf(match, path, clock.made);
    const isPath = pathCondition(path, match.ignorePathCase);
    if (holds && isPath) conditions.push((head, text) => isPath(head, text) && holds(head, text));
    else if (holds ?? isPath) conditions.push((holds ?? isPath) as Condition);
    else matchesAll = true;
  }
  if (matchesAll) return () => true;
  return ({ context, client, downstream: { head } }) => {
    if (clock.isUsed) clock.time = context.state.regexTime(client.group);
    const path = pathOf(head.path);
    const matchesPath = (text: string): boolean => conditions.some((holds) => holds(head, text));
    if (matchesPath(path)) return true;
    if (!readings) return false;
    const others = readings(path);
    return others.length > 1 && [...new Set(others)].some(matchesPath);
  };
}

const anyPath: PathMatch = { kind: 'prefix', value: '/' };

/**
 * The regular expressions of one filter, with the time budget of the request that is being matched. Matching is synchronous, so there is one
 * such request. Expressions are compiled on first use, within that budget.
 */
export class CurrentTime implements Pick<RegexTime, 'run'> {
  time: RegexTime | undefined;
  isUsed = false;

  run<T>(work: () => T): T {
    if (!this.time) throw new Error('no time budget of regular expressions');
    return this.time.run(work);
  }

  readonly made: MakeRegex = (source) => {
    if (regexWeight(source) > regexWeightMax)
      throw new Error(`a regular expression has more than ${regexWeightMax} steps`);
    this.isUsed = true;
    const regex = new Regex(source, this);
    return {
      test(text) {
        const holds = regex.test(text);
        if (!regex.isReadable) throw new Error('a regular expression of a match is invalid');
        return holds;
      },
    };
  };
}
