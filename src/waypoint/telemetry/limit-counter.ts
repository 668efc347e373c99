import { Counter, type Registry } from 'prom-client';
import type { WaypointLimit } from '../limits.js';

/** Counts limits that the main process reaches. */
export function countLimits(registry: Registry): (limit: WaypointLimit) => void {
  const limitReached = new Counter({
    name: 'weft_limit_reached_total',
    help: 'Number of times that a limit of the waypoint was reached, by limit (docs/limits.md)',
    labelNames: ['limit'] as const,
    registers: [registry],
  });
  return (limit) => limitReached.inc({ limit });
}
