/** Compiles an XBackendTrafficPolicy (GEP-3388) to the retry budget of the Services that it targets. Pure. */
import { namespaceOf } from '../../../src/model/labels.js';
import type { BackendTrafficPolicyObject } from '../../objects/objects.js';
import { positiveMs } from '../../compile/traffic-policy-values.js';
import type { CompiledTrafficPolicy } from '../../compile/traffic-policy.js';

const hourMs = 3_600_000;

/** Error: the field that cannot be read. */
function intervalMs(at: string, text: string | undefined, byDefault: number, min: number): number {
  const ms = positiveMs(at, text, byDefault);
  if (ms < min || ms > hourMs) throw new Error(`${at}: must be from ${min} ms to 1h`);
  return ms;
}

/**
 * The budget counts retries under way, as a share of the requests under way. The policy counts both over an interval: its minimum rate
 * becomes the number of retries in a second, and the interval of the share has no effect. Error: the field that cannot be read.
 */
export function compileBackendTrafficPolicy(object: BackendTrafficPolicyObject): CompiledTrafficPolicy {
  const { retryConstraint } = object.spec;
  const { budget = {}, minRetryRate = { count: 10, interval: '1s' } } = retryConstraint ?? {};
  intervalMs('retryConstraint.budget.interval', budget.interval, 10_000, 1_000);
  const { count = 10 } = minRetryRate;
  const rateMs = intervalMs('retryConstraint.minRetryRate.interval', minRetryRate.interval, 1_000, 1);
  const settings = {
    retryBudgetPercent: budget.percent ?? 20,
    retryBudgetMin: Math.max(1, Math.min(1_000_000, Math.round((count * 1_000) / rateMs))),
  };
  return {
    origin: `XBackendTrafficPolicy ${namespaceOf(object)}/${object.metadata.name}`,
    sections: retryConstraint ? [{ name: 'retry', isDryRun: false, settings }] : [],
    from: [],
    unread: [],
  };
}
