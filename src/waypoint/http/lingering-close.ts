/**
 * Lingering close (RFC 9112, section 9.6): a connection that closes with bytes unread is reset, and the reset takes a response with it that
 * the client has not read. So the waypoint ends its own direction and reads on what the client still sends, within bounds.
 */
import type { Duplex } from 'node:stream';
import type { WaypointLimits } from '../limits.js';

/** Without a request's body under way: what comes is the client's end, or a request that crossed the end of the connection. */
const idleMs = 1_000;

interface LingerOptions {
  readonly limits: WaypointLimits;
  /** The client may still be uploading: it reads its response when it is done, or pauses in between. */
  readonly isUploading: boolean;
  /** The client sent more, or for longer, than is read of it: the connection was cut. */
  readonly onLimit: () => void;
}

/** Takes the stream over, whose writable side is ending; destroys it at the latest when a bound is reached. */
export function lingeringClose(stream: Duplex, { limits, isUploading, onLimit }: LingerOptions): void {
  let bytes = 0;
  const timers: NodeJS.Timeout[] = [];
  const after = (ms: number, act: () => void): NodeJS.Timeout => {
    const timer = setTimeout(act, ms).unref();
    timers.push(timer);
    return timer;
  };
  const cut = (): void => {
    if (stream.destroyed) return;
    onLimit();
    stream.destroy();
  };
  const unread = after(limits.lingerMsMax, () => stream.destroy());
  let idle: NodeJS.Timeout | undefined;
  stream.removeAllListeners('data');
  stream.on('data', (piece: Buffer) => {
    bytes += piece.length;
    if (bytes > limits.discardBytesMax) return cut();
    idle?.refresh();
  });
  stream.once('close', () => {
    for (const timer of timers) clearTimeout(timer);
  });
  const onFinish = (): void => {
    clearTimeout(unread);
    idle = after(isUploading ? limits.discardIdleMsMax : idleMs, () => stream.destroy());
    after(limits.discardMsMax, cut);
  };
  if (stream.writableFinished) onFinish();
  else stream.once('finish', onFinish);
  stream.resume();
}
