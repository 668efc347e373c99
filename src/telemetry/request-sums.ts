/** Requests of the same kind together, so that many of them cost one message. */
import { latencyBoundsMs } from '../model/edge.js';
import { bucketOf } from './buckets.js';
import type { Opening } from './connection-record.js';
import type { HttpObservation } from './http-observation.js';
import type { ObservedRequests } from './observed-requests.js';

interface Sum extends ObservedRequests {
  count: number;
  durationSumMs: number;
  readonly latencyCounts: number[];
}

const emptySum = ({ method, pathTemplate, status, grpc }: Omit<HttpObservation, 'durationMs'>): Sum => ({
  method,
  pathTemplate,
  status,
  grpc,
  count: 0,
  latencyCounts: [...latencyBoundsMs.map(() => 0), 0],
  durationSumMs: 0,
});

function addTo(sum: Sum, durationMs: number): void {
  const bucket = bucketOf(latencyBoundsMs, durationMs);
  sum.latencyCounts[bucket] = (sum.latencyCounts[bucket] ?? 0) + 1;
  sum.count++;
  sum.durationSumMs += durationMs;
}

/** Requests of one kind. Pure. */
export function sumOf(
  requests: Omit<HttpObservation, 'durationMs'>,
  durationsMs: Iterable<number>,
): ObservedRequests {
  const sum = emptySum(requests);
  for (const durationMs of durationsMs) addTo(sum, durationMs);
  return sum;
}

export interface RequestSum {
  readonly record: Opening;
  readonly requests: ObservedRequests;
}

/** Sums by connection and kind, until they are taken. */
export class RequestSums {
  /** By the record, which a connection has one of. */
  #sums = new Map<Opening, Map<string, Sum>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  add(record: Opening, request: HttpObservation): void {
    const key = `${request.method} ${request.status} ${request.pathTemplate}`;
    let sums = this.#sums.get(record);
    if (!sums) this.#sums.set(record, (sums = new Map<string, Sum>()));
    let sum = sums.get(key);
    if (!sum) {
      sums.set(key, (sum = emptySum(request)));
      this.#size++;
    }
    addTo(sum, request.durationMs);
  }

  take(): RequestSum[] {
    const taken = [...this.#sums].flatMap(([record, sums]) =>
      [...sums.values()].map((requests) => ({ record, requests })),
    );
    this.#sums = new Map();
    this.#size = 0;
    return taken;
  }
}
