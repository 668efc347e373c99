/** Success rates of the endpoints of a cluster in one interval. Pure. */

/** An endpoint's share of successful requests, in percent. */
export interface Rate<E> {
  readonly endpoint: E;
  readonly percent: number;
}

/** The rates below the mean minus `factor` standard deviations (of the whole population, as in Envoy). */
export function belowMean<E>(rates: readonly Rate<E>[], factor: number): Rate<E>[] {
  if (rates.length === 0) return [];
  const mean = rates.reduce((sum, { percent }) => sum + percent, 0) / rates.length;
  const variance = rates.reduce((sum, { percent }) => sum + (percent - mean) ** 2, 0) / rates.length;
  const threshold = mean - factor * Math.sqrt(variance);
  return rates.filter(({ percent }) => percent < threshold);
}
