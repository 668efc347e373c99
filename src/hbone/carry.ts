/**
 * Carries bytes between a pod's socket and a tunnel's stream (or another pod's socket), and nothing else touches
 * payload: a native carrier may take this file's place. Half closes and resets pass in both directions.
 */
import http2 from 'node:http2';
import net from 'node:net';
import type { Duplex } from 'node:stream';

export type CarryEnd = 'finished' | 'pod-reset' | 'peer-reset' | 'cut';

export interface CarryResult {
  /** From the pod to the peer. */
  readonly bytesSent: number;
  readonly bytesReceived: number;
  readonly ended: CarryEnd;
  /** Why it was cut. */
  readonly why?: string;
}

export interface Carried {
  /** Settles once, when both ends are gone; never rejects. */
  readonly done: Promise<CarryResult>;
  /** Ends both at once: each sees a reset. */
  cut(why: string): void;
  /** Bytes so far, sent and received. */
  counts(): { readonly bytesSent: number; readonly bytesReceived: number };
}

function reset(end: Duplex): void {
  if (end.destroyed) return;
  if (end instanceof net.Socket) end.resetAndDestroy();
  // Not close(code): Node sends END_STREAM ahead of its RST_STREAM, and the peer would take the cut for an end.
  else end.destroy(new Error('reset'));
}

/** An HTTP/2 stream that ended with a code was reset. */
function wasReset(end: Duplex): boolean {
  return 'rstCode' in end && (end as http2.Http2Stream).rstCode !== http2.constants.NGHTTP2_NO_ERROR;
}

/**
 * True where the end came in order: all read, all written. An HTTP/2 stream closes without a code once END_STREAM has gone
 * both ways, and that may be before Node calls back for the write that carried ours. Residual risk: a peer that reset a
 * stream with NO_ERROR after its own end, while our last bytes were under way, is told as an end in order.
 */
function endedInOrder(end: Duplex): boolean {
  if (!end.readableEnded) return false;
  return 'rstCode' in end ? !wasReset(end) && end.writableEnded : end.writableFinished;
}

/** Both ends are handed over paused or unread; the carrier owns them from here on. */
export function carry(pod: Duplex, peer: Duplex): Carried {
  let bytesSent = 0;
  let bytesReceived = 0;
  let ended: CarryEnd | undefined;
  let why: string | undefined;

  const done = new Promise<CarryResult>((resolve) => {
    let open = 2;
    const closed = (from: Duplex, to: Duplex, name: CarryEnd) => () => {
      if (!endedInOrder(from)) {
        ended ??= name;
        reset(to);
      }
      if (--open === 0) {
        resolve({
          bytesSent,
          bytesReceived,
          ended: ended ?? 'finished',
          ...(why === undefined ? {} : { why }),
        });
      }
    };
    const pump = (from: Duplex, to: Duplex, name: CarryEnd, count: (bytes: number) => void): void => {
      from.on('data', (chunk: Buffer) => {
        count(chunk.length);
        // A stream that refuses more is asked again at its 'drain': nothing queues beyond one chunk and its buffer.
        if (!to.write(chunk)) from.pause();
      });
      to.on('drain', () => from.resume());
      from.once('end', () => {
        // A reset stream emits 'end' too, before its 'close' tells of the reset: no FIN may run ahead of that.
        if (!wasReset(from) && !to.destroyed && !to.writableEnded) to.end();
      });
      // The close that follows tells the rest; an unheard error would end the process.
      from.on('error', () => undefined);
      if (from.destroyed) setImmediate(closed(from, to, name));
      else from.once('close', closed(from, to, name));
    };
    pump(pod, peer, 'pod-reset', (bytes) => (bytesSent += bytes));
    pump(peer, pod, 'peer-reset', (bytes) => (bytesReceived += bytes));
    pod.resume();
    peer.resume();
  });

  return {
    done,
    cut: (reason) => {
      ended ??= 'cut';
      why ??= reason;
      reset(pod);
      reset(peer);
    },
    counts: () => ({ bytesSent, bytesReceived }),
  };
}
