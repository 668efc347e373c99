/** Emits events about changed conditions: each change once, within rate limits that protect the API server. */
import { RateLimiter, type Rate } from '../../src/base/rate-limiter.js';
import { namespaceOf } from '../../src/model/labels.js';
import type { MeshObject } from '../objects/objects.js';
import { objectKey } from '../objects/object-key.js';
import { rfc3339 } from './conditions.js';
import { eventWrite, type EventTimes } from './events.js';
import { transitionsOf } from './transitions.js';
import type { Write } from '../kubernetes/apply-queue.js';

/** Events about one object: somewhat tighter than the limit of client-go's event correlator. */
const objectRate: Rate = { perSecond: 1 / 60, burst: 10 };
/** Events about the objects of a namespace, and about the pods of a node, whose reports the node controls. */
const sourceRate: Rate = { perSecond: 1, burst: 100 };
const rate: Rate = { perSecond: 10, burst: 1_000 };
/** Number of remembered events. A remembered event that occurs again is counted up. */
const keptMax = 2_000;
/** Number of conditions whose last change is remembered, as the watch delivers the write only later. */
const recordedMax = 16_384;

export interface TransitionLogOptions {
  readonly write: (write: Write) => void;
  readonly forget: (path: string) => void;
  /** A limit of docs/limits.md was reached. */
  readonly onLimit: (limit: string) => void;
  readonly nowMs?: () => number;
}

export class TransitionLog {
  readonly #options: TransitionLogOptions;
  readonly #objects = new RateLimiter(objectRate);
  readonly #sources = new RateLimiter(sourceRate);
  readonly #all = new RateLimiter(rate, 1);
  /** Remembered events by path. */
  readonly #events = new Map<string, EventTimes>();
  /** Last recorded event type and reason, by object and condition. */
  readonly #lastRecorded = new Map<string, string>();

  constructor(options: TransitionLogOptions) {
    this.#options = options;
  }

  /**
   * Call for each status that is written. Writing the same status again, before the watch has delivered the first write, causes no second event.
   * @param source name of the node that reports the status; absent: the control plane, limited per namespace of the object
   */
  record(object: MeshObject, status: object, source?: string): void {
    const { write, forget, onLimit, nowMs = Date.now } = this.#options;
    const owner = `${objectKey(object)} ${object.metadata.uid ?? ''}`;
    for (const { condition, ...text } of transitionsOf(object, status)) {
      const key = `${owner} ${condition}`;
      const now = `${text.type} ${text.reason}`;
      if (this.#lastRecorded.get(key) === now) continue;
      this.#remember(this.#lastRecorded, key, now, recordedMax);
      const atMs = nowMs();
      if (
        !this.#objects.take(owner, atMs) ||
        !this.#sources.take(
          source === undefined ? `namespace ${namespaceOf(object)}` : `node ${source}`,
          atMs,
        ) ||
        !this.#all.take('', atMs)
      ) {
        onLimit('events');
        continue;
      }
      const last = rfc3339(atMs);
      const { path } = eventWrite(object, text, { count: 1, first: last, last });
      const before = this.#events.get(path);
      const times = { count: (before?.count ?? 0) + 1, first: before?.first ?? last, last };
      write(eventWrite(object, text, times));
      // An event that is no longer remembered is not written again either.
      const oldest = this.#remember(this.#events, path, times, keptMax);
      if (oldest !== undefined) forget(oldest);
    }
  }

  /** Adds an entry. Returns the evicted key, if any. */
  #remember<T>(map: Map<string, T>, key: string, value: T, max: number): string | undefined {
    map.delete(key);
    map.set(key, value);
    if (map.size <= max) return undefined;
    const [oldest] = map.keys();
    if (oldest !== undefined) map.delete(oldest);
    return oldest;
  }
}
