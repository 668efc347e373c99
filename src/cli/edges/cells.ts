/** How numbers of tables are written. What is not known is `-`. Pure. */
import { percentText } from '../../model/share.js';
import { latencyMsMax } from '../../model/latency-bounds.js';
import type { Latencies } from '../../model/mesh-snapshot.js';

export const unknown = '-';

export const countText = (count: number): string => String(Math.round(count));

/** `12.3`, `0.02`, `1240`. */
export function rateText(perSecond: number | undefined): string {
  if (perSecond === undefined) return unknown;
  if (perSecond === 0) return '0';
  if (perSecond < 0.01) return '<0.01';
  return perSecond >= 100 ? String(Math.round(perSecond)) : perSecond.toFixed(perSecond < 1 ? 2 : 1);
}

/** `99.9%`. 100 and 0 are shown only if they are exact. */
export function shareText(share: number | undefined): string {
  if (share === undefined) return unknown;
  return `${percentText(share)}%`;
}

/** `0.8ms`, `12ms`, `1.25s`. Above the last bound it is not known how much longer. */
export function latencyText(latencies: Latencies | undefined, of: keyof Latencies): string {
  if (!latencies) return unknown;
  const ms = latencies[of];
  if (ms >= latencyMsMax) return `>=${latencyMsMax / 1_000}s`;
  if (ms >= 1_000) return `${(ms / 1_000).toFixed(2)}s`;
  return `${ms < 10 ? ms.toFixed(1) : String(Math.round(ms))}ms`;
}

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;
/** `17B`, `1.2MiB`. */
export function bytesText(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1_024 && unit < units.length - 1) {
    value /= 1_024;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)}${units[unit] ?? ''}`;
}

export function ageText(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1_000));
  return seconds < 60 ? `${seconds}s` : `${Math.floor(seconds / 60)}m${seconds % 60}s`;
}
