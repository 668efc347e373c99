/**
 * Names the waypoint as an intermediary (RFC 9110): appends to Via (section 7.6.3), refuses requests that have been here before, and honors
 * Max-Forwards (section 7.6.2). Off unless a route asks for it: a mesh that is transparent does not tell endpoints and clients its hops.
 */
import { viaPattern } from '../../model/route-annotations.js';
import type { ViaFilter } from '../../discovery/gen/weft.js';
import { joinedHeader, setHeader, type Headers } from '../http/headers.js';
import type { RequestHead } from '../http/http-stream.js';
import type { FilterKind, FilterResponse } from './filter.js';

const requestVersions = { 'HTTP/1.0': '1.0', 'HTTP/1.1': '1.1', 'HTTP/2': '2.0' } as const;
const responseVersions = { http1: '1.1', http2: '2.0' } as const;
/** The largest value of Max-Forwards that is passed on. */
const forwardsMax = 255;

export const via: FilterKind<ViaFilter> = {
  stage: 'route',
  respondsLast: true,
  compile({ pseudonym }) {
    if (!viaPattern.test(pseudonym)) throw new Error('the name for Via fields is invalid');
    return {
      onRequest({ downstream: { head, version }, authorization }) {
        const passed = joinedHeader(head.headers, 'via');
        if (passed !== undefined && listsPseudonym(passed, pseudonym)) return loopReply(pseudonym);
        // Policies match the headers that the client sent.
        authorization.saveHeaders();
        const response = countForward(head);
        if (!response) append(head.headers, requestVersions[version], pseudonym);
        return response;
      },
      onResponse({ upstreamVersion }, { headers }) {
        // The waypoint's own responses have passed no intermediary.
        if (upstreamVersion) append(headers, responseVersions[upstreamVersion], pseudonym);
      },
    };
  },
};

function append(headers: Headers, version: string, pseudonym: string): void {
  const passed = joinedHeader(headers, 'via');
  setHeader(headers, 'via', `${passed === undefined ? '' : `${passed}, `}${version} ${pseudonym}`);
}

/** Whether the Via list has an element of this name. Comments are no part of a name, and may contain commas. */
export function listsPseudonym(list: string, pseudonym: string): boolean {
  const name = pseudonym.toLowerCase();
  return withoutComments(list)
    .split(',')
    .some(
      (element) =>
        element
          .trim()
          .split(/[ \t]+/)[1]
          ?.toLowerCase() === name,
    );
}

function withoutComments(text: string): string {
  if (!text.includes('(')) return text;
  let bare = '';
  let depth = 0;
  let from = 0;
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (character === '\\' && depth > 0) i++;
    else if (character === '(' && depth++ === 0) bare += `${text.slice(from, i)} `;
    else if (character === ')' && depth > 0 && --depth === 0) from = i + 1;
  }
  // A comment without an end: nothing after its begin is a name.
  return depth > 0 ? bare : bare + text.slice(from);
}

/**
 * Counts this hop of a TRACE or OPTIONS request that limits its hops. At 0 the waypoint is the final recipient: the only method that it
 * supports is OPTIONS. A TRACE response would repeat the request, and so show what hops before this one have added, credentials for instance.
 */
function countForward({ method, headers }: RequestHead): FilterResponse | undefined {
  if (method !== 'TRACE' && method !== 'OPTIONS') return undefined;
  const text = joinedHeader(headers, 'max-forwards');
  if (text === undefined) return undefined;
  if (!/^\d+$/.test(text))
    return {
      kind: 'reply',
      reply: {
        status: 400,
        flag: 'DPE',
        code: 'WEFT_MAX_FORWARDS_INVALID',
        why: 'the value of Max-Forwards is no number',
      },
    };
  const left = Number(text);
  if (left === 0)
    return {
      kind: 'response',
      head: { status: method === 'OPTIONS' ? 200 : 405, headers: ['allow', 'OPTIONS'] },
    };
  setHeader(headers, 'max-forwards', String(Math.min(left - 1, forwardsMax)));
  return undefined;
}

/** 508: the fault is in the configuration of servers. With a status of the 400s, clients would look for it in their requests. */
const loopReply = (pseudonym: string): FilterResponse => ({
  kind: 'reply',
  reply: {
    status: 508,
    flag: 'LR',
    code: 'WEFT_LOOP_DETECTED',
    why: `the request has already passed the waypoint as ${pseudonym}`,
  },
});
