/** The registry from the Kubernetes API: a reflector per kind, and what all of them say told at once, in bounded time. */
import { setTimeout as wait } from 'node:timers/promises';
import type { KubeConfig } from '@kubernetes/client-node';
import { objectKey, type ObjectKey } from '../objects/object-key.js';
import type { MeshObject } from '../objects/objects.js';
import { listPathsOf } from '../kinds/api.js';
import { kindNames, kinds, pickFields } from '../kinds/kinds.js';
import { Reflector, type KindApi, type Page, type WatchPhase } from './reflector.js';
import { readObject } from './validate.js';
import { ApiError, requestJson } from '../../src/kubernetes/request.js';

/** Changes are told when it has been quiet for this long, and after the longer time at the latest. */
const quietMs = 30;
const lateMsMax = 300;
const silentMsMaxDefault = 100_000;
/** A watch that is silent for the time above is taken up again; by then a bookmark was due for the second time. */
const staleMs = 180_000;

const isAbsent = (error: unknown): boolean => error instanceof ApiError && error.status === 404;

/**
 * Rights are looked at before whether there is such a kind: of one that is refused the discovery, which everybody may read, says whether
 * it is served. A kind that is served and may not be read stays an error: taken for empty, everything of it in force would be removed.
 * Errors: ApiError, 404 where the kind is not served.
 */
async function absentIfUnserved(config: KubeConfig, path: string, error: unknown): Promise<unknown> {
  if (!(error instanceof ApiError) || error.status !== 403) return error;
  const at = path.lastIndexOf('/');
  const plural = path.slice(at + 1);
  try {
    const { resources = [] } = (await requestJson(config, 'GET', path.slice(0, at))) as {
      resources?: readonly { readonly name: string }[];
    };
    return resources.some(({ name }) => name === plural)
      ? error
      : new ApiError(404, `${path}: it is not served`);
  } catch (unread) {
    return isAbsent(unread) ? unread : error;
  }
}

export interface ObjectProblem {
  readonly object: MeshObject;
  readonly message: string;
}
export interface KubernetesSourceOptions {
  readonly config: KubeConfig;
  /** What changed since the last time, undefined where it is gone; the first time: all there is. */
  readonly onChanges: (changed: ReadonlyMap<ObjectKey, MeshObject | undefined>) => void;
  /** An object that an older schema let in, or of a newer version: control/compile/closed.ts says what is in force in its place. */
  readonly onRefused: (refused: ObjectProblem) => void;
  readonly onWatchError: (kind: string, why: string, retryInMs: number) => void;
  /** When a watch that says nothing is taken up anew; absent: after 100 s, as bookmarks come about once a minute. */
  readonly silence?: WatchSilence;
}

/** Begun with each watch; calls `onSilent` when the watch has said nothing for too long since it began, or since the last `refresh`. */
export type WatchSilence = (onSilent: () => void) => { refresh(): void; stop(): void };

export const silenceAfter =
  (ms: number): WatchSilence =>
  (onSilent) => {
    const timer = setTimeout(onSilent, ms);
    return { refresh: () => void timer.refresh(), stop: () => clearTimeout(timer) };
  };

/**
 * List and watch of one kind.
 * @param versions paths of the kind, the first that is there counts
 * @param selector of labels, as the API server takes it; absent: all
 */
export function kindApi(
  config: KubeConfig,
  versions: readonly string[],
  silenceOf: WatchSilence = silenceAfter(silentMsMaxDefault),
  selector?: string,
): KindApi {
  const selected = selector === undefined ? {} : { labelSelector: selector };
  let path = versions[0] ?? '';
  return {
    list: async (limit, from): Promise<Page> => {
      const query = new URLSearchParams({
        limit: String(limit),
        ...selected,
        ...(from ? { continue: from } : {}),
      });
      const ask = async (at: string) =>
        (await requestJson(config, 'GET', `${at}?${query}`)) as {
          kind?: string;
          items?: unknown[] | null;
          metadata: { resourceVersion: string; continue?: string };
        };
      let list: Awaited<ReturnType<typeof ask>> | undefined;
      // Pages that follow are of the version of the first.
      for (const [index, at] of (from ? [path] : versions).entries()) {
        try {
          list = await ask(at);
          path = at;
          break;
        } catch (thrown) {
          const error = await absentIfUnserved(config, at, thrown);
          if (!isAbsent(error) || index === versions.length - 1) throw error;
        }
      }
      if (!list) throw new ApiError(404, `${path}: no version of it is served`);
      // An empty list may come without items; what is no list must not be taken for an empty one.
      if (!Array.isArray(list.items) && list.kind?.endsWith('List') !== true)
        throw new ApiError(0, `${path}: what the API server sent is no list`);
      return {
        items: list.items ?? [],
        resourceVersion: list.metadata.resourceVersion,
        next: list.metadata.continue,
      };
    },
    watch: async (resourceVersion, seconds, onEvent, stop) => {
      // As in src/kubernetes/config.ts.
      const { Watch } = await import('@kubernetes/client-node');
      // An event that was before its listener is not heard.
      if (stop.aborted) return;
      return new Promise<void>((resolve, reject) => {
        let over = false;
        let agent: { destroy(): void } | undefined;
        const end = (error?: unknown): void => {
          over = true;
          silence.stop();
          stop.removeEventListener('abort', onStop);
          // The library's own controller is there only once the server has answered: one that never does would keep a connection a time.
          agent?.destroy();
          const { statusCode } = (error ?? {}) as { statusCode?: number };
          // 404: its kind was removed, or is served in another version now. What is so, the list says.
          const anew = statusCode === 410 || statusCode === 404;
          if (anew) onEvent('ERROR', { code: 410 });
          if (error === null || error === undefined || anew || stop.aborted) resolve();
          else reject(error instanceof Error ? error : new Error(JSON.stringify(error)));
        };
        const onStop = (): void => end();
        // A server that is gone without a word: it is taken up again where it was.
        const silence = silenceOf(() => end());
        stop.addEventListener('abort', onStop, { once: true });
        const watched = Object.assign(Object.create(config) as KubeConfig, {
          applyToFetchOptions: async (options: Parameters<KubeConfig['applyToFetchOptions']>[0]) => {
            const applied = await config.applyToFetchOptions(options);
            agent = applied.agent as { destroy(): void } | undefined;
            if (over) agent?.destroy();
            return applied;
          },
        });
        new Watch(watched)
          .watch(
            path,
            { resourceVersion, timeoutSeconds: seconds, allowWatchBookmarks: true, ...selected },
            (phase, object: unknown) => {
              if (over) return;
              silence.refresh();
              onEvent(phase as WatchPhase, object);
            },
            (error) => {
              if (!over) end(error);
            },
          )
          .then((controller) => {
            if (over) controller.abort();
          }, end);
      });
    },
  };
}

