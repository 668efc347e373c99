/** Why an endpoint's HTTP/2 stream was closed early, and whether the request can have been processed. */
import http2 from 'node:http2';
import type { UpstreamFailure } from '../http/http-stream.js';

/** How a connection ended, as far as it did. */
export interface ConnectionEnd {
  /** By GOAWAY: streams above it were not processed, nor will they be. */
  readonly lastStreamId?: number;
  /** What the endpoint sent that cannot be read. */
  readonly unreadable?: string;
  readonly isCut?: boolean;
}

/**
 * What became of a request whose stream was closed ahead of its response's end (RFC 9113, sections 6.8 and 8.7). Pure.
 * @param id of the stream; undefined where the connection ended before it was opened
 * @param isQuiet nothing of a response came
 * @param used the connection had carried a response before
 */
export function failureOf(
  rstCode: number,
  id: number | undefined,
  { lastStreamId, unreadable, isCut }: ConnectionEnd,
  { isQuiet, used }: { readonly isQuiet: boolean; readonly used: boolean },
): UpstreamFailure {
  if (id === undefined) return { kind: 'refused', why: 'the connection ended before the request was sent' };
  if (rstCode === http2.constants.NGHTTP2_REFUSED_STREAM)
    return { kind: 'refused', why: 'the endpoint refused the stream unprocessed' };
  if (isQuiet && lastStreamId !== undefined && id > lastStreamId)
    return {
      kind: 'refused',
      why: 'the endpoint ended the connection (GOAWAY) and did not process the stream',
    };
  if (unreadable !== undefined) return { kind: 'protocol', why: `the answer is malformed: ${unreadable}` };
  if (isCut === true && isQuiet && used)
    return { kind: 'stale', why: 'the endpoint had closed the kept connection' };
  return { kind: 'reset', why: `the endpoint closed the stream (HTTP/2 code ${rstCode})` };
}
