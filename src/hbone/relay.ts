/**
 * Relays bytes between a pod's socket and a tunnel's stream (or another pod's socket). No other code touches the payload, so a native
 * relay can replace this file. Half closes and resets pass in both directions.
 */
import type { Duplex } from 'node:stream';
import { deliveryMsMax } from '../http2/unread-bytes.js';
import { relayEndOf, type RelayEnd } from './relay-ends.js';

type Ended = 'finished' | 'pod-reset' | 'peer-reset' | 'cut';

export interface RelayResult {
  /** From the pod to the peer. */
  readonly bytesSent: number;
  readonly bytesReceived: number;
  readonly ended: Ended;
  /** Reason given to `cut`. */
  readonly reason?: string;
  /** Result of the check that cut the relay. */
  readonly refused?: string;
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

/** Sees the bytes that pass, and changes nothing. */
export interface RelayWatch {
  /** From the pod. The bytes are valid within the call. */
  sent(bytes: Uint8Array): void;
  received(bytes: Uint8Array): void;
  /** Both ends are closed. */
  end(): void;
}

/**
 * Resets an end once all pending data is written, or after `deliveryMsMax`. Data received meanwhile is discarded: an application that
 * blocks on writing would otherwise never get to read.
 */
function resetOnceFlushed(end: RelayEnd, onExpired: () => void): NodeJS.Timeout | undefined {
  if (end.isClosed) return undefined;
  const timer = setTimeout(() => {
    onExpired();
    end.reset();
  }, deliveryMsMax);
  timer.unref();
  end.resume();
  end.whenFlushed(() => end.reset());
  return timer;
}

/**
 * Starts a relay between two streams. Both are passed paused or unread; the relay owns them from the call on.
 * @param check sees the pod's bytes before they are sent on. Its result, if any, is why the relay is cut
 */
export function relay(
  pod: Duplex,
  peer: Duplex,
  check?: (bytes: Buffer) => string | undefined,
  watch?: RelayWatch,
): Relay {
  const ends = { pod: relayEndOf(pod), peer: relayEndOf(peer) };
  let bytesSent = 0;
  let bytesReceived = 0;
  let ended: Ended | undefined;
  let cutReason: string | undefined;
  let refused: string | undefined;
  let lingered = false;
  const timers: NodeJS.Timeout[] = [];

  const cut = (reason: string): void => {
    ended ??= 'cut';
    cutReason ??= reason;
    ends.pod.reset();
    ends.peer.reset();
  };

  const done = new Promise<RelayResult>((resolve) => {
    let open = 2;
    const pump = (
      from: RelayEnd,
      to: RelayEnd,
      name: Ended,
      count: (bytes: Buffer) => void,
      checked?: typeof check,
    ): void =>
      from.start({
        onData: (bytes) => {
          if (to.discardsWrites) return;
          const why = checked?.(bytes);
          if (why !== undefined) {
            refused ??= why;
            return cut(why);
          }
          count(bytes);
          // Reading pauses until the target's drain, so that at most one chunk queues beyond the target's buffer.
          if (!to.write(bytes)) from.pause();
        },
        onDrain: () => to.resume(),
        onEnd: () => to.end(),
        onClosed: (inOrder) => {
          if (!inOrder) {
            ended ??= name;
            const timer = resetOnceFlushed(to, () => (lingered = true));
            if (timer) timers.push(timer);
          }
          if (--open > 0) return;
          for (const timer of timers) clearTimeout(timer);
          from.release?.();
          to.release?.();
          watch?.end();
          resolve({
            bytesSent,
            bytesReceived,
            ended: ended ?? 'finished',
            ...(lingered ? { lingered } : {}),
            ...(cutReason === undefined ? {} : { reason: cutReason }),
            ...(refused === undefined ? {} : { refused }),
          });
        },
      });
    const onSent = (bytes: Buffer): void => {
      bytesSent += bytes.length;
      watch?.sent(bytes);
    };
    const onReceived = (bytes: Buffer): void => {
      bytesReceived += bytes.length;
      watch?.received(bytes);
    };
    pump(ends.pod, ends.peer, 'pod-reset', onSent, check);
    pump(ends.peer, ends.pod, 'peer-reset', onReceived);
  });

  return {
    done,
    cut,
    counts: () => ({ bytesSent, bytesReceived }),
  };
}
