/** Serializes heads as HTTP/1.1. Values were checked when they were read or configured: they contain neither CR nor LF. */
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

/** Removes hop-by-hop fields in place, also `te`, which is added again where it is sent. `options`: fields that the connection header named. */
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

/** A field that the connection header names is not forwarded. `host` and `content-length` route and frame the message, so they stay. */
function isOption(options: readonly string[], name: string): boolean {
  return name !== 'host' && name !== 'content-length' && options.includes(name);
}
