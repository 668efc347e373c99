/** Whether an endpoint is healthy by the results of one health check, with Envoy's thresholds. Pure. */

/**
 * The result of one check. `network`: no connection, or no response in time; so many in a row make the endpoint unhealthy. `response`: the
 * endpoint says that it is unhealthy, and is so at once. `none`: the check was impossible for a reason that is not the endpoint's.
 */
export type CheckResult =
  { readonly kind: 'ok' } | { readonly kind: 'network' | 'response' | 'none'; readonly why: string };

export interface Thresholds {
  readonly healthyThreshold: number;
  readonly unhealthyThreshold: number;
}

export interface CheckState {
  isHealthy: boolean;
  /** Results of the other kind in a row. */
  contrary: number;
  /** No check has ended yet. The first result decides at once. */
  isFirst: boolean;
}

/** Endpoints count as healthy until their first check has ended: Kubernetes reports them as ready. */
export const newCheckState = (): CheckState => ({ isHealthy: true, contrary: 0, isFirst: true });

/** Takes a result. True: the endpoint's health has changed, or is known for the first time. */
export function onResult(state: CheckState, { kind }: CheckResult, thresholds: Thresholds): boolean {
  if (kind === 'none') return false;
  const isFirst = state.isFirst;
  const isHealthy = kind === 'ok';
  state.isFirst = false;
  if (isHealthy === state.isHealthy) {
    state.contrary = 0;
    return isFirst;
  }
  const threshold = isHealthy ? thresholds.healthyThreshold : thresholds.unhealthyThreshold;
  state.contrary++;
  if (!isFirst && kind !== 'response' && state.contrary < threshold) return false;
  state.isHealthy = isHealthy;
  state.contrary = 0;
  return true;
}
