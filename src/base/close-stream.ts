/** Closes an HTTP/2 stream without losing its response. */
import http2 from 'node:http2';

/** First and longest interval of polling whether the response has been sent to a slow peer: Node.js has no event for that. */
const lookMsMin = 10;
const lookMsMax = 320;

/** Waiting streams by session: a peer that reads nothing costs one timer, however many streams it opens. */
const waiting = new WeakMap<http2.Http2Session, Set<http2.ServerHttp2Stream>>();

/**
 * Stops the peer's upload on a stream whose response is complete, with RST_STREAM and NO_ERROR (RFC 9113, section 8.1). The reset waits
 * until the response's frames are written: nghttp2 drops queued frames when a stream is reset, and the peer would get no response.
 */
export function closeOnceSent(stream: http2.ServerHttp2Stream): void {
  setImmediate(() => {
    const { session } = stream;
    if (stream.destroyed || stream.closed || !session) return;
    const streams = waiting.get(session);
    if (streams) return void streams.add(stream);
    const first = new Set([stream]);
    waiting.set(session, first);
    look(session, first, lookMsMin);
  });
}

function look(session: http2.Http2Session, streams: Set<http2.ServerHttp2Stream>, nextMs: number): void {
  for (const stream of streams) if (stream.destroyed || stream.closed) streams.delete(stream);
  if (streams.size > 0 && !session.destroyed && (session.state.outboundQueueSize ?? 0) > 0) {
    setTimeout(look, nextMs, session, streams, Math.min(2 * nextMs, lookMsMax)).unref();
    return;
  }
  waiting.delete(session);
  if (!session.destroyed) for (const stream of streams) stream.close(http2.constants.NGHTTP2_NO_ERROR);
}
