/** Heads as HTTP/1.1 text. What is written here was checked when it was read or configured: no CR or LF is in it. */
import { STATUS_CODES } from 'node:http';
import type { Headers } from '../http/headers.js';
import { hopByHopFields } from '../http/restricted-fields.js';

const statusLines = new Map<number, string>();
export function statusLine(status: number): string {
  let line = statusLines.get(status);
  if (line === undefined) {
    line = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n`;
    statusLines.set(status, line);
  }
  return line;
}

export function fieldLines(headers: Headers): string {
  let text = '';
  for (let i = 0; i < headers.length; i += 2) text += `${headers[i]}: ${headers[i + 1]}\r\n`;
  return text;
}

/** In place. `options`: what the connection header named beside. `te: trailers` alone survives, since it is said anew. */
export function dropHopByHop(headers: Headers, options: readonly string[]): void {
  let to = 0;
  for (let from = 0; from < headers.length; from += 2) {
    const name = headers[from] ?? '';
    if (hopByHopFields.has(name) || (options.length > 0 && isOption(options, name))) continue;
    if (to !== from) {
      headers[to] = name;
      headers[to + 1] = headers[from + 1] ?? '';
    }
    to += 2;
  }
  headers.length = to;
}

/** What a connection header names goes no further; of what frames and routes the message it cannot say so. */
function isOption(options: readonly string[], name: string): boolean {
  return name !== 'host' && name !== 'content-length' && options.includes(name);
}
