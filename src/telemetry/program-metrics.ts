/** Metrics that every program of the mesh has, for alerts: its version, its connection to the control plane, and its certificates. */
import { Gauge, type Registry } from 'prom-client';
import { version } from '../base/version.js';
import { registerMetric } from './series.js';

export interface ProgramState {
  /** Absent: the program is the control plane. */
  readonly isConnected?: () => boolean;
  /** When certificates in use expire, in milliseconds since 1970. */
  readonly certificates: () => Iterable<number>;
}

/** `name` of the certificates' metric: those of workloads and of a CA last for different times, so that alerts need two. */
export function programMetrics(
  registry: Registry,
  { isConnected, certificates }: ProgramState,
  name = 'weft_certificate_expiry_seconds',
): void {
  new Gauge({
    name: 'weft_build_info',
    help: '1, by version of the program',
    labelNames: ['version'] as const,
    aggregator: 'max',
    registers: [registry],
  }).set({ version }, 1);
  if (isConnected)
    void new Gauge({
      name: 'weft_control_plane_connected',
      help: '1 while the program has a discovery stream to the control plane',
      registers: [registry],
      collect() {
        this.set(isConnected() ? 1 : 0);
      },
    });
  const help = 'When the first of the certificates in use expires, in seconds since 1970; absent without one';
  registerMetric(registry, { name, help, type: 'gauge', aggregator: 'min', labelNames: [] }, () => {
    const first = Math.min(...certificates());
    return Number.isFinite(first) ? [{ labels: {}, value: first / 1000 }] : [];
  });
}
