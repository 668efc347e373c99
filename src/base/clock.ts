/** Time as a dependency, so that tests can control it. Milliseconds since the epoch. */
export interface Clock {
  now(): number;
  /** Runs `call` once after `delayMs`; returns a cancel function. The timer does not keep the process alive. */
  after(delayMs: number, call: () => void): () => void;
}

// setTimeout treats delays above 2^31-1 ms as 1 ms. The lifetime of a 60-day certificate exceeds that.
const timeoutMsMax = 2_147_483_647;

export const systemClock: Clock = {
  now: () => Date.now(),
  after(delayMs, call) {
    const timer = setTimeout(call, Math.min(Math.max(delayMs, 0), timeoutMsMax));
    timer.unref();
    return () => clearTimeout(timer);
  },
};
