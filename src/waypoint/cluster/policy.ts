/** The effective configuration of a cluster, made of the settings of its Service's port. */
import { originOf, type ServicePolicy } from '../../model/service-policy.js';
import type { TrafficAction } from '../telemetry/request-record.js';
import { balancersOf, type Balancers } from './balancer/new-balancer.js';
import { breakerLimitsOf, noLimits, type BreakerLimits } from './breaker/limits.js';
import {
  connectionTimeoutsOf,
  noConnectionTimeouts,
  type ConnectionTimeouts,
} from './connection-timeouts.js';
import type { FailoverConfig } from './priority-load.js';
import { requestHashOf, type RequestHash } from './request-hash.js';
import type { RetryBudgetConfig } from './retry-budget.js';

export interface ClusterPolicy {
  readonly balancers: Balancers;
  /** Undefined: requests go to the nearest level, whatever its health. */
  readonly failover: FailoverConfig | undefined;
  readonly breaker: BreakerLimits;
  /** How requests to other levels, and in panic, are logged. */
  readonly failoverActions: Readonly<Record<'panic' | 'failover', TrafficAction>>;
  /** Undefined: the balancer does not look at requests. */
  readonly requestHash: RequestHash | undefined;
  readonly connections: ConnectionTimeouts;
  /** Undefined: retries have no limit but that of their rule. */
  readonly retryBudget: RetryBudgetConfig | undefined;
}

function actionsOf(policy: string): ClusterPolicy['failoverActions'] {
  return {
    panic: { feature: 'panic', mode: 'did', policy },
    failover: { feature: 'failover', mode: 'did', policy },
  };
}

export const defaultPolicy: ClusterPolicy = {
  balancers: balancersOf(),
  failover: undefined,
  breaker: noLimits,
  failoverActions: actionsOf('locality'),
  requestHash: undefined,
  connections: noConnectionTimeouts,
  retryBudget: undefined,
};

/** As Envoy's, where only one of the two fields is set. */
const budgetDefault: RetryBudgetConfig = { percent: 20, retriesMin: 3 };

/** The policy of a cluster, from the settings of its Service's port. */
export function clusterPolicyOf(settings: ServicePolicy | undefined): ClusterPolicy {
  if (!settings) return defaultPolicy;
  const { loadBalancing, locality, retryBudgetPercent: percent, retryBudgetMin: retriesMin } = settings;
  const hasBudget = percent !== undefined || retriesMin !== undefined;
  return {
    balancers: loadBalancing ? balancersOf(loadBalancing) : defaultPolicy.balancers,
    failover: locality,
    breaker: breakerLimitsOf(settings),
    failoverActions: locality
      ? actionsOf(originOf(settings, 'locality') ?? 'locality')
      : defaultPolicy.failoverActions,
    requestHash: requestHashOf(loadBalancing),
    connections: connectionTimeoutsOf(settings.timeouts),
    retryBudget: hasBudget
      ? { percent: percent ?? budgetDefault.percent, retriesMin: retriesMin ?? budgetDefault.retriesMin }
      : defaultPolicy.retryBudget,
  };
}
