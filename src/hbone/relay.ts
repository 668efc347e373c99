/**
 * Relays bytes between a pod's socket and a tunnel's stream (or another pod's socket). No other code touches the payload, so a native
 * relay can replace this file. Half closes and resets pass in both directions.
 */
import net from 'node:net';
import type { Duplex } from 'node:stream';
import { keepReadable, deliveryMsMax } from './stream-end.js';

type RelayEnd = 'finished' | 'pod-reset' | 'peer-reset' | 'cut';

export interface RelayResult {
  /** From the pod to the peer. */
  readonly bytesSent: number;
  readonly bytesReceived: number;
  readonly ended: RelayEnd;
  /** Reason given to `cut`. */
  readonly reason?: string;
  /** One side was reset, and the other side did not accept the first side's data within `deliveryMsMax`. */
  readonly lingered?: boolean;
}

export interface Relay {
  /** Resolves when both ends are closed; never rejects. */
  readonly done: Promise<RelayResult>;
  /** Resets both ends at once. */
  cut(reason: string): void;
  /** Bytes so far, sent and received. */
  counts(): { readonly bytesSent: number; readonly bytesReceived: number };
}

function reset(stream: Duplex): void {
  if (stream.destroyed) return;
  if (stream instanceof net.Socket) stream.resetAndDestroy();
  // Not close(code): Node sends END_STREAM before its RST_STREAM, and the peer would take the reset for an orderly end.
  else keepReadable(stream).destroy(new Error('reset'));
}

/**
 * Resets a stream once all pending data is written, or after `deliveryMsMax`. Data received meanwhile is discarded: an application that
 * blocks on writing would otherwise never get to read.
 */
function resetOnceFlushed(stream: Duplex, onExpired: () => void): void {
  if (stream.destroyed) return;
  const timer = setTimeout(() => {
    onExpired();
    reset(stream);
  }, deliveryMsMax);
  timer.unref();
  stream.once('close', () => clearTimeout(timer));
  stream.resume();
  keepReadable(stream).whenFlushed(() => reset(stream));
}

/** Starts a relay between two streams. Both are passed paused or unread; the relay owns them from the call on. */
export function relay(pod: Duplex, peer: Duplex): Relay {
  let bytesSent = 0;
  let bytesReceived = 0;
  let ended: RelayEnd | undefined;
  let cutReason: string | undefined;
  let lingered = false;

  const done = new Promise<RelayResult>((resolve) => {
    let open = 2;
    const closed = (from: Duplex, to: Duplex, name: RelayEnd) => () => {
      if (!keepReadable(from).inOrder) {
        ended ??= name;
        resetOnceFlushed(to, () => (lingered = true));
      }
      if (--open === 0) {
        resolve({
          bytesSent,
          bytesReceived,
          ended: ended ?? 'finished',
          ...(lingered ? { lingered } : {}),
          ...(cutReason === undefined ? {} : { reason: cutReason }),
        });
      }
    };
    const pump = (from: Duplex, to: Duplex, name: RelayEnd, count: (bytes: number) => void): void => {
      const source = keepReadable(from);
      const target = keepReadable(to);
      from.on('data', (chunk: Buffer) => {
        if (target.discardsWrites) return;
        count(chunk.length);
        // Reading pauses until the target's 'drain', so that at most one chunk queues beyond the target's buffer.
        if (!to.write(chunk)) from.pause();
      });
      to.on('drain', () => from.resume());
      const end = (): void => {
        // A reset stream also emits 'end', before the 'close' that reports the reset. No FIN may be sent to the other side in between.
        if (!source.wasReset && !to.destroyed && !to.writableEnded) to.end();
      };
      // If the end comes from a reset, a pending write fails within this turn of the event loop.
      from.once('end', () => (from.writableLength > 0 ? setImmediate(end) : end()));
      // The following 'close' handles the failure. An error without a listener would end the process.
      from.on('error', () => undefined);
      if (from.destroyed) setImmediate(closed(from, to, name));
      else from.once('close', closed(from, to, name));
    };
    // Each direction ends separately, whichever side opened the socket.
    for (const end of [pod, peer]) if (end instanceof net.Socket) end.allowHalfOpen = true;
    pump(pod, peer, 'pod-reset', (bytes) => (bytesSent += bytes));
    pump(peer, pod, 'peer-reset', (bytes) => (bytesReceived += bytes));
    pod.resume();
    peer.resume();
  });

  return {
    done,
    cut: (reason) => {
      ended ??= 'cut';
      cutReason ??= reason;
      reset(pod);
      reset(peer);
    },
    counts: () => ({ bytesSent, bytesReceived }),
  };
}
