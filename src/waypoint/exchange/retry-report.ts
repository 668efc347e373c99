/** Counts and logs what happens to the attempts of a request. */
import { policyNameOf } from '../state/request-settings.js';
import type { TrafficFeature } from '../telemetry/request-record.js';
import type { UpstreamEvent } from '../telemetry/upstream-events.js';
import type { Attempt } from '../upstream/attempt.js';
import { attemptsBefore } from '../upstream/attempt-head.js';
import { retryLimitsOf, type FailedAttempt, type RetryRules } from '../upstream/retry-policy.js';
import type { Next } from '../upstream/retry-state.js';
import type { RoutedRequest } from './routed-request.js';

export function report({ context }: RoutedRequest, event: UpstreamEvent, at: Attempt): void {
  context.onUpstreamEvent(event, at.cluster.name, at.endpoint.workload.namespace);
}

/** Records what the `retry` of a TrafficPolicy did, or would have done without dry run. */
export function reportAction(
  request: RoutedRequest,
  feature: TrafficFeature,
  mode: 'did' | 'would' = 'did',
): void {
  request.act({ feature, mode, policy: policyNameOf(request.settings, 'retry') });
}

/** Reports requests that a hop ahead of the waypoint has sent before. The client's numbers change nothing else. */
export function reportStacked(request: RoutedRequest, first: Attempt): void {
  const before = attemptsBefore(request.authorization.originalHeaders);
  if (before === 0) return;
  request.info.attemptsBefore = before;
  report(request, 'stackedRetry', first);
}

export function reportNext(request: RoutedRequest, failed: Attempt, next: Next, rules?: RetryRules): void {
  if (next.kind === 'none') {
    if (next.flag === 'URX') report(request, 'retryLimitExceeded', failed);
    if (next.flag !== 'UO') return;
    request.context.onLimitReached('retry-budget');
    return report(request, 'retryOverflow', failed);
  }
  report(request, 'retry', failed);
  if (next.kind === 'again' && next.by)
    report(request, next.by === 'response' ? 'backoffRatelimited' : 'backoffExponential', failed);
  if (rules?.isOfPolicy === true) reportAction(request, 'retry');
}

/** Reports a retry that a policy in dry run would have caused after a failure that is not retried. */
export function reportDryRun(request: RoutedRequest, failed: FailedAttempt, count: number): void {
  const rules = request.settings.retryDryRun;
  if (rules && count <= retryLimitsOf(failed, rules).anywhere) reportAction(request, 'retry', 'would');
}
