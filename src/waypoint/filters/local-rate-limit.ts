/**
 * A limit of requests per time for each combination of key values, counted by the waypoint (Envoy: local rate limit filter). A request that
 * lacks a header, cookie or parameter of the keys is not limited.
 */
import type { LocalRateLimitFilter } from '../../discovery/gen/weft.js';
import type { TrafficAction } from '../telemetry/request-record.js';
import { rateOf } from '../rate-limit/gcra.js';
import type { LimitBuckets } from '../rate-limit/limit-buckets.js';
import type { FilteredRequest, FilterKind } from './filter.js';
import { rateLimitedReply } from './rate-limited.js';
import { requestKey } from './request-keys.js';
import { limitMatch } from './request-match.js';

export const localRateLimit: FilterKind<LocalRateLimitFilter> = {
  stage: 'local-rate-limit',
  compile({ name, matches, keys, requests, perMs, burst, dryRun }) {
    if (requests < 1 || perMs < 1 || burst < 1)
      throw new Error('requests, time and burst of a rate limit must be at least 1');
    const isMatched = limitMatch(matches);
    const keyOf = requestKey(keys);
    const kinds = keys.map((key) => `${key.kind}:${key.name}`).join(',');
    const rate = rateOf(requests, perMs, burst);
    const action: TrafficAction = {
      feature: 'local-rate-limit',
      mode: dryRun ? 'would' : 'did',
      policy: name,
    };
    // The filter belongs to one Service port. This is only a shortcut to the buckets, which are in the worker's context.
    let known: LimitBuckets | undefined;
    return {
      onRequest(request) {
        const { servicePort, client } = request;
        if (!servicePort || !isMatched(request)) return undefined;
        const key = keyOf(request);
        if (key === undefined) return undefined;
        const limit = known && !known.isForgotten ? known : (known = limitOf(request));
        if (!limit) return undefined;
        const { counts } = limit;
        counts.enabled++;
        const waitNs = limit.take(key, client, rate);
        if (waitNs === 0) {
          counts.ok++;
          return undefined;
        }
        counts.rateLimited++;
        request.act(action);
        if (dryRun) return undefined;
        counts.enforced++;
        return { kind: 'reply', reply: rateLimitedReply({ name, requests, perMs, waitMs: waitNs / 1e6 }) };
      },
    };

    function limitOf({ context, servicePort }: FilteredRequest): LimitBuckets | undefined {
      return servicePort && context.rateLimits.of(servicePort, name, kinds);
    }
  },
};
