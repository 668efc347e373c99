/**
 * Lingering close (RFC 9112, section 9.6): closing a connection with unread bytes resets it, and the reset destroys a response that the client
 * has not read yet. So the waypoint ends its own direction and keeps reading what the client sends, within limits.
 */
import type { Duplex } from 'node:stream';
import type { WaypointLimits } from '../limits.js';

/** Idle time without an upload under way: only the client's end is due, or a request that crossed the end of the connection. */
const idleMs = 1_000;

interface LingerOptions {
  readonly limits: WaypointLimits;
  /** The client may still be uploading: it may pause, or read its response only after the upload. */
  readonly isUploading: boolean;
  /** Called when the client sent more bytes, or for longer, than the limits allow: the connection was cut. */
  readonly onLimit: () => void;
}

/** Takes over the stream, whose writable side is ending, and destroys it at the latest when a limit is reached. */
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
