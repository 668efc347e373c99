/** Why an endpoint's HTTP/2 stream was closed early, and whether the request can have been processed. */
import http2 from 'node:http2';
import type { UpstreamFailure } from '../http/http-stream.js';

/** How a connection ended, as far as it has. */
export interface ConnectionEnd {
  /** From GOAWAY: streams above this id were not processed and will not be. */
  readonly lastStreamId?: number;
  /** The library's error for bytes of the endpoint that it cannot parse. */
  readonly unreadable?: string;
  readonly isCut?: boolean;
}

/**
 * The failure of a request whose stream was closed before its response's end (RFC 9113, sections 6.8 and 8.7). Pure.
 * @param id the stream's id; undefined if the connection ended before the stream was opened
 * @param isQuiet nothing of a response arrived
 * @param used the connection was used for an earlier response
 */
export function failureOf(
  rstCode: number,
  id: number | undefined,
  { lastStreamId, unreadable, isCut }: ConnectionEnd,
  { isQuiet, used }: { readonly isQuiet: boolean; readonly used: boolean },
): UpstreamFailure {
  if (id === undefined) return { kind: 'refused', why: 'the connection ended before the request was sent' };
  if (rstCode === http2.constants.NGHTTP2_REFUSED_STREAM)
    return { kind: 'refused', why: 'the endpoint refused the stream without processing it' };
  if (isQuiet && lastStreamId !== undefined && id > lastStreamId)
    return {
      kind: 'refused',
      why: 'the endpoint ended the connection (GOAWAY) and did not process the stream',
    };
  if (unreadable !== undefined) return { kind: 'protocol', why: `the response is malformed: ${unreadable}` };
  if (isCut === true && isQuiet && used)
    return { kind: 'stale', why: 'the endpoint had closed the idle connection' };
  return { kind: 'reset', why: `the endpoint closed the stream (HTTP/2 code ${rstCode})` };
}
