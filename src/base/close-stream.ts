import http2 from 'node:http2';

/** How often it is looked whether a peer that reads slowly has taken the response. */
const lookMs = 10;

/**
 * Ends what the peer still sends on a stream whose response is whole (RFC 9113, section 8.1: RST_STREAM with NO_ERROR), once
 * the frames of the response are on their way: a reset that is asked for while they wait takes their place, so the peer would
 * see no response (nghttp2 drops them; Node 22.23 does so within the 'stream' event already).
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
