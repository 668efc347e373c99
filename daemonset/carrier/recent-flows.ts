/**
 * Flows whose ends were recorded lately. The carrier reports them again to a later connection of the same agent if it has not read their
 * acknowledgment, which takes 20 ms, or a second if the disk is slow.
 */
const keepMs = 5_000;

export class RecentFlows {
  #flows: number[] = [];
  #former: number[] = [];
  #sinceMs = performance.now();

  add(flow: number): void {
    this.#flows.push(flow);
  }

  /** Forgets what is too old. Call it regularly. */
  forget(): void {
    const nowMs = performance.now();
    if (nowMs - this.#sinceMs < keepMs) return;
    this.#sinceMs = nowMs;
    this.#former = this.#flows;
    this.#flows = [];
  }

  all(): Set<number> {
    return new Set([...this.#former, ...this.#flows]);
  }
}
