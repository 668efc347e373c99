/** The lines of a tap, as the control plane sends them: one JSON object each. */
import type { IncomingMessage } from 'node:http';
import { WeftError } from '../../base/errors.js';
import { isRecord } from '../../base/record.js';
import type { TapEvent } from '../../model/mesh-snapshot.js';
import { tapOutcomes, type TapLine } from '../../model/tap.js';

const lineCharsMax = 64 << 10;
/** Of a Date. */
const timeMsMax = 8.64e15;
/** The control plane sends a line at least every 10 s. */
export const silenceMsMax = 35_000;

export const noTap = (why: string): WeftError =>
  new WeftError('WEFT_ADMIN', `the control plane does not say what happens: ${why}`, { retryable: true });

const isParty = (value: unknown): boolean =>
  isRecord(value) && ['namespace', 'workload', 'pod'].every((name) => typeof value[name] === 'string');

const isRequest = (value: unknown): boolean =>
  isRecord(value) &&
  typeof value['method'] === 'string' &&
  typeof value['path'] === 'string' &&
  typeof value['status'] === 'number' &&
  typeof value['durationMs'] === 'number';

/** Whether it has what commands print. */
const isEvent = (value: unknown): value is TapEvent =>
  isRecord(value) &&
  ['kind', 'id', 'reporter', 'path'].every((name) => typeof value[name] === 'string') &&
  tapOutcomes.some((one) => one === value['outcome']) &&
  typeof value['timeMs'] === 'number' &&
  Math.abs(value['timeMs']) <= timeMsMax &&
  isParty(value['source']) &&
  isParty(value['destination']) &&
  (value['request'] === undefined || isRequest(value['request'])) &&
  (value['audited'] === undefined || Array.isArray(value['audited'])) &&
  (value['durationMs'] === undefined || typeof value['durationMs'] === 'number');

/** Undefined: a sign of life, or a line of a later version. Error: WEFT_ADMIN, where the control plane says why it ends the tap. */
export function tapLineOf(text: string): TapLine | undefined {
  let line: unknown;
  try {
    line = JSON.parse(text);
  } catch {
    throw noTap('it sent a line that is no JSON');
  }
  if (!isRecord(line)) return undefined;
  const { event, lost, missing, programs, end } = line;
  if (isEvent(event)) return { event };
  if (typeof lost === 'number') return { lost };
  if (typeof programs === 'number') return { programs };
  if (Array.isArray(missing)) return { missing: missing.map(String) };
  if (typeof end === 'string') throw noTap(end);
  return undefined;
}

/**
 * Reads lines until the response ends. A reader that does not ask for the next line stops the transfer, so that the control plane loses events
 * for it, and counts them.
 */
export async function* tapLines(response: IncomingMessage, signal: AbortSignal): AsyncGenerator<TapLine> {
  let rest = '';
  response.setEncoding('utf8');
  response.setTimeout(silenceMsMax, () => response.destroy(noTap('it has said nothing for a while')));
  const stop = (): void => void response.destroy();
  signal.addEventListener('abort', stop, { once: true });
  try {
    for await (const part of response as AsyncIterable<string>) {
      rest += part;
      const lines = rest.split('\n');
      rest = lines.pop() ?? '';
      if (rest.length > lineCharsMax) throw noTap('it sent a line that is too long');
      for (const text of lines) {
        const line = text === '' ? undefined : tapLineOf(text);
        if (line) yield line;
      }
    }
    if (!signal.aborted) throw noTap('it ended the tap');
  } catch (error) {
    if (!signal.aborted) throw error instanceof WeftError ? error : noTap((error as Error).message);
  } finally {
    signal.removeEventListener('abort', stop);
    response.destroy();
  }
}
