/** Durations as the Gateway API writes them (GEP-2257): `90s`, `1h30m`, `0s`. Pure. */

const pattern = /^([0-9]{1,5}(h|m|s|ms)){1,4}$/;
const unitMs: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1_000, ms: 1 };

/** Milliseconds of a text that is a duration. */
export function durationMs(text: string): number {
  let ms = 0;
  for (const [, count, unit] of text.matchAll(/([0-9]+)(ms|h|m|s)/g))
    ms += Number(count) * (unitMs[unit ?? ''] ?? 0);
  return ms;
}

/** Milliseconds; undefined where the text is no duration. */
export const parseDuration = (text: string): number | undefined =>
  pattern.test(text) ? durationMs(text) : undefined;
