/**
 * One kind of the API server's, kept in memory by list and watch. Whatever breaks (the watch, the server, the history: 410),
 * what is known stays in force until a new list is whole: nobody is sent a removal that did not happen. What is known never goes
 * back: a watch is resumed where it was, and neither a list nor an event of an older version than one seen counts.
 */
import { isDeepStrictEqual } from 'node:util';
import { errorText } from '../../src/base/errors.js';

const pageSize = 500;
const backoffMs = { min: 500, max: 30_000 } as const;
/** Asked of the server, so that no watch lives on against a server that has moved away. */
const watchSeconds = 240;
/** How soon a kind is looked for again that the server does not have. */
const absentMs = 30_000;
/** A watch that fails so often in a row at one version is given up for a new list. */
const watchFailuresMax = 3;

/**
 * Whether a resource version is older than another. They are compared as numbers, which KEP-5504 makes part of the API; those that are
 * none cannot be compared, and count as not older. Pure.
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
  /** Resolves when the watch has ended, in whatever way; `stop` ends it. */
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
  /** What is kept of an object, by what was kept before; undefined where it does not concern us (any more). */
  readonly pickFields: (object: unknown, before: T | undefined) => T | undefined;
  /** What the object is now, undefined where it is gone; `before` where it was known. */
  readonly onObject: (now: T | undefined, before: T | undefined) => void;
  /** The first list is whole: all of it was told. */
  readonly onSynced: () => void;
  /** Whether the error says that the server has no such kind: then there are no objects. Absent: that is trouble as any other. */
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
  /** Where to go on watching; undefined: only a list helps. */
  #version: string | undefined;
  /** The newest version that was seen of anything, which outlives the history. */
  #newest: string | undefined;
  #heardAtMs = performance.now();

  constructor(options: ReflectorOptions<T>) {
    this.#options = options;
  }

  get kind(): string {
    return this.#options.kind;
  }
  /** The first list is whole. */
  get synced(): boolean {
    return this.#synced;
  }
  /** How long the API server has said nothing of this kind; bookmarks come about once a minute. */
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
          // What the watch said before it broke counts: from its first version on, old objects would come again.
          if (this.#version !== from) failures = watchFailures = 0;
          else if (++watchFailures >= watchFailuresMax) this.#version = undefined;
          throw error;
        }
      } catch (error) {
        if (signal.aborted) return;
        if (this.#options.isAbsent?.(error)) {
          this.#heardAtMs = performance.now();
          this.#version = undefined;
          // A server that comes up may not know of its kinds yet: what was there is believed gone when it is said twice.
          if (++absences > 1 || this.#objects.size === 0) this.#replace(new Map());
          await this.#options.sleep(absentMs, signal);
          continue;
        }
        // Half of it at random: replicas do not come back in step.
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
          `the API server's list is of version ${page.resourceVersion}, but ${this.#newest} was seen: it is not taken. ` +
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
    // What is gone first: an object of the same name may have taken its place.
    for (const [uid, before] of former) if (!found.has(uid)) this.#options.onObject(undefined, before);
    for (const [uid, now] of found) this.#report(now, former.get(uid));
    if (!this.#synced) {
      this.#synced = true;
      this.#options.onSynced();
    }
  }

  /** Most of what happens to an object changes nothing that is kept of it. */
  #report(now: T, before: T | undefined): void {
    if (before !== undefined && isDeepStrictEqual(now, before)) return;
    this.#options.onObject(now, before);
  }

  /** Moves #version along; undefined where only a new list helps. Errors: of the watch. */
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
          // 410: the history that we were at is gone. That is no fault, a list follows at once.
          if (raw.code === 410) this.#version = undefined;
          else refused = raw.message ?? 'the watch was refused';
          return;
        }
        const version = raw.metadata?.resourceVersion;
        if (version !== undefined) {
          // Events of one watch are in order.
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
          this.#report(kept, before);
        }
      },
      this.#stop.signal,
    );
    if (refused !== undefined) throw new Error(refused);
  }
}

const uidOf = (object: unknown): string => (object as Raw).metadata?.uid ?? '';
