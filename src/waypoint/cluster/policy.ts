/** The effective configuration of a cluster, made of the settings of its Service's port. */
import type { ServicePolicy } from '../../model/service-policy.js';
import { balancersOf, type Balancers } from './balancer/new-balancer.js';
import { breakerLimitsOf, noLimits, type BreakerLimits } from './breaker/limits.js';
import type { FailoverConfig } from './priority-load.js';
import type { RetryBudgetConfig } from './retry-budget.js';

export interface ClusterPolicy {
  readonly balancers: Balancers;
  /** Undefined: requests go to the nearest level, whatever its health. */
  readonly failover: FailoverConfig | undefined;
  readonly breaker: BreakerLimits;
  /** Undefined: retries have no limit but that of their rule. */
  readonly retryBudget: RetryBudgetConfig | undefined;
}

export const defaultPolicy: ClusterPolicy = {
  balancers: balancersOf(),
  failover: undefined,
  breaker: noLimits,
  retryBudget: undefined,
};

/** As Envoy's, where only one of the two fields is set. */
const budgetDefault: RetryBudgetConfig = { percent: 20, retriesMin: 3 };

/** The policy of a cluster, from the settings of its Service's port. */
export function clusterPolicyOf(settings: ServicePolicy | undefined): ClusterPolicy {
  const { loadBalancing, locality, retryBudgetPercent, retryBudgetMin } = settings ?? {};
  const hasBudget = retryBudgetPercent !== undefined || retryBudgetMin !== undefined;
  return {
    balancers: loadBalancing ? balancersOf(loadBalancing) : defaultPolicy.balancers,
    failover: locality,
    breaker: settings ? breakerLimitsOf(settings) : noLimits,
    retryBudget: hasBudget
      ? {
          percent: retryBudgetPercent ?? budgetDefault.percent,
          retriesMin: retryBudgetMin ?? budgetDefault.retriesMin,
        }
      : defaultPolicy.retryBudget,
  };
}
