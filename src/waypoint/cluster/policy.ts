/** The effective configuration of a cluster, made of the settings of its Service's port. */
import type { ServicePolicy, SettingName } from '../../model/service-policy.js';
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

/** The object that set a field. */
const originOf = (settings: ServicePolicy | undefined, name: SettingName): string =>
  settings?.origins.find(({ setting }) => setting === name)?.object ?? name;

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
  const { loadBalancing, locality, retryBudgetPercent, retryBudgetMin } = settings ?? {};
  const hasBudget = retryBudgetPercent !== undefined || retryBudgetMin !== undefined;
  return {
    balancers: loadBalancing ? balancersOf(loadBalancing) : defaultPolicy.balancers,
    failover: locality,
    breaker: settings ? breakerLimitsOf(settings) : noLimits,
    failoverActions: locality ? actionsOf(originOf(settings, 'locality')) : defaultPolicy.failoverActions,
    requestHash: requestHashOf(loadBalancing),
    connections: connectionTimeoutsOf(settings?.timeouts),
    retryBudget: hasBudget
      ? {
          percent: retryBudgetPercent ?? budgetDefault.percent,
          retriesMin: retryBudgetMin ?? budgetDefault.retriesMin,
        }
      : defaultPolicy.retryBudget,
  };
}
