/**
 * The objects of one kind of the API server, kept in memory by list and watch. After any failure (the watch, the server, expired history:
 * 410) the known objects stay in force until a new list is complete: no node is sent a removal that did not happen. The state never goes
 * back in time: a watch resumes at its last resource version, and a list or an event with an older version than one seen is ignored.
 */
import { isDeepStrictEqual } from 'node:util';
import { errorText } from '../../src/base/errors.js';

const pageSize = 500;
const backoffMs = { min: 500, max: 30_000 } as const;
/** The timeout that is requested of the server, so that no watch outlives a server that has moved away. */
const watchSeconds = 240;
/** Time until the next list of a kind that the server does not serve. */
const absentMs = 30_000;
/** After this many failures in a row at one resource version, a new list replaces the watch. */
const watchFailuresMax = 3;

/**
 * Whether a resource version is older than another. Versions are compared as numbers, which KEP-5504 makes part of the API. Versions that
 * are not numbers cannot be compared, and count as not older. Pure.
 */
export function isOlder(version: string, than: string | undefined): boolean {
  const number = /^\d{1,30}$/;
  return than !== undefined && number.test(version) && number.test(than) && BigInt(version) < BigInt(than);
}

export interface Page {
  readonly items: readonly unknown[];
  readonly resourceVersion: string;
  readonly next: string | undefined;
}
export type WatchPhase = 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR';

/** The two calls of the API, for one kind. */
export interface KindApi {
  list(limit: number, from: string | undefined): Promise<Page>;
  /** Resolves when the watch has ended for any reason; `stop` ends it. */
  watch(
    resourceVersion: string,
    seconds: number,
    onEvent: (phase: WatchPhase, object: unknown) => void,
    stop: AbortSignal,
  ): Promise<void>;
}

export interface ReflectorOptions<T> {
  readonly kind: string;
  readonly api: KindApi;
  /** The fields of an object to keep, given those kept before; undefined if the object does not, or no longer, concern the mesh. */
  readonly pickFields: (object: unknown, before: T | undefined) => T | undefined;
  /** Called for each change. `now` is undefined for a deleted object, `before` for a new one. */
  readonly onObject: (now: T | undefined, before: T | undefined) => void;
  /** Called when the first list is complete and `onObject` was called for all its objects. */
  readonly onSynced: () => void;
  /** Whether the error means that the server does not serve the kind: then there are no objects. Absent: handled like any other error. */
  readonly isAbsent?: (error: unknown) => boolean;
  readonly onWatchError: (kind: string, why: string, retryInMs: number) => void;
  readonly sleep: (ms: number, stop: AbortSignal) => Promise<void>;
}

interface Raw {
  readonly metadata?: { readonly uid?: string; readonly resourceVersion?: string };
  readonly code?: number;
  readonly message?: string;
}

export class Reflector<T> {
  readonly #options: ReflectorOptions<T>;
  readonly #stop = new AbortController();
  #objects = new Map<string, T>();
  #synced = false;
  /** The resource version at which to resume the watch; undefined: a list is needed. */
  #version: string | undefined;
  /** The newest resource version of any list, object or bookmark. It is kept when the history expires. */
  #newest: string | undefined;
  #heardAtMs = performance.now();

  constructor(options: ReflectorOptions<T>) {
    this.#options = options;
  }

  get kind(): string {
    return this.#options.kind;
  }
  /** Whether the first list is complete. */
  get synced(): boolean {
    return this.#synced;
  }
  /** Time since the API server last sent a list or an event of this kind; bookmarks arrive about once a minute. */
  silentMs(nowMs = performance.now()): number {
    return nowMs - this.#heardAtMs;
  }
  objects(): Iterable<T> {
    return this.#objects.values();
  }
  get size(): number {
    return this.#objects.size;
  }

  stop(): void {
    this.#stop.abort();
  }

