/** Time as a dependency, so that tests turn it by hand. Milliseconds since the epoch. */
export interface Clock {
  now(): number;
  /** Calls once after `delayMs`; returns a cancel function. Never keeps the process alive. */
  after(delayMs: number, call: () => void): () => void;
}

// setTimeout treats anything above 2^31-1 ms as 1 ms; a certificate of 60 days is above it.
const timeoutMsMax = 2_147_483_647;

export const systemClock: Clock = {
  now: () => Date.now(),
  after(delayMs, call) {
    const timer = setTimeout(call, Math.min(Math.max(delayMs, 0), timeoutMsMax));
    timer.unref();
    return () => clearTimeout(timer);
  },
};
