/** Metrics of load shedding. */
import type { Registry } from 'prom-client';
import { registerMetric, type Value } from '../../telemetry/series.js';
import type { ControllerState } from '../shedding/gradient-controller.js';
import type { Shedding } from '../shedding/shedding.js';

/** Service ports of one worker that are shown. */
const portsMax = 2000;

export function registerSheddingMetrics(
  registry: Registry,
  shedding: Pick<Shedding, 'states' | 'refused'>,
): void {
  registerMetric(
    registry,
    {
      name: 'weft_waypoint_load_shed_total',
      help: 'Requests refused by load shedding, or counted in dry run, by reason',
      type: 'counter',
    },
    () => Object.entries(shedding.refused).map(([reason, value]) => ({ value, labels: { reason } })),
  );
  const valuesOf = (read: (state: ControllerState) => number): Value[] => {
    const values: Value[] = [];
    for (const { service, port, state } of shedding.states()) {
      const hostname = service.slice(service.indexOf('/') + 1);
      values.push({ value: read(state), labels: { envoy_cluster_name: `outbound|${port}||${hostname}` } });
      if (values.length === portsMax) break;
    }
    return values;
  };
  const register = (
    name: string,
    help: string,
    type: 'gauge' | 'counter',
    aggregator: 'sum' | 'max' | 'average',
    read: (state: ControllerState) => number,
  ): void => registerMetric(registry, { name, help, type, aggregator }, () => valuesOf(read));

  // A limit is a worker's own, so the workers' limits add up.
  register(
    'envoy_http_adaptive_concurrency_gradient_controller_concurrency_limit',
    'Requests that may be under way',
    'gauge',
    'sum',
    ({ limit }) => limit,
  );
  register(
    'envoy_http_adaptive_concurrency_gradient_controller_rq_blocked',
    'Requests beyond the limit of adaptive concurrency',
    'counter',
    'sum',
    (s) => s.blocked,
  );
  register(
    'envoy_http_adaptive_concurrency_gradient_controller_burst_queue_size',
    'Headroom of the limit',
    'gauge',
    'sum',
    ({ headroom }) => headroom,
  );
  register(
    'envoy_http_adaptive_concurrency_gradient_controller_gradient',
    'Latency without load, divided by the latency',
    'gauge',
    'average',
    (s) => s.gradient,
  );
  register(
    'envoy_http_adaptive_concurrency_gradient_controller_min_rtt_msecs',
    'Latency without load',
    'gauge',
    'average',
    ({ minRttMs }) => minRttMs,
  );
  register(
    'envoy_http_adaptive_concurrency_gradient_controller_sample_rtt_msecs',
    'Latency in the last window',
    'gauge',
    'average',
    (s) => s.sampleRttMs,
  );
  register(
    'envoy_http_adaptive_concurrency_gradient_controller_min_rtt_calculation_active',
    'Workers that are measuring the latency without load',
    'gauge',
    'sum',
    ({ isMeasuring }) => Number(isMeasuring),
  );
}
