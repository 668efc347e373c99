/** Metrics of injected faults, with Envoy's names. */
import type { Registry } from 'prom-client';
import { registerMetric } from '../../telemetry/series.js';
import type { FaultCounts } from '../filters/injected-faults.js';

type Counted = Iterable<{ readonly policy: string; readonly counts: FaultCounts }>;

export function registerFaultMetrics(registry: Registry, faults: Counted): void {
  const register = (
    name: string,
    type: 'counter' | 'gauge',
    help: string,
    of: (counts: FaultCounts) => number,
  ): void =>
    registerMetric(registry, { name, help, type }, () =>
      [...faults].map(({ policy, counts }) => ({ labels: { policy }, value: of(counts) })),
    );
  register(
    'envoy_http_fault_delays_injected',
    'counter',
    'Requests that a fault delayed',
    ({ delays }) => delays,
  );
  register(
    'envoy_http_fault_aborts_injected',
    'counter',
    'Requests that a fault aborted',
    ({ aborts }) => aborts,
  );
  register('envoy_http_fault_active_faults', 'gauge', 'Requests that are being delayed', (one) => one.active);
  register(
    'envoy_http_fault_faults_overflow',
    'counter',
    'Faults that were not injected, because too many requests were delayed',
    ({ overflows }) => overflows,
  );
}
