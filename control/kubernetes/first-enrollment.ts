/**
 * Namespaces in their first minute in the mesh (control/compile/first-enrollment.ts), on Kubernetes: when it begins, what it waits for and
 * that it is over are the condition `weft.dev/Enrolled` of the Namespace, which every replica reads by its watch. Any replica may begin it,
 * under the version of the Namespace that it has read; the leader ends it. What cannot be written begins nothing.
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
/** A namespace that is new in the mesh is as it was before for this long at most: then it is as its labels say, and so strict. */
const holdMsMax = 5_000;
/** All that are new as this replica comes. */
const startMsMax = 15_000;
const startAtOnce = 16;
/** Of the leader. */
const writesAtOnce = 32;
const retryMs = 30_000;
/** A condition that the leader has not ended by then counts no longer, whatever the API server says. */
const localMsMax = enrollMsMax + 30_000;

type Changed = ReadonlyMap<ObjectKey, MeshObject | undefined>;

export interface FirstEnrollmentOptions {
  readonly config: KubeConfig;
  readonly compiler: Compiler;
  /** Namespaces as they are now. */
  readonly take: (changed: Changed) => void;
  readonly leading: () => boolean;
  /** `closed`: strict mode is in force from the first, unless a namespace says otherwise. */
  readonly byDefault: 'available' | 'closed';
  readonly log: ControlLog;
}

