/** Ends an HTTP/2 stream without losing the response on it. */
import http2 from 'node:http2';

/** Between two looks at whether a slow peer has taken the response: Node.js has no event for that. */
const lookMs = 10;

/**
 * Stops the peer's upload on a stream whose response is complete, by RST_STREAM with NO_ERROR (RFC 9113, section 8.1). It waits until the
 * response's frames are written: nghttp2 drops frames that are queued when a stream is reset, and the peer would see no response.
 */
export function closeOnceSent(stream: http2.ServerHttp2Stream): void {
  const look = (): void => {
    const { session } = stream;
    if (stream.destroyed || stream.closed || !session || session.destroyed) return;
    if ((session.state.outboundQueueSize ?? 0) > 0) setTimeout(look, lookMs).unref();
    else stream.close(http2.constants.NGHTTP2_NO_ERROR);
  };
  setImmediate(look);
}
