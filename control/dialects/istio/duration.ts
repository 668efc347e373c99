/** Durations of Istio's API, as Go and protobuf write them: `30s`, `1.5s`, `1h30m`. Pure. */
import { timerMsMax } from '../../../src/model/duration.js';

const unitMs: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
};

/** Milliseconds, not rounded; undefined: the text is no duration. */
export function exactMs(text: string): number | undefined {
  if (text === '0') return 0;
  if (!/^([0-9]{1,12}(\.[0-9]{0,12})?(ns|us|µs|ms|s|m|h)){1,7}$/.test(text)) return undefined;
  let ms = 0;
  for (const [, count, unit] of text.matchAll(/([0-9.]+)(ns|us|µs|ms|s|m|h)/g))
    ms += Number(count) * (unitMs[unit ?? ''] ?? 0);
  return ms;
}

/** Milliseconds, at least 1 if the duration is above 0, limited to what a timer can wait. Error: the field `at` is no duration. */
export function istioMs(at: string, text: unknown): number {
  const ms = typeof text === 'string' ? exactMs(text) : undefined;
  if (ms === undefined)
    throw new Error(`${at}: ${JSON.stringify(text)?.slice(0, 64)} is not a duration, such as 30s or 1m30s`);
  return ms === 0 ? 0 : Math.min(Math.max(1, Math.round(ms)), timerMsMax);
}

/** As `istioMs`; undefined stays undefined. */
export const optionalMs = (at: string, text: unknown): number | undefined =>
  text === undefined ? undefined : istioMs(at, text);
