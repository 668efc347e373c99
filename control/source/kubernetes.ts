/** The source of objects for a registry from the Kubernetes API: one reflector per kind, whose changes are batched for a bounded time. */
import { setTimeout as wait } from 'node:timers/promises';
import type { KubeConfig } from '@kubernetes/client-node';
import { objectKey, type ObjectKey } from '../objects/object-key.js';
import type { MeshObject } from '../objects/objects.js';
import { listPathsOf } from '../kinds/api.js';
import { kindNames, kinds, pickFields } from '../kinds/kinds.js';
import { Reflector, type KindApi, type Page, type WatchPhase } from './reflector.js';
import { readObject } from './validate.js';
import { originOf } from '../changes/causes.js';
import type { ChangeOrigin } from '../../src/model/change.js';
import { ApiError, requestJson } from '../../src/kubernetes/request.js';

/** Changes are published after no change arrived for `quietMs`, and after `lateMsMax` at the latest. */
const quietMs = 30;
const lateMsMax = 300;
const silentMsMaxDefault = 100_000;
/** A silent watch is restarted after `silentMsMaxDefault`. By `staleMs` a bookmark was due for the second time. */
const staleMs = 180_000;

const isAbsent = (error: unknown): boolean => error instanceof ApiError && error.status === 404;

/**
 * The API server checks RBAC before it looks for a kind: a 403 does not tell whether the kind is served. API discovery, which every client
 * may read, does. If the kind is served but may not be read, the error stays: an empty list would remove all its objects from force.
 * @returns the error to report: an ApiError 404 if the kind is not served, otherwise `error`
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
  } catch (discoveryError) {
    return isAbsent(discoveryError) ? discoveryError : error;
  }
}

export interface ObjectProblem {
  readonly object: MeshObject;
  readonly message: string;
}
export interface KubernetesSourceOptions {
  readonly config: KubeConfig;
  /** Changes since the last call: the object, or undefined for a deleted one. The first call has all objects. */
  readonly onChanges: (
    changed: ReadonlyMap<ObjectKey, MeshObject | undefined>,
    originOf: (key: ObjectKey) => ChangeOrigin | undefined,
  ) => void;
  /** An object that an older schema admitted, or of a newer version. control/compile/closed.ts decides what is in force in its place. */
  readonly onRefused: (refused: ObjectProblem) => void;
  readonly onWatchError: (kind: string, why: string, retryInMs: number) => void;
  /** When a silent watch is restarted; absent: after 100 s, because bookmarks arrive about once a minute. */
  readonly silence?: WatchSilence;
}

/** Started with each watch. Calls `onSilent` when the watch had no event for too long since its start or since the last `refresh`. */
export type WatchSilence = (onSilent: () => void) => { refresh(): void; stop(): void };

export const silenceAfter =
  (ms: number): WatchSilence =>
  (onSilent) => {
    const timer = setTimeout(onSilent, ms);
    return { refresh: () => void timer.refresh(), stop: () => clearTimeout(timer) };
  };

/**
 * List and watch of one kind.
 * @param versions API paths of the kind; the first one that is served is used
 * @param selector a label selector in the API server's syntax; absent: all objects
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
      // Further pages use the version of the first page.
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
      // An empty list may have no items. A response that is not a list must not be taken for an empty list.
      if (!Array.isArray(list.items) && list.kind?.endsWith('List') !== true)
        throw new ApiError(0, `${path}: the API server's response is not a list`);
      return {
        items: list.items ?? [],
        resourceVersion: list.metadata.resourceVersion,
        next: list.metadata.continue,
      };
    },
    watch: async (resourceVersion, seconds, onEvent, stop) => {
      // As in src/kubernetes/config.ts.
      const { Watch } = await import('@kubernetes/client-node');
      // The abort event of an aborted signal is not delivered to later listeners.
      if (stop.aborted) return;
      return new Promise<void>((resolve, reject) => {
        let over = false;
        let agent: { destroy(): void } | undefined;
        const end = (error?: unknown): void => {
          over = true;
          silence.stop();
          stop.removeEventListener('abort', onStop);
          // The library returns its controller only after a response. If the server never responds, each attempt would leak a connection.
          agent?.destroy();
          const { statusCode } = (error ?? {}) as { statusCode?: number };
          // 404: the kind was removed, or is now served in another version. The next list finds out which.
          const needsList = statusCode === 410 || statusCode === 404;
          if (needsList) onEvent('ERROR', { code: 410 });
          if (error === null || error === undefined || needsList || stop.aborted) resolve();
          else reject(error instanceof Error ? error : new Error(JSON.stringify(error)));
        };
        const onStop = (): void => end();
        // The server disappeared without closing the connection. The watch resumes at its last resource version.
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
  /** Who wrote the objects of `#pending`. */
  #origins = new Map<ObjectKey, ChangeOrigin>();
  #isPublished = false;
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

  /** Resolves when every kind was listed once and published. Before that, no node may be sent an empty mesh. */
  start(): Promise<void> {
    const ready = new Promise<void>((resolve) => (this.#ready = resolve));
    for (const reflector of this.#reflectors) void reflector.run();
    return ready;
  }

  /**
   * A kind whose watch has been silent for longer than `staleMs`: the state here may be older than that of another replica, or of a node.
   * Undefined if there is none.
   */
  staleKind(nowMs = performance.now()): string | undefined {
    return this.#reflectors.find((one) => one.silentMs(nowMs) > staleMs)?.kind;
  }

  /** Objects whose current content is not in force. */
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
    // Objects that exist at the start are no changes.
    if (this.#isPublished) this.#origins.set(key, originOf(object));
    const { object: taken, problem } = readObject(picked);
    if (problem === undefined) this.#refused.delete(key);
    else {
      const known = this.#refused.get(key)?.message === problem;
      const refused = { object: picked, message: problem };
      this.#refused.set(key, refused);
      if (!known) this.#options.onRefused(refused);
    }
    // A kind without a closed form keeps its last valid content.
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
    const [changed, origins] = [this.#pending, this.#origins];
    this.#pending = new Map();
    this.#origins = new Map();
    this.#isPublished = true;
    this.#options.onChanges(changed, (key) => origins.get(key));
    this.#ready?.();
    this.#ready = undefined;
  }
}
