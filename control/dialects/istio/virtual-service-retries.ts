/** Translates the times and retries of a VirtualService's rule. Errors name the field. Pure. */
import type { RetryPolicy } from '../../../src/discovery/gen/weft.js';
import { retryConditionKinds, retryGrpcCodes } from '../../../src/model/service-policy.js';
import type { HttpRetries } from '../../objects/istio-virtual-service.js';
import { optionalMs } from './duration.js';

/** Words of `retryOn` that are not names of Weft's own conditions. */
const conditions: Readonly<Record<string, readonly string[]>> = {
  'reset-before-request': ['connect-failure', 'refused-stream'],
  'http3-post-connect-failure': ['connect-failure'],
};
/** They need settings that a VirtualService cannot make. */
const withoutEffect: ReadonlySet<string> = new Set([
  'retriable-headers',
  'retriable-status-codes',
  'envoy-ratelimited',
]);
/** More would only be cut off by the request's timeout. */
const attemptsMax = 1_000;
/** What Istio retries on if `retryOn` is absent or empty. */
export const retryOnDefault = 'connect-failure,refused-stream,unavailable,cancelled';
/** Istio does not look at the method: whoever writes `retries` takes it that requests may be sent twice. */
const unsafeMethods = ['POST', 'PATCH'];

export function retryPolicy(retries: HttpRetries): RetryPolicy {
  const { attempts = 0, perTryTimeout, retryOn, backoff } = retries;
  const kinds = new Set<string>();
  const codes = new Set<number>();
  const grpc = new Set<number>();
  const words = (retryOn === undefined || retryOn === '' ? retryOnDefault : retryOn)
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '');
  for (const word of words) {
    const code = retryGrpcCodes[word];
    if (retryConditionKinds.some((kind) => kind === word)) kinds.add(word);
    else if (Object.hasOwn(conditions, word)) for (const kind of conditions[word] ?? []) kinds.add(kind);
    else if (Object.hasOwn(retryGrpcCodes, word) && code !== undefined) grpc.add(code);
    else if (word === 'retriable-4xx') codes.add(409);
    else if (/^[1-5][0-9][0-9]$/.test(word)) codes.add(Number(word));
    else if (!withoutEffect.has(word))
      throw new Error(
        `retries.retryOn: ${JSON.stringify(word.slice(0, 64))} is no condition of Envoy and no status`,
      );
  }
  const baseMs = optionalMs('retries.backoff', backoff) || 25;
  return {
    conditionKind: retryConditionKinds.filter((kind) => kinds.has(kind)),
    codes: [...codes],
    grpcCodes: [...grpc],
    attempts: Math.min(Math.max(0, Math.trunc(attempts)), attemptsMax),
    perTryTimeoutMs: optionalMs('retries.perTryTimeout', perTryTimeout) ?? 0,
    backoffBaseMs: baseMs,
    backoffMsMax: 10 * baseMs,
    retryAfterMsMax: 0,
    unsafeMethods,
    hedge: false,
    dryRun: false,
  };
}
