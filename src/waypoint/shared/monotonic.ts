/** A clock that all processes of a machine share, and that never jumps (CLOCK_MONOTONIC). */
import { performance } from 'node:perf_hooks';

const [seconds, nanoseconds] = process.hrtime();
/** `performance.now` is the same clock, from the start of the process on. */
const offsetMs = seconds * 1_000 + nanoseconds / 1e6 - performance.now();

/** Milliseconds since the machine's start. The same moment has the same number in all processes, up to a few microseconds. */
export const monotonicMs = (): number => performance.now() + offsetMs;
