/**
 * The share of requests that each level of endpoints gets, by Envoy's formulas for priority levels and panic (load_balancer_impl.cc,
 * docs "Priority levels" and "Panic threshold"). All numbers are whole percentages, as Envoy's. Pure.
 */

export interface LevelHealth {
  readonly total: number;
  readonly healthy: number;
}

export interface FailoverConfig {
  /** A level counts as healthy while its share of healthy endpoints times this is at least 100 (Envoy: 140). */
  readonly overprovisioningPercent: number;
  /** Share of healthy endpoints below which all endpoints of a level are used; 0: never (Envoy: 50). */
  readonly panicPercent: number;
  /** A level with fewer healthy endpoints gets no requests, if another level has enough. 0: no minimum. */
  readonly minEndpoints: number;
}

export interface LevelLoad {
  /** Share of all requests, in percent. All shares add up to 100. */
  readonly load: number;
  /** All endpoints of the level are used, also those that are not healthy. */
  readonly isPanicking: boolean;
}

export function priorityLoads(levels: readonly LevelHealth[], config: FailoverConfig): LevelLoad[] {
  const { overprovisioningPercent, panicPercent, minEndpoints } = config;
  const hasEnough = levels.some(({ healthy }) => healthy >= minEndpoints);
  const health = levels.map(({ total, healthy }) =>
    total === 0 || (hasEnough && healthy < minEndpoints)
      ? 0
      : Math.min(100, Math.floor((overprovisioningPercent * healthy) / total)),
  );
  const available = Math.min(
    100,
    health.reduce((sum, one) => sum + one, 0),
  );
  // No endpoint is healthy, and there is no panic: requests fail at the first level.
  if (available === 0 && panicPercent === 0)
    return levels.map((_, i) => ({ load: i === 0 ? 100 : 0, isPanicking: false }));
  const panics = levels.map(
    ({ total, healthy }) => available < 100 && total > 0 && (100 * healthy) / total < panicPercent,
  );
  const isTotal = levels.every(({ total }, i) => total === 0 || panics[i]);
  const parts = isTotal ? levels.map(({ total }) => total) : health;
  const whole = isTotal ? parts.reduce((sum, one) => sum + one, 0) : available;
  let left = 100;
  const loads = parts.map((part) => {
    const load = whole === 0 ? 0 : Math.min(left, Math.floor((part * 100) / whole));
    left -= load;
    return load;
  });
  // What rounding leaves goes to the first level that has a part.
  const first = Math.max(
    0,
    parts.findIndex((part) => part > 0),
  );
  return loads.map((load, i) => ({
    load: i === first ? load + left : load,
    isPanicking: panics[i] === true,
  }));
}
