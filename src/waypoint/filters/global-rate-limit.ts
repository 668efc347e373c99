/**
 * A limit of requests per time that all replicas share, counted by a rate limit service (Envoy: rate limit filter). A request that lacks a
 * header, cookie or parameter of the keys is not limited.
 */
import { decodeTarget, encodeTarget } from '../../discovery/codec/backend-target.js';
import type { GlobalRateLimitFilter, RateLimitKey } from '../../discovery/gen/weft.js';
import type { RateLimitDescriptor_Entry as DescriptorEntry } from '../../discovery/gen/ratelimit.js';
import { clientEntryKeys, unitOf } from '../../model/rate-limit.js';
import type { LocalReply } from '../http/local-reply.js';
import type { GlobalLimit, LimitOptions, MeshService } from '../rate-limit/global/global-limits.js';
import type { LeaseResult } from '../rate-limit/global/lease.js';
import type { TrafficAction } from '../telemetry/request-record.js';
import { Slot, type FilteredRequest, type FilterKind, type FilterResponse } from './filter.js';
import { rateLimitedReply } from './rate-limited.js';
import { requestKey, requestValues } from './request-keys.js';
import { limitMatch } from './request-match.js';

/** Gives up the place of a request that waits for the service. */
const waiting = new Slot<() => void>();

export const globalRateLimit: FilterKind<GlobalRateLimitFilter> = {
  stage: 'global-rate-limit',
  compile(config) {
    const { name, requests, perMs, dryRun, failClosed, timeoutMs } = config;
    const unit = unitOf(perMs);
    if (requests < 1 || timeoutMs < 1)
      throw new Error('requests and timeout of a rate limit must be at least 1');
    if (unit === undefined)
      throw new Error(`the time of a global rate limit is one second, minute, hour or day, not ${perMs} ms`);
    const isMatched = limitMatch(config.matches);
    const keyOf = requestKey(config.keys);
    const entriesOf = entryReader(config);
    const options: LimitOptions = {
      name,
      keys: config.keys.map(({ kind, name }) => `${kind}:${name}`).join(','),
      requests,
      unit,
      timeoutMs,
      service: serviceOf(config),
    };
    const action: TrafficAction = {
      feature: 'global-rate-limit',
      mode: dryRun ? 'would' : 'did',
      policy: name,
    };
    // The filter belongs to one Service port. This is only a shortcut to the limit, which is in the worker's context.
    let known: GlobalLimit | undefined;

    return {
      onRequest(request) {
        const { context, servicePort, client } = request;
        const limits = context.globalRateLimits;
        if (!servicePort || !isMatched(request)) return undefined;
        const key = keyOf(request);
        if (key === undefined) return undefined;
        if (!limits) throw new Error('this process has no global rate limits');
        const limit = known?.isForgotten === false ? known : (known = limits.of(servicePort, options));
        const result = limits.check(limit, key, client, () => entriesOf(request, key));
        if (typeof result === 'string') return decide(request, limit, key, result);
        const decided = result.result.then((how) => decide(request, limit, key, how));
        if (dryRun) {
          request.info.decidedLater(decided.then(() => undefined));
          return undefined;
        }
        waiting.set(request, result.cancel);
        return decided;
      },
      onCancel(request) {
        waiting.get(request)?.();
      },
    };

    function decide(
      request: FilteredRequest,
      limit: GlobalLimit,
      key: string,
      result: LeaseResult,
    ): FilterResponse | undefined {
      const { counts } = limit;
      if (result === 'ok') {
        counts.ok++;
        return undefined;
      }
      if (result === 'failed') {
        counts.error++;
        if (!failClosed || dryRun) {
          counts.failureModeAllowed++;
          return undefined;
        }
      } else counts.overLimit++;
      request.act(action);
      if (dryRun) return undefined;
      return { kind: 'reply', reply: result === 'failed' ? failedReply(name) : overReply(limit, key) };
    }

    function overReply(limit: GlobalLimit, key: string): LocalReply {
      const lease = limit.leases.get(key);
      const waitMs = Math.max(0, (lease?.resetAtMs ?? 0) - performance.now());
      return rateLimitedReply({ name, requests: lease?.limit ?? requests, perMs, waitMs });
    }
  },
  mapBackends: (config, map) =>
    config.service
      ? {
          ...config,
          service: { ...config.service, target: encodeTarget(map(decodeTarget(config.service.target))) },
        }
      : config,
};

/** The reply if the service does not respond and the limit fails closed. Envoy's default would be 500 (`status_on_error`). */
const failedReply = (name: string): LocalReply => ({
  status: 503,
  flag: 'RLSE',
  code: 'WEFT_RATE_LIMIT_SERVICE',
  why: `the service of rate limit ${name} has not responded, and the limit fails closed`,
  policy: name,
});

/** Undefined: Weft's own service. Error: the service of the mesh does not exist. */
function serviceOf({ service }: GlobalRateLimitFilter): MeshService | undefined {
  if (!service) return undefined;
  const target = decodeTarget(service.target);
  if (target.kind !== 'service') throw new Error(`the rate limit service is invalid: ${target.reason}`);
  return { target, domain: service.domain };
}

type ReadEntries = (request: FilteredRequest, key: string) => readonly DescriptorEntry[];

/** The descriptor of a key. Services of the mesh have configurations by keys and values; Weft's own service only needs to tell keys apart. */
function entryReader({ name, keys, service }: GlobalRateLimitFilter): ReadEntries {
  if (!service) {
    const limit = { key: 'limit', value: name };
    const kinds = keys.map(entryKey).join(',');
    return ({ client: { name, group } }, value) => [
      limit,
      { key: `key ${kinds}`, value },
      { key: clientEntryKeys.client, value: name },
      { key: clientEntryKeys.group, value: group },
    ];
  }
  const valuesOf = requestValues(keys);
  const names = keys.map(entryKey);
  const rule = { key: 'generic_key', value: name.slice(name.lastIndexOf(' ') + 1) };
  return (request) => {
    const values = valuesOf(request) ?? [];
    // The API requires that values are not empty.
    return [rule, ...names.map((key, i) => ({ key, value: values[i] || '-' }))];
  };
}

/** The key of a descriptor's entry: Envoy's name where its filter has an action for the same, else the kind; a header's own name. */
const entryKey = ({ kind, name }: RateLimitKey): string =>
  name !== '' ? name.toLowerCase() : kind === 'client-address' ? 'remote_address' : kind.replaceAll('-', '_');
