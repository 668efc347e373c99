/**
 * Relays bytes between a pod's socket and a tunnel's stream (or another pod's socket), and nothing else touches
 * payload: a native relay may take this file's place. Half closes and resets pass in both directions.
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
  /** Why it was cut. */
  readonly reason?: string;
  /** One side was reset, and the other side did not take what the first had sent within `deliveryMsMax`. */
  readonly lingered?: boolean;
}

export interface Relay {
  /** Settles once, when both ends are gone; never rejects. */
  readonly done: Promise<RelayResult>;
  /** Ends both at once: each sees a reset. */
  cut(reason: string): void;
  /** Bytes so far, sent and received. */
  counts(): { readonly bytesSent: number; readonly bytesReceived: number };
}

function reset(stream: Duplex): void {
  if (stream.destroyed) return;
  if (stream instanceof net.Socket) stream.resetAndDestroy();
  // Not close(code): Node sends END_STREAM ahead of its RST_STREAM, and the peer would take the cut for an end.
  else keepReadable(stream).destroy(new Error('reset'));
}

/**
 * Resets a stream once all that waits for it is written, or `deliveryMsMax` has passed. What it sends meanwhile is read and discarded: an
 * application that only writes would never come to read.
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

/** Both ends are handed over paused or unread; the relay owns them from here on. */
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
        // A stream that refuses more is asked again at its 'drain': nothing queues beyond one chunk and its buffer.
        if (!to.write(chunk)) from.pause();
      });
      to.on('drain', () => from.resume());
      const end = (): void => {
        // A reset stream emits 'end' too, before its 'close' tells of the reset: no FIN may run ahead of that.
        if (!source.wasReset && !to.destroyed && !to.writableEnded) to.end();
      };
      // A write that waits fails within this turn where the end is a reset's.
      from.once('end', () => (from.writableLength > 0 ? setImmediate(end) : end()));
      // The close that follows tells the rest; an unheard error would end the process.
      from.on('error', () => undefined);
      if (from.destroyed) setImmediate(closed(from, to, name));
      else from.once('close', closed(from, to, name));
    };
    // Each direction has an end of its own, whoever opened the socket.
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
