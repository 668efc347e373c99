/** Durations in the Gateway API's format (GEP-2257): `90s`, `1h30m`, `0s`. Pure. */

/** The longest delay of setTimeout: it treats anything above 2^31 - 1 ms as 1 ms. */
export const timerMsMax = 2 ** 31 - 1;

/** The largest idle timeout of annotations: the largest whole number of hours below `timerMsMax`. */
export const idleMsMax = 576 * 3_600_000;

const pattern = /^([0-9]{1,5}(h|m|s|ms)){1,4}$/;
const unitMs: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1_000, ms: 1 };

/** The duration in milliseconds; undefined if the text is not a duration. */
export function durationMsOf(text: string): number | undefined {
  if (!pattern.test(text)) return undefined;
  let ms = 0;
  for (const [, count, unit] of text.matchAll(/([0-9]+)(ms|h|m|s)/g))
    ms += Number(count) * (unitMs[unit ?? ''] ?? 0);
  return ms;
}
