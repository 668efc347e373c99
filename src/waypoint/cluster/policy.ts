/** The effective configuration of a cluster, made of the settings of its Service's port. */
import type { ServicePolicy } from '../../model/service-policy.js';
import { balancersOf, type Balancers } from './balancer/new-balancer.js';
import type { FailoverConfig } from './priority-load.js';
import type { RetryBudgetConfig } from './retry-budget.js';

export interface ClusterPolicy {
  readonly balancers: Balancers;
  /** Undefined: requests go to the nearest level, whatever its health. */
  readonly failover: FailoverConfig | undefined;
  /** Requests that wait for a connection, in one worker. */
  readonly pendingRequestsMax: number;
  /** Requests under way, in one worker. Infinity: only the waypoint's own limit applies. */
  readonly requestsMax: number;
  /** Undefined: retries have no limit but that of their rule. */
  readonly retryBudget: RetryBudgetConfig | undefined;
}

export const defaultPolicy: ClusterPolicy = {
  balancers: balancersOf(),
  failover: undefined,
  pendingRequestsMax: 20_000,
  requestsMax: Infinity,
  retryBudget: undefined,
};

/** As Envoy's, where only one of the two fields is set. */
const budgetDefault: RetryBudgetConfig = { percent: 20, retriesMin: 3 };

/** The policy of a cluster, from the settings of its Service's port. */
export function clusterPolicyOf(settings: ServicePolicy | undefined): ClusterPolicy {
  const { loadBalancing, locality, pendingRequestsMax, requestsMax, retryBudgetPercent, retryBudgetMin } =
    settings ?? {};
  const hasBudget = retryBudgetPercent !== undefined || retryBudgetMin !== undefined;
  return {
    balancers: loadBalancing ? balancersOf(loadBalancing) : defaultPolicy.balancers,
    failover: locality,
    pendingRequestsMax: pendingRequestsMax ?? defaultPolicy.pendingRequestsMax,
    requestsMax: requestsMax ?? defaultPolicy.requestsMax,
    retryBudget: hasBudget
      ? {
          percent: retryBudgetPercent ?? budgetDefault.percent,
          retriesMin: retryBudgetMin ?? budgetDefault.retriesMin,
        }
      : defaultPolicy.retryBudget,
  };
}
