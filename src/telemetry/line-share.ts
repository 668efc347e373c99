/**
 * How many connection lines one pod may write: pure. The file is rotated by size, so a pod that opens connections in a loop
 * would rotate away what was written of every other pod.
 */
import type { ConnectionRecord } from './access-log.js';

export interface LineShareLimits {
  /** Lines that a pod may write at once. */
  readonly burst: number;
  readonly perSecond: number;
}

export const lineShareDefault: LineShareLimits = { burst: 20_000, perSecond: 1_000 };

/** About one source that pods refuse: a part of a pod's share, so that a flood of it hides no refusal of others. */
export const refusedShare: LineShareLimits = { burst: 2_000, perSecond: 100 };

/** Pods that are kept at hand; beyond that those whose share is whole again are forgotten. */
const podsMax = 4096;

/** Whose agent writes the line: the pod at this node. */
export function podOf({ direction, source, destination }: ConnectionRecord): string {
  const { namespace, pod } = direction === 'outbound' ? source : destination;
  return `${namespace}/${pod}`;
}

/** By whose doing a pod's line says that somebody was refused: an identity, or an address without its port. */
export function refusedSourceOf({ direction, path, source }: ConnectionRecord): string | undefined {
  if (direction !== 'inbound' || path !== 'refused') return undefined;
  return source.identity === 'unknown' ? source.address.replace(/:\d+$/, '') : source.identity;
}

export class LineShare {
  readonly #buckets = new Map<string, { left: number; atMs: number }>();

  constructor(private readonly limits: LineShareLimits = lineShareDefault) {}

  /** Whether this pod may write one more line now. `nowMs`: of a clock that may jump, which gives at most one burst. */
  take(pod: string, nowMs: number): boolean {
    const { burst } = this.limits;
    let bucket = this.#buckets.get(pod);
    if (!bucket) {
      if (this.#buckets.size >= podsMax) this.#forgetWhole(nowMs);
      this.#buckets.set(pod, (bucket = { left: burst, atMs: nowMs }));
    }
    bucket.left = this.#leftOf(bucket, nowMs);
    bucket.atMs = nowMs;
    if (bucket.left < 1) return false;
    bucket.left--;
    return true;
  }

  get size(): number {
    return this.#buckets.size;
  }

  #leftOf(bucket: { readonly left: number; readonly atMs: number }, nowMs: number): number {
    const seconds = Math.max(0, nowMs - bucket.atMs) / 1000;
    return Math.min(this.limits.burst, bucket.left + seconds * this.limits.perSecond);
  }

  #forgetWhole(nowMs: number): void {
    for (const [pod, bucket] of this.#buckets)
      if (this.#leftOf(bucket, nowMs) >= this.limits.burst) this.#buckets.delete(pod);
    // All of them write at their limit: the oldest starts anew.
    const [oldest] = this.#buckets.keys();
    if (this.#buckets.size >= podsMax && oldest !== undefined) this.#buckets.delete(oldest);
  }
}
