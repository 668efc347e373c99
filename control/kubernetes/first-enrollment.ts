/**
 * The first enrollment of a namespace in the mesh (control/compile/first-enrollment.ts), on Kubernetes. The condition `weft.dev/Enrolled` of the
 * Namespace stores its start, the pods that it waits for, and its end; every replica watches the condition. Any replica may start the first
 * minute, with the resource version of the Namespace that it has read. The leader ends it. If the condition cannot be written, no first
 * minute starts.
 */
import { isDeepStrictEqual } from 'node:util';
import type { KubeConfig } from '@kubernetes/client-node';
import { errorText } from '../../src/base/errors.js';
import { ApiError, requestJson } from '../../src/kubernetes/request.js';
import { objectKey, type ObjectKey } from '../objects/object-key.js';
import type { Compiler } from '../compile/compile.js';
import {
  enrollingCondition,
  enrolledConditionNow,
  enrollMsMax,
  isEnrolling,
  mayBeginEnrolling,
  startedBefore,
  unreported,
} from '../compile/first-enrollment.js';
import { isEnrolled } from '../compile/enrollment.js';
import {
  enrolledCondition,
  type Condition,
  type MeshObject,
  type NamespaceObject,
  type PodObject,
} from '../objects/objects.js';
import type { ControlLog } from '../log.js';
import { rfc3339 } from '../status/conditions.js';
import { pickFields } from '../kinds/kinds.js';

const tickMs = 1_000;
/** A namespace that is new in the mesh keeps its former state for at most this long. Then its labels apply, strict mode included. */
const holdMsMax = 5_000;
/** Limit for all namespaces that are new in the mesh when this replica starts. */
const startMsMax = 15_000;
const startAtOnce = 16;
/** Concurrent writes of the leader. */
const writesAtOnce = 32;
const retryMs = 30_000;
/** After this time, a replica treats a first enrollment that the leader has not ended as over, whatever the API server returns. */
const localMsMax = enrollMsMax + 30_000;

type Changed = ReadonlyMap<ObjectKey, MeshObject | undefined>;

export interface FirstEnrollmentOptions {
  readonly config: KubeConfig;
  readonly compiler: Compiler;
  /** Passes changed Namespaces to the compiler. */
  readonly take: (changed: Changed) => void;
  readonly leading: () => boolean;
  /** `closed`: strict mode is in force from the start, unless the namespace's annotation says otherwise. */
  readonly byDefault: 'available' | 'closed';
  readonly log: ControlLog;
}

