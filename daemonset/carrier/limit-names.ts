/** More than carriers of any version have. */
const namesMax = 64;

/**
 * Reports limits that carriers reach. Their names become labels of a metric, which are never freed: after `namesMax` different ones, further
 * names count as `carrier-other`.
 */
export function boundedLimits(
  report: (limit: string, times: number) => void,
): (limit: string, times: number) => void {
  const names = new Set<string>();
  return (limit, times) => {
    if (names.size < namesMax) names.add(limit);
    report(names.has(limit) ? limit : 'carrier-other', times);
  };
}
