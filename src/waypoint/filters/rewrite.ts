/** Rewrites a request's host and path (Gateway API, HTTPURLRewriteFilter). */
import { errorText } from '../../base/errors.js';
import type { RewriteFilter } from '../../discovery/gen/weft.js';
import type { PathChange } from '../../model/route.js';
import { normalizePath } from '../../policy/path.js';
import type { RequestHead } from '../http/http-stream.js';
import { invalidBackend } from '../http/local-reply.js';
import { isHost } from './config-values.js';
import type { FilterKind, FilterResponse } from './filter.js';
import { changePath, safePathChange } from './path-change.js';

export const rewrite: FilterKind<RewriteFilter> = {
  stage: 'route',
  compile(config) {
    const hostname = isHost(config.hostname) ? config.hostname : undefined;
    const path = safePathChange(config.path);
    return {
      onRequest({ downstream: { head }, context, matchedPrefix }) {
        if (hostname !== undefined) head.authority = hostname;
        return path && rewritePath(head, path, matchedPrefix, context.mergeSlashes);
      },
    };
  },
};

/** Rewrites the path. The result is normalized as a client's path is. */
function rewritePath(
  head: RequestHead,
  change: PathChange,
  prefix: string | undefined,
  mergeSlashes: boolean,
): FilterResponse | undefined {
  try {
    head.path = normalizePath(changePath(head.path, change, prefix), mergeSlashes);
    return undefined;
  } catch (error) {
    const why = `the rule's rewrite results in an invalid path: ${errorText(error)}`;
    return { kind: 'reply', reply: invalidBackend(why) };
  }
}