export class KubernetesSource {
  readonly #options: KubernetesSourceOptions;
  readonly #reflectors: readonly Reflector<MeshObject>[];
  readonly #refused = new Map<string, ObjectProblem>();
  #pending = new Map<ObjectKey, MeshObject | undefined>();
  #soon: NodeJS.Timeout | undefined;
  #late: NodeJS.Timeout | undefined;
  #ready: (() => void) | undefined;

  constructor(options: KubernetesSourceOptions) {
    this.#options = options;
    this.#reflectors = kindNames.map(
      (kind) =>
        new Reflector<MeshObject>({
          kind,
          api: kindApi(options.config, listPathsOf(kind), options.silence),
          ...(kinds[kind].address.optional ? { isAbsent } : {}),
          pickFields: (object, before) => this.#read(kind, object, before),
          onObject: (now, before) => {
            const one = now ?? before;
            if (!one) return;
            if (!now) this.#refused.delete(objectKey(one));
            this.#pending.set(objectKey(one), now);
            this.#changed();
          },
          onSynced: () => this.#changed(),
          onWatchError: options.onWatchError,
          sleep: (ms, stop) => wait(ms, undefined, { signal: stop }).catch(() => undefined),
        }),
    );
  }

  /** Resolves when every kind was listed once and told: until then nobody may be told an empty mesh. */
  start(): Promise<void> {
    const ready = new Promise<void>((resolve) => (this.#ready = resolve));
    for (const reflector of this.#reflectors) void reflector.run();
    return ready;
  }

  /**
   * A kind of which the API server has said nothing for longer than a watch may be silent: what is known here may be older than what
   * another replica, or a node, knows. Undefined where there is none.
   */
  staleKind(nowMs = performance.now()): string | undefined {
    return this.#reflectors.find((one) => one.silentMs(nowMs) > staleMs)?.kind;
  }

  /** Objects that are not in force as they are written now. */
  refused(): Iterable<ObjectProblem> {
    return this.#refused.values();
  }

  stop(): void {
    clearTimeout(this.#soon);
    clearTimeout(this.#late);
    for (const reflector of this.#reflectors) reflector.stop();
  }

  #read(kind: MeshObject['kind'], object: unknown, before: MeshObject | undefined): MeshObject | undefined {
    const picked = pickFields(kind, object);
    if (!picked) return undefined;
    const key = objectKey(picked);
    const { object: taken, problem } = readObject(picked);
    if (problem === undefined) this.#refused.delete(key);
    else {
      const known = this.#refused.get(key)?.message === problem;
      const refused = { object: picked, message: problem };
      this.#refused.set(key, refused);
      if (!known) this.#options.onRefused(refused);
    }
    // What closes nothing goes on as it last was well.
    return taken ?? before;
  }

  #changed(): void {
    clearTimeout(this.#soon);
    this.#soon = setTimeout(() => this.#publish(), quietMs);
    this.#late ??= setTimeout(() => this.#publish(), lateMsMax);
  }

  #publish(): void {
    clearTimeout(this.#soon);
    clearTimeout(this.#late);
    this.#late = undefined;
    if (!this.#reflectors.every(({ synced }) => synced)) return;
    const changed = this.#pending;
    this.#pending = new Map();
    this.#options.onChanges(changed);
    this.#ready?.();
    this.#ready = undefined;
  }
}
