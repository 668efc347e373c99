/** The lines of the live tap: bounded, with what was lost. Pure. */
import type { TapEvent } from '../../model/mesh-snapshot.js';
import { destinationOf, nameOf, nameWithPort } from '../../model/party-name.js';
import { bytesText, unknownText } from './format.js';
import { hasText } from './text.js';

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

/** Both ends as `weft tap` names them. */
export const tapEnds = ({
  source,
  destination,
}: TapEvent): { readonly from: string; readonly to: string } => ({
  from: nameOf(source),
  to: nameWithPort(destinationOf({ destination, service: destination.service ?? '' }), destination.port),
});

/** The request with its status, or what happened to the connection. */
export function whatText({
  request,
  outcome,
  durationMs,
  bytesSent = 0,
  bytesReceived = 0,
}: TapEvent): string {
  // Status 0: the connection ended before the response.
  if (request) return `${request.status || unknownText} ${request.method} ${request.path}`;
  if (outcome !== 'allowed') return 'connection';
  if (durationMs === undefined) return 'connection opened';
  return `connection, ${bytesText(bytesSent)} sent, ${bytesText(bytesReceived)} received`;
}

/** What decided, and which policies in audit mode would have refused it. */
export const reasonText = ({ policy, why, code, audited = [] }: TapEvent): string =>
  [policy, why, code, audited.length > 0 ? `would be refused by ${audited.join(', ')}` : undefined]
    .filter((part) => part !== undefined && part !== '')
    .join(': ');

/** Whether a line contains the text. */
export function matchesText(event: TapEvent, text: string): boolean {
  const { from, to } = tapEnds(event);
  return hasText([from, to, event.destination.service, whatText(event), reasonText(event)], text);
}
