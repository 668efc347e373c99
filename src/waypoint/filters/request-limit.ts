/** The limit of requests under way in a worker, with fair shares for clients. Every request passes it first. */
import { requestLimitReply } from '../http/local-reply.js';
import type { Filter, FilteredRequest, FilterResult, StagedFilter } from './filter.js';

const filter: Filter = {
  onRequest({ context, client }: FilteredRequest): FilterResult {
    const reached = context.requestShares.take(client.name, client.group);
    if (reached === undefined) return undefined;
    context.onLimitReached(reached === 'all' ? 'requests' : 'requests-per-client');
    return { kind: 'reply', reply: requestLimitReply(reached, context.limits.requestsMax) };
  },

  onEnd({ context, client }: FilteredRequest): void {
    context.requestShares.release(client.name, client.group);
  },
};

export const requestLimit: StagedFilter = { stage: 'load-shedding', filter };
