/** Waiting by polling, for programs and tests. */
import { WeftError } from './errors.js';

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Polls until `check` returns a truthy value. Throws WEFT_TIMEOUT, with `what` in its message. */
export async function until<T>(
  what: string,
  timeoutMs: number,
  check: () => T | Promise<T>,
  everyMs = 25,
): Promise<Exclude<T, false | null | undefined>> {
  const end = Date.now() + timeoutMs;
  for (;;) {
    const value = await check();
    if (value) return value as Exclude<T, false | null | undefined>;
    if (Date.now() > end) throw new WeftError('WEFT_TIMEOUT', `${what}: not within ${timeoutMs} ms`);
    await sleep(everyMs);
  }
}
