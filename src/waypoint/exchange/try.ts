/** What one try of a request gets: its time until the response begins, and the head that it is sent with. */
import { performance } from 'node:perf_hooks';
import type { RequestHead } from '../http/http-stream.js';
import { headOfAttempt } from '../upstream/attempt-head.js';
import type { RetryRules } from '../upstream/retry-policy.js';
import type { RoutedRequest } from './routed-request.js';

/** The time of a try by the policy; 0: none. The timeout of an attempt in a rule replaces it, except as the time of a hedge. */
export function tryMsOf({ route }: RoutedRequest, rules: RetryRules | undefined): number {
  if (!rules || (!rules.hedges && route.rule?.backendRequestTimeoutMs !== undefined)) return 0;
  return rules.perTryTimeoutMs;
}

/** The head of an attempt that is sent now. Without a TrafficPolicy it is the request's own. @param count number of the attempt, from 1 */
export function headOfTry(request: RoutedRequest, rules: RetryRules | undefined, count: number): RequestHead {
  const { downstream, settings } = request;
  if (!settings.retry && !request.hasGrpcDeadline) return downstream.head;
  const leftMs = request.hasGrpcDeadline ? request.grpcLeftMs(performance.now()) : undefined;
  // The endpoint need not work longer than the attempt goes on.
  const tryMs = rules?.hedges === true ? 0 : tryMsOf(request, rules);
  return headOfAttempt(downstream.head, {
    count: settings.retry && count,
    grpcLeftMs: leftMs !== undefined && tryMs > 0 ? Math.min(leftMs, tryMs) : leftMs,
  });
}
