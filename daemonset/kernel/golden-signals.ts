/**
 * Requests of kernel flows, for pods whose namespace opted in (bpf/lib/http.h). The program that looks at packets is attached only while a pod
 * of the node wants it.
 */
import type { Opening } from '../../src/telemetry/connection-record.js';
import type { MeshMetrics } from '../../src/telemetry/metrics.js';
import type { KernelRequests } from '../maps/requests.js';
import type { RequestKey } from '../maps/rows.generated.js';
import type { LocalPod } from '../worker-ipc.js';

export interface GoldenSignalsOptions {
  /** Attaches the program, or detaches it. */
  readonly attach: (isWanted: boolean) => Promise<void>;
  readonly take: () => readonly KernelRequests[];
  readonly pods: () => Iterable<LocalPod>;
  readonly podOf: (cookie: bigint) => LocalPod | undefined;
  readonly openingOf: (between: RequestKey) => Opening;
  readonly metrics: Pick<MeshMetrics, 'observedMany'>;
  /** The program cannot be attached; tried again. */
  readonly onError: (error: unknown) => void;
}

/** Ticks after which an attachment that failed is tried again. */
const retryTicks = 60;

export class GoldenSignals {
  readonly #options: GoldenSignalsOptions;
  /** Undefined: not known, as at the start, or because it failed. */
  #isAttached: boolean | undefined;
  #waitTicks = 0;
  #attaching: Promise<void> | undefined;

  constructor(options: GoldenSignalsOptions) {
    this.#options = options;
  }

  /** Call when pods have changed, and once a second. */
  tick(): void {
    this.#follow();
    // Also while no pod wants it: what flows of pods count that opted out meanwhile must not be reported once they opt in again.
    this.#report();
  }

  #follow(): void {
    const { attach, pods, onError } = this.#options;
    if (this.#attaching || this.#waitTicks-- > 0) return;
    this.#waitTicks = 0;
    const isWanted = [...pods()].some(({ pod }) => pod.goldenSignals);
    if (isWanted === this.#isAttached) return;
    this.#attaching = attach(isWanted)
      .then(
        () => {
          this.#isAttached = isWanted;
        },
        (error: unknown) => {
          this.#isAttached = undefined;
          this.#waitTicks = retryTicks;
          onError(error);
        },
      )
      .finally(() => (this.#attaching = undefined));
  }

  #report(): void {
    const { take, podOf, openingOf, metrics } = this.#options;
    const openings = new Map<string, Opening>();
    for (const { between, requests } of take()) {
      // A flow may have begun before its namespace opted out: what is counted is decided now, for each side by its own namespace.
      const isSources = podOf(between.source)?.pod.goldenSignals === true;
      const isDestinations = podOf(between.destination)?.pod.goldenSignals === true;
      if (!isSources && !isDestinations) continue;
      const { source, destination, dialled, dialledPort, dport } = between;
      const key = `${source} ${destination} ${dialled} ${dialledPort} ${dport}`;
      let opening = openings.get(key);
      if (!opening) openings.set(key, (opening = openingOf(between)));
      if (isSources) metrics.observedMany(opening, requests);
      if (isDestinations) metrics.observedMany({ ...opening, direction: 'inbound' }, requests);
    }
  }
}
