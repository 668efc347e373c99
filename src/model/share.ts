/** Shares in percent, for tables and the page. Pure. */

/** `99.9`. 100 and 0 are given only if they are exact. */
export function percentText(share: number): string {
  if (share === 1 || share === 0) return String(share * 100);
  return Math.min(99.9, Math.max(0.1, Math.round(share * 1_000) / 10)).toFixed(1);
}
