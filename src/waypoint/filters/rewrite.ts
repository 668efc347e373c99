/** Rewrites a request's host and path (Gateway API, HTTPURLRewriteFilter). */
import { errorText } from '../../base/errors.js';
import type { PathSubstitution, RewriteFilter } from '../../discovery/gen/weft.js';
import { normalizePath } from '../../policy/path.js';
import { Regex, regexProblem, type RegexTime } from '../../policy/regex.js';
import type { RequestHead } from '../http/http-stream.js';
import { invalidBackend } from '../http/local-reply.js';
import { isHost } from './config-values.js';
import type { FilterKind, FilterResponse } from './filter.js';
import { changePath, safePathChange } from './path-change.js';
import { CurrentTime } from './request-match.js';

export const rewrite: FilterKind<RewriteFilter> = {
  stage: 'route',
  compile(config) {
    const hostname = isHost(config.hostname) ? config.hostname : undefined;
    const path = safePathChange(config.path);
    const substituted = config.pathSubstitution && substitution(config.pathSubstitution);
    return {
      onRequest({ downstream: { head }, context, matchedPrefix, client }) {
        if (hostname !== undefined) head.authority = hostname;
        if (substituted)
          return rewritten(head, context.mergeSlashes, (text) =>
            substituted(text, context.state.regexTime(client.group)),
          );
        return path && rewritten(head, context.mergeSlashes, (text) => changePath(text, path, matchedPrefix));
      },
    };
  },
};

/** Replaces the matches of an expression in the path, without the query. Error: the expression cannot be used. */
function substitution({
  pattern,
  substitution: by,
}: PathSubstitution): (path: string, time: RegexTime) => string {
  const why = regexProblem(pattern);
  if (why !== '') throw new Error(`the expression of a rewrite cannot be used: ${why}`);
  const clock = new CurrentTime();
  const regex = new Regex(pattern, clock);
  return (path, time) => {
    clock.time = time;
    const at = path.indexOf('?');
    const bare = at < 0 ? path : path.slice(0, at);
    const made = regex.replace(bare, by);
    return (made.startsWith('/') ? made : `/${made}`) + (at < 0 ? '' : path.slice(at));
  };
}

/** Rewrites the path. The result is normalized as a client's path is. */
function rewritten(
  head: RequestHead,
  mergeSlashes: boolean,
  change: (path: string) => string,
): FilterResponse | undefined {
  try {
    head.path = normalizePath(change(head.path), mergeSlashes);
    return undefined;
  } catch (error) {
    const why = `the rule's rewrite results in an invalid path: ${errorText(error)}`;
    return { kind: 'reply', reply: invalidBackend(why) };
  }
}
