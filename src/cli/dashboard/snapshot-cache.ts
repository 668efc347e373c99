/** Snapshots of the last moments, as JSON: several tabs cost as much as one. */
import type { MeshSnapshot } from '../../model/mesh-snapshot.js';

const keptMs = 2_000;
/** Windows that are kept at once. */
const windowsMax = 8;

export class SnapshotCache {
  readonly #made = new Map<number, { readonly atMs: number; readonly json: Promise<string> }>();

  constructor(
    private readonly take: (sinceMs: number) => Promise<MeshSnapshot>,
    private readonly nowMs: () => number = () => performance.now(),
  ) {}

  /** Rejects as `take` does. */
  get(sinceMs: number): Promise<string> {
    const nowMs = this.nowMs();
    const known = this.#made.get(sinceMs);
    if (known && nowMs - known.atMs < keptMs) return known.json;
    const json = this.take(sinceMs).then((snapshot) => JSON.stringify(snapshot));
    this.#made.delete(sinceMs);
    this.#made.set(sinceMs, { atMs: nowMs, json });
    for (const oldest of this.#made.keys()) {
      if (this.#made.size <= windowsMax) break;
      this.#made.delete(oldest);
    }
    json.catch(() => this.#made.delete(sinceMs));
    return json;
  }
}
