/** Resources from discovery that this version does not understand, as a metric. */
import { Gauge, type Registry } from 'prom-client';

export function undecodableGauge(registry: Registry, read: () => readonly { readonly type: string }[]): void {
  void new Gauge({
    name: 'weft_discovery_undecodable',
    help: 'Resources that are not understood: what they concern is closed, or as it was before',
    labelNames: ['type'] as const,
    registers: [registry],
    collect() {
      this.reset();
      for (const { type } of read()) this.inc({ type });
    },
  });
}
