/** Metric of discovery resources that this version cannot decode. */
import { Gauge, type Registry } from 'prom-client';

export function undecodableGauge(registry: Registry, read: () => readonly { readonly type: string }[]): void {
  void new Gauge({
    name: 'weft_discovery_undecodable',
    help: 'Discovery resources that could not be decoded; their closed form or their previous version applies',
    labelNames: ['type'] as const,
    registers: [registry],
    collect() {
      this.reset();
      for (const { type } of read()) this.inc({ type });
    },
  });
}