/** Sole owner of the held-back Namespaces and of the duration of first enrollments. */
export class FirstEnrollment {
  readonly #options: FirstEnrollmentOptions;
  /** Namespaces held back until the start of their first enrollment is written, by key. */
  readonly #held = new Map<ObjectKey, { readonly object: NamespaceObject; readonly timer: NodeJS.Timeout }>();
  /** Monotonic times: when this replica first observed a first enrollment, and since when no pod is unreported. */
  readonly #since = new Map<string, { readonly atMs: number; settledAtMs?: number }>();
  readonly #writing = new Set<string>();
  /** Namespaces whose condition could not be written, with the time of the next attempt. */
  readonly #retryAtMs = new Map<string, number>();
  #serving = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: FirstEnrollmentOptions) {
    this.#options = options;
  }

  /**
   * Returns the changes to compile now. A namespace that is new in the mesh keeps its former state until the start of its first enrollment is
   * written.
   */
  admit(changed: Changed): Changed {
    const now = new Map(changed);
    for (const [key, object] of changed) {
      if (object ? object.kind !== 'Namespace' : !key.startsWith('Namespace ')) continue;
      clearTimeout(this.#held.get(key)?.timer);
      this.#held.delete(key);
      if (object?.kind !== 'Namespace') {
        this.#since.delete(key);
        this.#retryAtMs.delete(key);
        continue;
      }
      const seen = this.#effective(key, object);
      now.set(key, seen);
      // Before nodes are served, every namespace is compiled at once: a node that has enrolled pods already must not receive their removal.
      // A namespace that is in the mesh already is not held back.
      if (!this.#serving || isEnrolled(this.#options.compiler.namespace(object.metadata.name))) continue;
      if (!this.#mayBegin(seen)) continue;
      now.delete(key);
      const held = { object: seen, timer: setTimeout(() => this.#release(key, seen), holdMsMax) };
      this.#held.set(key, held);
      void this.#begin(seen).then((outcome) => {
        // The watch has delivered the new version already, or is about to deliver what another replica has written.
        if (this.#held.get(key) !== held || outcome === 'changed') return;
        this.#release(key, outcome === 'failed' ? seen : outcome);
      });
    }
    return now;
  }

  /** Resolves when the first enrollments of all namespaces that are new in the mesh are written. No node may be served before that. */
  async start(): Promise<void> {
    const { compiler, take } = this.#options;
    const fresh = [...compiler.ofKind('Namespace')].filter((one) => this.#mayBegin(one));
    const until = performance.now() + startMsMax;
    const isTime = (): boolean => performance.now() < until;
    const work = async (): Promise<void> => {
      for (let next = fresh.pop(); next && isTime(); next = fresh.pop()) {
        const key = objectKey(next);
        const outcome = await this.#begin(next);
        // A result that arrives after the time limit is dropped: nodes have received strict mode by then.
        if (typeof outcome === 'object' && !this.#serving) take(new Map([[key, outcome]]));
        while (outcome === 'changed' && isTime() && this.#mayBegin(compiler.namespace(next.metadata.name)))
          await sleep(50);
      }
    };
    let timer: NodeJS.Timeout | undefined;
    const isLate = new Promise((resolve) => (timer = setTimeout(resolve, startMsMax)));
    await Promise.race([Promise.all(Array.from({ length: startAtOnce }, work)), isLate]);
    clearTimeout(timer);
    this.#serving = true;
    this.#timer = setInterval(() => this.#tick(), tickMs);
  }

  stop(): void {
    clearInterval(this.#timer);
    for (const { timer } of this.#held.values()) clearTimeout(timer);
  }

  #mayBegin(namespace: NamespaceObject | undefined): boolean {
    const { compiler, byDefault } = this.#options;
    if (!namespace || compiler.removal !== undefined) return false;
    const says = { 'weft.dev/first-enrollment': byDefault, ...namespace.metadata.annotations };
    return mayBeginEnrolling(
      { ...namespace, metadata: { ...namespace.metadata, annotations: says } },
      {
        namespaces: compiler.ofKind('Namespace'),
        pods: compiler.ofKind('Pod'),
        settings: compiler.ofKind('MeshSettings'),
      },
    );
  }

  /**
   * Writes the start of the first enrollment. Returns the written Namespace; `changed` if the Namespace has changed since it was read (the watch
   * delivers the change); `failed` if the labels apply at once.
   */
  async #begin(namespace: NamespaceObject): Promise<NamespaceObject | 'changed' | 'failed'> {
    const { log } = this.#options;
    const { name } = namespace.metadata;
    try {
      const begun = await this.#write(namespace, enrollingCondition());
      log.info(
        { namespace: name },
        'namespace is new in the mesh: strict mode starts once nodes have reported all pods',
      );
      return begun;
    } catch (error) {
      if (error instanceof ApiError && error.status === 409) return 'changed';
      log.warn(
        { namespace: name, error: errorText(error) },
        'namespace is new in the mesh, but its condition cannot be written: strict mode applies at once',
      );
      return 'failed';
    }
  }

  #release(key: ObjectKey, object: NamespaceObject): void {
    clearTimeout(this.#held.get(key)?.timer);
    this.#held.delete(key);
    this.#options.take(new Map([[key, this.#effective(key, object)]]));
  }

  /**
   * The namespace as this replica treats it. Strict mode that was in force stays in force, even if a write that had been given up has reached
   * the API server after all. A first enrollment that lasts too long is over, regardless of the leader and of failed writes, also for a
   * replica that starts later.
   */
  #effective(key: ObjectKey, namespace: NamespaceObject): NamespaceObject {
    if (!isEnrolling(namespace)) {
      this.#since.delete(key);
      return namespace;
    }
    const before = this.#options.compiler.object(key);
    const wasInForce =
      this.#serving && before?.kind === 'Namespace' && isEnrolled(before) && !isEnrolling(before);
    if (!wasInForce) {
      const since = this.#since.get(key);
      if (!since) this.#since.set(key, { atMs: performance.now() });
      const localMs = since ? performance.now() - since.atMs : 0;
      if (Math.max(localMs, sinceTransitionMs(namespace)) < localMsMax) return namespace;
    }
    // The condition stays, so that no first enrollment starts again. It has no message: the leader sees the difference and writes the condition.
    const ended: Condition = {
      type: enrolledCondition,
      status: 'True',
      reason: wasInForce ? 'Enrolled' : 'DeadlineExceeded',
      lastTransitionTime: rfc3339(Date.now()),
    };
    const others = (namespace.status?.conditions ?? []).filter(({ type }) => type !== enrolledCondition);
    return { ...namespace, status: { conditions: [...others, ended] } };
  }

  #tick(): void {
    const { compiler, take, leading } = this.#options;
    let left: readonly PodObject[] | undefined;
    const unreportedNow = (): readonly PodObject[] =>
      (left ??= unreported(compiler.ofKind('Pod'), (name) => compiler.namespace(name)));
    // Namespaces in their first enrollment come first: strict mode waits for them.
    const all = [...compiler.ofKind('Namespace')];
    for (const namespace of [...all.filter(isEnrolling), ...all.filter((one) => !isEnrolling(one))]) {
      const key = objectKey(namespace);
      const seen = this.#effective(key, namespace);
      if (seen !== namespace) take(new Map([[key, seen]]));
      else if (leading()) this.#writeIfChanged(key, namespace, unreportedNow);
    }
  }

  /** Leader only: writes the condition if it differs from the wanted one. */
  #writeIfChanged(
    key: ObjectKey,
    namespace: NamespaceObject,
    unreportedNow: () => readonly PodObject[],
  ): void {
    const { compiler, log } = this.#options;
    const { name } = namespace.metadata;
    const now = namespace.status?.conditions?.find(({ type }) => type === enrolledCondition);
    const wanted = compiler.removal === undefined ? this.#wanted(key, namespace, unreportedNow) : undefined;
    const { lastTransitionTime: _, ...current } = now ?? {};
    if (now ? isDeepStrictEqual(current, wanted) : wanted === undefined) return;
    if (this.#writing.has(name) || this.#writing.size >= writesAtOnce) return;
    if (performance.now() < (this.#retryAtMs.get(key) ?? 0)) return;
    this.#writing.add(name);
    this.#write(namespace, wanted)
      .then(
        () => {
          this.#retryAtMs.delete(key);
          if (wanted?.status === 'True' && now?.status === 'False')
            log.info({ namespace: name, reason: wanted.reason }, wanted.message ?? '');
        },
        (error: unknown) => {
          // 409: the Namespace has changed since it was read; the watch delivers the change. 404: it is gone.
          if (error instanceof ApiError && (error.status === 409 || error.status === 404)) return;
          this.#retryAtMs.set(key, performance.now() + retryMs);
          log.warn(
            { namespace: name, error: errorText(error) },
            'condition weft.dev/Enrolled of the namespace not written: will retry',
          );
        },
      )
      .finally(() => this.#writing.delete(name));
  }

  #wanted(
    key: ObjectKey,
    namespace: NamespaceObject,
    unreportedNow: () => readonly PodObject[],
  ): Condition | undefined {
    const nowMs = performance.now();
    const since = this.#since.get(key);
    const beganMs = transitionMsOf(namespace);
    const left = since ? startedBefore(unreportedNow(), beganMs) : [];
    if (since) {
      if (left.length > 0) delete since.settledAtMs;
      else since.settledAtMs ??= nowMs;
    }
    return enrolledConditionNow(namespace, {
      unreported: left,
      settledMs: since?.settledAtMs === undefined ? undefined : nowMs - since.settledAtMs,
      elapsedMs: Math.max(since ? nowMs - since.atMs : 0, sinceTransitionMs(namespace)),
    });
  }

  /** Returns the written Namespace. Errors: ApiError; 409 if the Namespace has changed since it was read. */
  async #write(namespace: NamespaceObject, condition: Condition | undefined): Promise<NamespaceObject> {
    const { name, uid, resourceVersion } = namespace.metadata;
    const before = namespace.status?.conditions?.find(({ type }) => type === enrolledCondition);
    const lastTransitionTime =
      before && before.status === condition?.status ? before.lastTransitionTime : rfc3339(Date.now());
    const path = `/api/v1/namespaces/${encodeURIComponent(name)}/status?fieldManager=weft-control&force=true`;
    const written = await requestJson(this.#options.config, 'PATCH', path, {
      apiVersion: 'v1',
      kind: 'Namespace',
      // The resource version lets only one of two concurrent replicas write, and keeps an ended first enrollment from being started again.
      metadata: { name, ...(uid ? { uid } : {}), ...(resourceVersion ? { resourceVersion } : {}) },
      status: { conditions: condition ? [{ ...condition, lastTransitionTime }] : [] },
    });
    return pickFields('Namespace', written) as NamespaceObject;
  }
}

/** Epoch milliseconds of the last transition; NaN if the condition has none. */
function transitionMsOf({ status }: NamespaceObject): number {
  const condition = status?.conditions?.find(({ type }) => type === enrolledCondition);
  return Date.parse(condition?.lastTransitionTime ?? '');
}

/** Milliseconds by the wall clock, as an absolute value: a clock that was set back must not extend the first enrollment. */
function sinceTransitionMs(namespace: NamespaceObject): number {
  const byWall = Math.abs(Date.now() - transitionMsOf(namespace));
  return Number.isNaN(byWall) ? 0 : byWall;
}

const sleep = (ms: number): Promise<undefined> =>
  new Promise((resolve) => setTimeout(resolve, ms, undefined));