/** Sole owner of what is held back, and of how long first minutes last. */
export class FirstEnrollment {
  readonly #options: FirstEnrollmentOptions;
  /** Namespaces that wait for their first minute to be written, by key. */
  readonly #held = new Map<ObjectKey, { readonly object: NamespaceObject; readonly timer: NodeJS.Timeout }>();
  /** When a first minute was first seen here, by a clock that nobody sets; and since when nothing is waited for. */
  readonly #since = new Map<string, { readonly atMs: number; settledAtMs?: number }>();
  readonly #writing = new Set<string>();
  /** Namespaces whose condition could not be written: not tried again until then. */
  readonly #retryAtMs = new Map<string, number>();
  #serving = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: FirstEnrollmentOptions) {
    this.#options = options;
  }

  /** What of a change is to be compiled now. A namespace that is new in the mesh is as it was before until its first minute is written. */
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
      const seen = this.#asItIs(key, object);
      now.set(key, seen);
      // Before nodes are served, all is compiled as it is: one that holds pods already must not hear that they are unwanted.
      // One that counts as in the mesh already stays as it is.
      if (!this.#serving || isEnrolled(this.#options.compiler.namespace(object.metadata.name))) continue;
      if (!this.#mayBegin(seen)) continue;
      now.delete(key);
      const held = { object: seen, timer: setTimeout(() => this.#release(key, seen), holdMsMax) };
      this.#held.set(key, held);
      void this.#begin(seen).then((outcome) => {
        // The watch was faster, or says in a moment what another replica has written.
        if (this.#held.get(key) !== held || outcome === 'changed') return;
        this.#release(key, outcome === 'failed' ? seen : outcome);
      });
    }
    return now;
  }

  /** Resolves when the first minutes of all namespaces that are new in the mesh are written: before that no node may be served. */
  async start(): Promise<void> {
    const { compiler, take } = this.#options;
    const fresh = [...compiler.ofKind('Namespace')].filter((one) => this.#mayBegin(one));
    const until = performance.now() + startMsMax;
    const isTime = (): boolean => performance.now() < until;
    const work = async (): Promise<void> => {
      for (let next = fresh.pop(); next && isTime(); next = fresh.pop()) {
        const key = objectKey(next);
        const outcome = await this.#begin(next);
        // What comes later than that is not believed: nodes have been told strict mode.
        if (typeof outcome === 'object' && !this.#serving) take(new Map([[key, outcome]]));
        while (outcome === 'changed' && isTime() && this.#mayBegin(compiler.namespace(next.metadata.name)))
          await sleep(50);
      }
    };
    await Promise.race([Promise.all(Array.from({ length: startAtOnce }, work)), sleep(startMsMax)]);
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

  /** The Namespace as it is then; `changed`: since it was read, and the watch says how; `failed`: it is as its labels say. */
  async #begin(namespace: NamespaceObject): Promise<NamespaceObject | 'changed' | 'failed'> {
    const { log } = this.#options;
    const { name } = namespace.metadata;
    try {
      const begun = await this.#write(namespace, enrollingCondition());
      log.info({ namespace: name }, 'new in the mesh: strict mode waits until nodes have reported all pods');
      return begun;
    } catch (error) {
      if (error instanceof ApiError && error.status === 409) return 'changed';
      log.warn({ namespace: name, error: errorText(error) }, 'new in the mesh, and strict from the first');
      return 'failed';
    }
  }

  #release(key: ObjectKey, object: NamespaceObject): void {
    clearTimeout(this.#held.get(key)?.timer);
    this.#held.delete(key);
    this.#options.take(new Map([[key, this.#asItIs(key, object)]]));
  }

  /**
   * A namespace as it counts here. What was in force stays so, also where a write that was given up has come through all the same; and a
   * first minute that lasts too long is over, whoever leads and whatever could be written, also for a replica that starts later.
   */
  #asItIs(key: ObjectKey, namespace: NamespaceObject): NamespaceObject {
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
    // The condition stays, so that nothing begins anew. Without its message: the leader writes what it should be.
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
    // First those that somebody waits for.
    const all = [...compiler.ofKind('Namespace')];
    for (const namespace of [...all.filter(isEnrolling), ...all.filter((one) => !isEnrolling(one))]) {
      const key = objectKey(namespace);
      const seen = this.#asItIs(key, namespace);
      if (seen !== namespace) take(new Map([[key, seen]]));
      else if (leading()) this.#say(key, namespace, unreportedNow);
    }
  }

  /** By the leader: the condition as it is now. */
  #say(key: ObjectKey, namespace: NamespaceObject, unreportedNow: () => readonly PodObject[]): void {
    const { compiler, log } = this.#options;
    const { name } = namespace.metadata;
    const now = namespace.status?.conditions?.find(({ type }) => type === enrolledCondition);
    const wanted = compiler.removal === undefined ? this.#wanted(key, namespace, unreportedNow) : undefined;
    const { lastTransitionTime: _, ...said } = now ?? {};
    if (now ? isDeepStrictEqual(said, wanted) : wanted === undefined) return;
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
          // 409: it has changed since, and the watch will say how.
          if (error instanceof ApiError && (error.status === 409 || error.status === 404)) return;
          this.#retryAtMs.set(key, performance.now() + retryMs);
          log.warn(
            { namespace: name, error: errorText(error) },
            'condition of a namespace not written, tried again',
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

  /** The Namespace as it is then. Errors: ApiError, 409 where it has changed since it was read. */
  async #write(namespace: NamespaceObject, condition: Condition | undefined): Promise<NamespaceObject> {
    const { name, uid, resourceVersion } = namespace.metadata;
    const before = namespace.status?.conditions?.find(({ type }) => type === enrolledCondition);
    const lastTransitionTime =
      before && before.status === condition?.status ? before.lastTransitionTime : rfc3339(Date.now());
    const path = `/api/v1/namespaces/${encodeURIComponent(name)}/status?fieldManager=weft-control&force=true`;
    const written = await requestJson(this.#options.config, 'PATCH', path, {
      apiVersion: 'v1',
      kind: 'Namespace',
      // Of two replicas that write, one is refused; and what another has ended is not begun again.
      metadata: { name, ...(uid ? { uid } : {}), ...(resourceVersion ? { resourceVersion } : {}) },
      status: { conditions: condition ? [{ ...condition, lastTransitionTime }] : [] },
    });
    return pickFields('Namespace', written) as NamespaceObject;
  }
}

/** Epoch; NaN where the condition does not say. */
function transitionMsOf({ status }: NamespaceObject): number {
  const condition = status?.conditions?.find(({ type }) => type === enrolledCondition);
  return Date.parse(condition?.lastTransitionTime ?? '');
}

/** A clock that was set back must not make it longer. */
function sinceTransitionMs(namespace: NamespaceObject): number {
  const byWall = Math.abs(Date.now() - transitionMsOf(namespace));
  return Number.isNaN(byWall) ? 0 : byWall;
}

const sleep = (ms: number): Promise<undefined> =>
  new Promise((resolve) => setTimeout(resolve, ms, undefined));
