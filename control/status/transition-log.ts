/** Events about changes of conditions: each change once, and no more of them than an API server likes to keep. */
import { RateLimiter, type Rate } from '../../src/base/rate-limiter.js';
import { namespaceOf } from '../../src/model/labels.js';
import type { MeshObject } from '../objects/objects.js';
import { objectKey } from '../objects/object-key.js';
import { rfc3339 } from './conditions.js';
import { eventWrite, type EventTimes } from './events.js';
import { transitionsOf } from './transitions.js';
import type { Write } from '../kubernetes/apply-queue.js';

/** As client-go's event correlator bounds a component's events about one object, somewhat tighter. */
const objectRate: Rate = { perSecond: 1 / 60, burst: 10 };
/** Of a namespace's objects, and of a node's pods: a node says what it likes of these. */
const sourceRate: Rate = { perSecond: 1, burst: 100 };
const rate: Rate = { perSecond: 10, burst: 1_000 };
/** Events that are counted up when they happen again. */
const keptMax = 2_000;
/** Conditions whose last change is remembered, until the object itself shows it. */
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
  /** By path of the event. */
  readonly #events = new Map<string, EventTimes>();
  /** By object and condition: its status and reason. */
  readonly #lastRecorded = new Map<string, string>();

  constructor(options: TransitionLogOptions) {
    this.#options = options;
  }

  /**
   * Call it for each status that is written. The same status again, before the watch has shown the first write, is no further event.
   * @param source who reports the status: a node's name; absent: the object's namespace
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
      // An event that is no longer counted is not written again either.
      const oldest = this.#remember(this.#events, path, times, keptMax);
      if (oldest !== undefined) forget(oldest);
    }
  }

  /** Returns the key that was forgotten for it. */
  #remember<T>(map: Map<string, T>, key: string, value: T, max: number): string | undefined {
    map.delete(key);
    map.set(key, value);
    if (map.size <= max) return undefined;
    const [oldest] = map.keys();
    if (oldest !== undefined) map.delete(oldest);
    return oldest;
  }
}
