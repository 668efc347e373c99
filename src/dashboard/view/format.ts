/** Numbers and times as the page shows them: with units, and `–` for what is not known. Pure. */
import { latencyMsMax } from '../../model/latency-bounds.js';
import { percentText } from '../../model/share.js';

export const unknownText = '–';

const plain = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumSignificantDigits: 3 });

/** `1,234`. */
export const countText = (count: number): string => plain.format(count);

/** `1 edge`, `2 edges`. */
export const countOf = (count: number, one: string, many = `${one}s`): string =>
  `${countText(count)} ${count === 1 ? one : many}`;

/** `0.25/s`, `1.2K/s`. */
export function rateText(perSecond: number | undefined): string {
  if (perSecond === undefined) return unknownText;
  if (perSecond === 0) return '0/s';
  if (perSecond < 0.01) return '<0.01/s';
  return `${perSecond < 1_000 ? Number(perSecond.toPrecision(perSecond < 100 ? 2 : 3)) : short.format(perSecond)}/s`;
}

/** Percent, rounded as `weft stat` does. It says 100 only if nothing failed. */
export const shareText = (share: number | undefined): string =>
  share === undefined ? unknownText : `${percentText(share)} %`;

/** Milliseconds: `0.4 ms`, `12 ms`, `1.2 s`. */
export function latencyText(ms: number | undefined): string {
  if (ms === undefined) return unknownText;
  if (ms < 1_000) return `${ms < 10 ? Number(ms.toPrecision(2)) : Math.round(ms)} ms`;
  return `${Number((ms / 1_000).toPrecision(2))} s`;
}

/** A percentile: above the last bound of the buckets it is not known how much longer, `≥60 s`. */
export const percentileText = (ms: number | undefined): string =>
  `${ms !== undefined && ms >= latencyMsMax ? '≥' : ''}${latencyText(ms)}`;

const byteUnits = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
export function bytesText(bytes: number): string {
  const unit = Math.min(byteUnits.length - 1, bytes < 1 ? 0 : Math.floor(Math.log2(bytes) / 10));
  const amount = bytes / 1024 ** unit;
  return `${unit === 0 ? amount : Number(amount.toPrecision(3))} ${byteUnits[unit] ?? ''}`;
}

/** `12 s`, `3 min`, `2 h`, `5 d`. */
export function durationText(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1_000));
  if (seconds < 90) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  const hours = Math.round(minutes / 60);
  return hours < 48 ? `${hours} h` : `${Math.round(hours / 24)} d`;
}

export const agoText = (timeMs: number, nowMs: number): string =>
  nowMs - timeMs < 1_000 ? 'now' : `${durationText(nowMs - timeMs)} ago`;

/** When something expires. */
export const untilText = (timeMs: number, nowMs: number): string =>
  timeMs <= nowMs ? `expired ${durationText(nowMs - timeMs)} ago` : `in ${durationText(timeMs - nowMs)}`;

const two = (value: number): string => String(value).padStart(2, '0');

/** `14:03:09`, of the reader's time zone. */
export function clockText(timeMs: number): string {
  const time = new Date(timeMs);
  return `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
}

/** With the day, because a static page is read later. */
export function dateText(timeMs: number): string {
  const time = new Date(timeMs);
  if (Number.isNaN(time.getTime())) return unknownText;
  return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())} ${clockText(timeMs)}`;
}
