/**
 * Token buckets as one number each (generic cell rate algorithm, ITU-T I.371): the time at which the bucket will be full again. Tokens come back
 * continuously, so there is no timer. The number is changed by compare-and-swap, so that processes can share a bucket without locks.
 */

/** A limit. Times in nanoseconds. */
export interface Rate {
  /** In which one token comes back. */
  readonly intervalNs: number;
  /** In which an empty bucket becomes full. */
  readonly fillNs: number;
  /** Less than a token, and more than what sums lose by rounding. */
  readonly slackNs: number;
}

/** Longer times make no difference, and lose nanoseconds. */
const fillNsMax = 2 ** 61;

/** @param burst tokens of a full bucket */
export function rateOf(requests: number, perMs: number, burst: number): Rate {
  const intervalNs = (perMs * 1e6) / requests;
  return {
    intervalNs,
    fillNs: Math.min(intervalNs * burst, fillNsMax),
    slackNs: Math.min(intervalNs / 2, 1_000),
  };
}

/** Pure. The time of a bucket after one token was taken. `fullNs`: its time before. Undefined: the bucket has no token. */
function afterTake(fullNs: number, nowNs: number, { intervalNs, fillNs, slackNs }: Rate): number | undefined {
  const next = Math.max(nowNs, boundedFull(fullNs, nowNs, fillNs)) + intervalNs;
  return next - nowNs > fillNs + slackNs ? undefined : next;
}

/** Pure. How long the bucket lacks a token. */
export function waitNs(fullNs: number, nowNs: number, { intervalNs, fillNs }: Rate): number {
  return Math.max(0, boundedFull(fullNs, nowNs, fillNs) + intervalNs - fillNs - nowNs);
}

/** A bucket of a slower limit may be full only much later: by the present limit it is at most empty. */
const boundedFull = (fullNs: number, nowNs: number, fillNs: number): number =>
  Math.min(fullNs, nowNs + fillNs);

/**
 * A place for the time of one bucket: two words of a row, aligned to 8 bytes. Zeros are a full bucket. The time is a 64-bit floating-point
 * number. Compare-and-swap knows integers only, so it gets the number's bits, which are ordered as the numbers are (none is negative).
 */
export class BucketTime {
  readonly #times: BigInt64Array;
  readonly #at: number;

  constructor(words: Int32Array, at: number) {
    const byte = words.byteOffset + 4 * at;
    if (byte % 8 !== 0) throw new Error('a bucket is not aligned to 8 bytes');
    this.#times = timesOf(words.buffer);
    this.#at = byte / 8;
  }

  /** When the bucket is full, by the clock of `take`. */
  get fullNs(): number {
    return numberOf(Atomics.load(this.#times, this.#at));
  }

  /** The bucket is full at this time at the earliest: some of its tokens were taken elsewhere. */
  raise(fullNs: number): void {
    const least = bitsOf(fullNs);
    let known = Atomics.load(this.#times, this.#at);
    while (known < least) {
      const found = Atomics.compareExchange(this.#times, this.#at, known, least);
      if (found === known) return;
      known = found;
    }
  }

  /** Takes a token. 0: taken. Otherwise the nanoseconds until there is one. `clock`: all processes that share the bucket have the same. */
  take(clock: () => number, rate: Rate): number {
    let known = Atomics.load(this.#times, this.#at);
    let nowNs = clock();
    for (;;) {
      // The clock was read before another process changed the bucket: this process lost its turn in between.
      const knownNs = numberOf(known);
      if (knownNs > nowNs + rate.fillNs) nowNs = clock();
      const fullNs = boundedFull(knownNs, nowNs, rate.fillNs);
      const next = afterTake(fullNs, nowNs, rate);
      const wait = next === undefined ? Math.max(1, waitNs(fullNs, nowNs, rate)) : 0;
      if (next === undefined && fullNs === knownNs) return wait;
      // A failed exchange means that another process changed the bucket: look again.
      const found = Atomics.compareExchange(this.#times, this.#at, known, bitsOf(next ?? fullNs));
      if (found === known) return wait;
      known = found;
    }
  }
}

/** Conversions through memory cost far less than `BigInt(number)`. */
const numbers = new Float64Array(1);
const bits = new BigInt64Array(numbers.buffer);
function bitsOf(number: number): bigint {
  numbers[0] = number;
  return bits[0] ?? 0n;
}
function numberOf(of: bigint): number {
  bits[0] = of;
  return numbers[0] ?? 0;
}

/** One view of each memory. */
const views = new WeakMap<ArrayBufferLike, BigInt64Array>();
function timesOf(buffer: ArrayBufferLike): BigInt64Array {
  let view = views.get(buffer);
  if (!view) views.set(buffer, (view = new BigInt64Array(buffer, 0, Math.floor(buffer.byteLength / 8))));
  return view;
}
