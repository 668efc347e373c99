/** Polls a ring. */

/** A ring that was empty for long is polled this often. */
const idleMsMax = 400;

/**
 * Calls `drain` until the returned function is called: every `busyMs` while it finds something, and ever more rarely while it finds nothing,
 * because each wake-up of an agent at rest costs CPU.
 */
export function poll(drain: () => boolean, busyMs: number): () => void {
  let waitMs = busyMs;
  const turn = (): void => {
    waitMs = drain() ? busyMs : Math.min(2 * waitMs, idleMsMax);
    timer = setTimeout(turn, waitMs).unref();
  };
  let timer = setTimeout(turn, waitMs).unref();
  return () => clearTimeout(timer);
}
