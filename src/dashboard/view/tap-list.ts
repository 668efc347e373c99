/** The lines of the live tap: bounded, with what was lost. Pure. */
import type { TapEvent } from '../../model/mesh-snapshot.js';

export const tapLinesMax = 300;

export interface TapList {
  /** The newest first. */
  readonly lines: readonly (TapEvent & { readonly key: number })[];
  /** Of events so far. */
  readonly count: number;
  /** Events that the reader was too slow for, as the programs say. */
  readonly lost: number;
  /** Events that came while it was paused. */
  readonly passed: number;
}

export const emptyTap: TapList = { lines: [], count: 0, lost: 0, passed: 0 };

/** @param isPaused the lines stay, so that they can be read */
export function addEvents(
  tap: TapList,
  events: readonly TapEvent[],
  lost: number,
  isPaused: boolean,
): TapList {
  if (events.length === 0 && lost === 0) return tap;
  const count = tap.count + events.length;
  if (isPaused) return { ...tap, count, lost: tap.lost + lost, passed: tap.passed + events.length };
  const fresh = events.map((event, index) => ({ ...event, key: tap.count + index })).reverse();
  return { ...tap, lines: [...fresh, ...tap.lines].slice(0, tapLinesMax), count, lost: tap.lost + lost };
}

/** `{ count }` of the event `lost`; 0 for something else. */
export function lostCount(data: string): number {
  try {
    const { count } = JSON.parse(data) as { readonly count?: unknown };
    return typeof count === 'number' && count > 0 ? count : 0;
  } catch {
    return 0;
  }
}

/** What of the mesh cannot be tapped: the event `missing`. */
export function missingOf(data: string): readonly string[] {
  try {
    const value: unknown = JSON.parse(data);
    return Array.isArray(value) ? value.map(String) : [];
  } catch {
    return [];
  }
}

/** Undefined: it is no event that this page can show. */
export function tapEventOf(data: string): TapEvent | undefined {
  let value: unknown;
  try {
    value = JSON.parse(data);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { kind, timeMs, source, destination } = value as Partial<TapEvent>;
  const isOne =
    (kind === 'request' || kind === 'connection') &&
    typeof timeMs === 'number' &&
    typeof source?.workload === 'string' &&
    typeof destination?.workload === 'string';
  return isOne ? (value as TapEvent) : undefined;
}

/** Lines whose names, paths or reasons contain the text. */
export function matchesText(event: TapEvent, text: string): boolean {
  const wanted = text.trim().toLowerCase();
  if (wanted === '') return true;
  const { source, destination, request, policy, why, code } = event;
  return [
    `${source.namespace}/${source.workload}`,
    `${destination.namespace}/${destination.workload}`,
    destination.service,
    request?.method,
    request?.path,
    String(request?.status ?? ''),
    policy,
    code,
    why,
  ].some((part) => part?.toLowerCase().includes(wanted));
}
