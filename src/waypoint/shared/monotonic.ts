/** A clock that all processes of a machine share, and that never jumps (CLOCK_MONOTONIC). */
import { performance } from 'node:perf_hooks';

/** `performance.now` is the same clock, from the start of the process on. */
const offsetMs = offset();

/** A process may lose its turn between two clocks, so the shortest of several readings counts. */
function offset(): number {
  let best = { tookMs: Infinity, offsetMs: 0 };
  for (let i = 0; i < 20; i++) {
    const beforeMs = performance.now();
    const [seconds, nanoseconds] = process.hrtime();
    const tookMs = performance.now() - beforeMs;
    const now = seconds * 1_000 + nanoseconds / 1e6;
    if (tookMs < best.tookMs) best = { tookMs, offsetMs: now - beforeMs - tookMs / 2 };
  }
  return best.offsetMs;
}

/** Milliseconds since the machine's start. The same moment has the same number in all processes, up to a few microseconds. */
export const monotonicMs = (): number => performance.now() + offsetMs;
