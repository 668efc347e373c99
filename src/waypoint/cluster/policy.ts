/** The effective configuration of a cluster, made of the settings of its Service's port. */
import type { ServicePolicy } from '../../model/service-policy.js';
import { breakerLimitsOf, noLimits, type BreakerLimits } from './breaker/limits.js';
import type { BalancerKind } from './balancer.js';
import type { RetryBudgetConfig } from './retry-budget.js';

export interface ClusterPolicy {
  readonly balancer: BalancerKind;
  readonly breaker: BreakerLimits;
  /** Undefined: retries have no limit but that of their rule. */
  readonly retryBudget: RetryBudgetConfig | undefined;
}

export const defaultPolicy: ClusterPolicy = {
  balancer: 'least-request',
  breaker: noLimits,
  retryBudget: undefined,
};

/** As Envoy's, where only one of the two fields is set. */
const budgetDefault: RetryBudgetConfig = { percent: 20, retriesMin: 3 };

const balancers: Readonly<Record<string, BalancerKind>> = {
  roundRobin: 'round-robin',
  leastRequest: 'least-request',
  random: 'random',
};

/** The policy of a cluster, from the settings of its Service's port. */
export function clusterPolicyOf(settings: ServicePolicy | undefined): ClusterPolicy {
  const { loadBalancing, retryBudgetPercent, retryBudgetMin } = settings ?? {};
  const hasBudget = retryBudgetPercent !== undefined || retryBudgetMin !== undefined;
  return {
    balancer: balancers[loadBalancing?.kind?.$case ?? 'leastRequest'] ?? defaultPolicy.balancer,
    breaker: settings ? breakerLimitsOf(settings) : noLimits,
    retryBudget: hasBudget
      ? {
          percent: retryBudgetPercent ?? budgetDefault.percent,
          retriesMin: retryBudgetMin ?? budgetDefault.retriesMin,
        }
      : defaultPolicy.retryBudget,
  };
}
