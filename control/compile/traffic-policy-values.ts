/** Reads texts of a TrafficPolicy's fields. Errors name the field. Pure. */
import { durationMsOf, timerMsMax } from '../../src/model/duration.js';

const wrong = (at: string, text: string, expects: string): Error =>
  new Error(`${at}: ${JSON.stringify(text.slice(0, 64))} is not ${expects}`);

/** A duration in milliseconds, limited to what a timer can wait. */
export function durationMs(at: string, text: string): number {
  const ms = durationMsOf(text);
  if (ms === undefined) throw wrong(at, text, 'a duration (GEP-2257), such as 10s or 1m30s');
  return Math.min(ms, timerMsMax);
}

/** A duration above 0. @param byDefault milliseconds, if the text is absent */
export function positiveMs(at: string, text: string | undefined, byDefault: number): number {
  if (text === undefined) return byDefault;
  const ms = durationMs(at, text);
  if (ms === 0) throw new Error(`${at}: must be above 0`);
  return ms;
}

/** A number with up to three decimals, above 0, in thousandths. */
export function thousandths(at: string, text: string): number {
  const value = /^[0-9]{1,3}(\.[0-9]{1,3})?$/.test(text) ? Math.round(Number(text) * 1000) : 0;
  if (value === 0) throw wrong(at, text, 'a number above 0 with up to three decimals');
  return value;
}

/** A percentage with up to four decimals, in parts per million. */
export function partsPerMillion(at: string, text: string): number {
  const value = /^[0-9]{1,3}(\.[0-9]{1,4})?$/.test(text) ? Math.round(Number(text) * 10_000) : -1;
  if (value < 0 || value > 1_000_000) throw wrong(at, text, 'a percentage from 0 to 100');
  return value;
}

const unitBytes: Readonly<Record<string, number>> = {
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
};
/** A quantity of memory above 0, in bytes. */
export function quantityBytes(at: string, text: string): number {
  const [, count = '', unit = ''] = /^0*([1-9][0-9]{0,8})(Ki|Mi|Gi|Ti|k|M|G|T)?$/.exec(text) ?? [];
  const bytes = Number(count) * (unitBytes[unit] ?? 0);
  if (!(bytes > 0) || !Number.isSafeInteger(bytes))
    throw wrong(at, text, 'a quantity above 0, such as 400Mi');
  return bytes;
}

/** A time in milliseconds since the epoch. */
export function timeMs(at: string, text: string): number {
  const ms = Date.parse(text);
  if (Number.isNaN(ms) || ms <= 0) throw wrong(at, text, 'a time, such as 2026-12-01T00:00:00Z');
  return ms;
}
