/** The effective configuration of a cluster: what the policies of its Service's port come to. */
import type { BalancerKind } from './balancer.js';
import type { RetryBudgetConfig } from './retry-budget.js';

export interface ClusterPolicy {
  readonly balancer: BalancerKind;
  /** Requests that wait for a connection, in one worker. */
  readonly pendingRequestsMax: number;
  /** Requests under way, in one worker. Infinity: only the waypoint's own limit applies. */
  readonly requestsMax: number;
  /** Undefined: retries have no limit but that of their rule. */
  readonly retryBudget: RetryBudgetConfig | undefined;
}

export const defaultPolicy: ClusterPolicy = {
  balancer: 'least-request',
  pendingRequestsMax: 20_000,
  requestsMax: Infinity,
  retryBudget: undefined,
};