  /** Runs until stop(). */
  async run(): Promise<void> {
    const { signal } = this.#stop;
    let failures = 0;
    let absences = 0;
    let watchFailures = 0;
    while (!signal.aborted) {
      try {
        if (this.#version === undefined) {
          this.#version = await this.#list();
          watchFailures = 0;
        }
        if (signal.aborted) return;
        absences = 0;
        const from = this.#version;
        try {
          await this.#watch(from);
          failures = watchFailures = 0;
        } catch (error) {
          // The events before the failure count: resuming from the first version would deliver old objects again.
          if (this.#version !== from) failures = watchFailures = 0;
          else if (++watchFailures >= watchFailuresMax) this.#version = undefined;
          throw error;
        }
      } catch (error) {
        if (signal.aborted) return;
        if (this.#options.isAbsent?.(error)) {
          this.#heardAtMs = performance.now();
          this.#version = undefined;
          // A starting server may not serve its kinds yet: known objects are removed only at the second absence in a row.
          if (++absences > 1 || this.#objects.size === 0) this.#replace(new Map());
          await this.#options.sleep(absentMs, signal);
          continue;
        }
        // Half of the wait is random, so that replicas do not reconnect in step.
        const longest = Math.min(backoffMs.min * 2 ** failures++, backoffMs.max);
        const retryInMs = Math.round(longest * (0.5 + Math.random() / 2));
        this.#options.onWatchError(this.#options.kind, errorText(error), retryInMs);
        await this.#options.sleep(retryInMs, signal);
      }
    }
  }

  #saw(version: string | undefined): void {
    if (version !== undefined && !isOlder(version, this.#newest)) this.#newest = version;
  }

  async #list(): Promise<string> {
    const found = new Map<string, T>();
    let from: string | undefined;
    let version = '';
    do {
      const page = await this.#options.api.list(pageSize, from);
      if (isOlder(page.resourceVersion, this.#newest)) {
        throw new Error(
          `the API server's list has version ${page.resourceVersion}, older than ${this.#newest} seen before: the list is ignored. ` +
            'If the cluster was restored from a backup, restart the control plane',
        );
      }
      for (const item of page.items) {
        const uid = uidOf(item);
        const kept = this.#options.pickFields(item, this.#objects.get(uid));
        if (kept !== undefined) found.set(uid, kept);
      }
      version = page.resourceVersion;
      from = page.next;
    } while (from !== undefined && from !== '');
    this.#saw(version);
    this.#heardAtMs = performance.now();
    this.#replace(found);
    return version;
  }

  #replace(found: Map<string, T>): void {
    const former = this.#objects;
    this.#objects = found;
    // Deletions first: a new object of the same name may have replaced a deleted one.
    for (const [uid, before] of former) if (!found.has(uid)) this.#options.onObject(undefined, before);
    for (const [uid, now] of found) this.#reportChange(now, former.get(uid));
    if (!this.#synced) {
      this.#synced = true;
      this.#options.onSynced();
    }
  }

  /** Most updates of an object change none of the kept fields. */
  #reportChange(now: T, before: T | undefined): void {
    if (before !== undefined && isDeepStrictEqual(now, before)) return;
    this.#options.onObject(now, before);
  }

  /** Advances `#version` with each event, or sets it to undefined when a new list is needed. Errors: those of the watch. */
  async #watch(from: string): Promise<void> {
    let over = false;
    let refused: string | undefined;
    await this.#options.api.watch(
      from,
      watchSeconds,
      (phase, object) => {
        if (over) return;
        const raw = object as Raw;
        if (phase === 'ERROR') {
          over = true;
          // 410: the history at this resource version has expired. This is no error, and a list follows at once.
          if (raw.code === 410) this.#version = undefined;
          else refused = raw.message ?? 'the watch was refused';
          return;
        }
        const version = raw.metadata?.resourceVersion;
        if (version !== undefined) {
          // Events of one watch are ordered: an older one is ignored.
          if (isOlder(version, this.#version)) return;
          this.#version = version;
          this.#saw(version);
          this.#heardAtMs = performance.now();
        }
        if (phase === 'BOOKMARK') return;
        const uid = uidOf(object);
        const before = this.#objects.get(uid);
        const kept = phase === 'DELETED' ? undefined : this.#options.pickFields(object, before);
        if (kept === undefined) {
          if (this.#objects.delete(uid)) this.#options.onObject(undefined, before);
        } else {
          this.#objects.set(uid, kept);
          this.#reportChange(kept, before);
        }
      },
      this.#stop.signal,
    );
    if (refused !== undefined) throw new Error(refused);
  }
}

const uidOf = (object: unknown): string => (object as Raw).metadata?.uid ?? '';
