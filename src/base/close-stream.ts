import http2 from 'node:http2';

/** How often it is looked whether a peer that reads slowly has taken the response: at first, and at the least. */
const lookMsMin = 10;
const lookMsMax = 320;

/** Streams that wait, by session: a peer that reads nothing costs one timer, however many streams it opens. */
const waiting = new WeakMap<http2.Http2Session, Set<http2.ServerHttp2Stream>>();

/**
 * Ends what the peer still sends on a stream whose response is whole (RFC 9113, section 8.1: RST_STREAM with NO_ERROR), once
 * the frames of the response are on their way: a reset that is asked for while they wait takes their place, so the peer would
 * see no response (nghttp2 drops them; Node 22.23 does so within the 'stream' event already).
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
