/** Why a request's stream to an endpoint ended early, and whether the request can have been processed. */
import type { StreamReset } from '../../http2/http2.js';
import type { UpstreamFailure } from '../http/http-stream.js';

/**
 * The failure of a request whose stream was closed before its response's end (RFC 9113, sections 6.8 and 8.7). Pure.
 * @param isQuiet nothing of a response arrived
 * @param used the connection was used for an earlier response
 */
export function failureOf(
  { code, by, isUnprocessed, why }: StreamReset,
  { isQuiet, used }: { readonly isQuiet: boolean; readonly used: boolean },
): UpstreamFailure {
  if (isUnprocessed && isQuiet)
    return { kind: 'refused', why: `the endpoint did not process the request: ${why}` };
  if (by === 'protocol') return { kind: 'protocol', why: `the response is malformed: ${why}` };
  if (by === 'connection' && isQuiet && used)
    return { kind: 'stale', why: 'the endpoint had closed the idle connection' };
  return { kind: 'reset', why: `the endpoint closed the stream (HTTP/2 code ${code})` };
}
