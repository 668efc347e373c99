/**
 * Reconciles the objects of Gateways of Weft's class: applies the rendered objects by server-side apply if something differs. A Gateway whose
 * reconciliation fails is retried with backoff and does not delay the others. When a Gateway is deleted, garbage collection deletes its objects
 * by their owner reference.
 */
import { setTimeout as wait } from 'node:timers/promises';
import type { KubeConfig } from '@kubernetes/client-node';
import { errorText } from '../../src/base/errors.js';
import { RateLimiter } from '../../src/base/rate-limiter.js';
import { getOptional } from '../../src/kubernetes/get.js';
import { ApiError, requestJson } from '../../src/kubernetes/request.js';
import type { Compiler } from '../compile/compile.js';
import { namespaceOf } from '../../src/model/labels.js';
import { gatewayGroup, type GatewayObject } from '../objects/objects.js';
import type { WaypointHealth, WaypointProblem } from '../status/status.js';
import { telemetryFlags } from '../dialects/istio/telemetry.js';
import { waypointClass, waypointController } from '../compile/waypoints.js';
import type { ControlLog } from '../log.js';
import { kindApi } from '../source/kubernetes.js';
import { Reflector } from '../source/reflector.js';
import type { Write } from '../kubernetes/apply-queue.js';
import { secretsToMount } from './client-certificates.js';
import { readMade, type Made } from './made.js';
import {
  managedByLabel,
  manager,
  parametersOf,
  pathOf,
  renderedKinds,
  renderWaypoint,
  type RenderedKind,
  type RenderedObject,
  type Rendering,
  type RenderSettings,
} from './render.js';

const turnDelayMs = 200;
/** Parameters and the kind GatewayClass are not watched: they are polled at this interval. */
const turnIntervalMs = 10_000;
/** Parameters are reused for this long, so that a client that keeps changing a waypoint's objects does not cause a read each time. */
const parametersFreshMs = 2_000;
const backoffMs = { min: 1_000, max: 60_000 } as const;
/** Delay before an object is applied again that another client keeps changing. */
const contendedMs = 5_000;

export interface ReconcileOptions {
  readonly config: KubeConfig;
  readonly settings: RenderSettings;
  readonly compiler: Compiler;
  /** The wanted roots' ConfigMap of a namespace. */
  readonly roots: (namespace: string) => Write & { readonly body: object };
  /** Whether this replica is the leader: only the leader writes. */
  readonly leading: () => boolean;
  /** Called when the status of a Gateway may have changed. */
  readonly onChange: () => void;
  /** A limit of docs/limits.md was reached. */
  readonly onLimit: (limit: string) => void;
  readonly log: ControlLog;
  /** Clock of the rate limit for parsing parameters; a monotonic one if absent. */
  readonly nowMs?: () => number;
}

/** Reconciliation state of one Gateway, since this replica started. */
interface Progress {
  /** By path: the body applied last, the fingerprint of the resulting object, and the time. */
  readonly applied: Map<
    string,
    { readonly text: string; readonly fingerprint: string; readonly atMs: number }
  >;
  /** The last rendering, with the Gateway, parameters and flags it was rendered from, as JSON. */
  rendered: { readonly from: string; readonly rendering: Rendering } | undefined;
  parametersPath: string | undefined;
  parametersAtMs: number;
  parameters: Readonly<Record<string, string>> | undefined;
  problem: WaypointProblem | undefined;
  failures: number;
  notBeforeMs: number;
}

/** Whether the API server refuses the object itself, as opposed to a transient failure. */
const isRefusal = (error: unknown): boolean =>
  error instanceof ApiError && (error.status === 400 || error.status === 422);

export class WaypointReconciler {
  readonly #options: ReconcileOptions;
  readonly #reflectors: Readonly<Record<RenderedKind, Reflector<Made>>>;
  readonly #byName = new Map<string, Made>();
  readonly #progress = new Map<string, Progress>();
  /** Rate limit per namespace: parameters are parsed on the process's only thread. */
  readonly #parses = new RateLimiter({ burst: 10, perSecond: 1 / 3 });
  readonly #timer: NodeJS.Timeout;
  #classAtMs = 0;
  #pendingTurn: NodeJS.Timeout | undefined;
  #running = false;
  #turnAgain = false;
  #stopped = false;

  constructor(options: ReconcileOptions) {
    this.#options = options;
    const reflector = (kind: RenderedKind): Reflector<Made> =>
      new Reflector<Made>({
        kind,
        api: kindApi(options.config, [pathOf(kind)], undefined, `${managedByLabel}=${manager}`),
        pickFields: (object) => readMade(kind, object),
        onObject: (now, before) => {
          for (const made of [before, now]) {
            if (!made) continue;
            const key = madeKey(made.kind, made.namespace, made.name);
            if (made === now) this.#byName.set(key, made);
            else this.#byName.delete(key);
          }
          // Anyone can put Weft's label on objects: only objects with the name of a waypoint cause a turn.
          const { namespace, name } = (now ?? before) as Made;
          if (!options.compiler.isWaypoint({ namespace, name })) return;
          this.changed();
          options.onChange();
        },
        onSynced: () => this.changed(),
        onWatchError: (what, why, retryInMs) =>
          options.log.warn(
            { kind: what, why, retryInMs },
            'watch of the objects of waypoints failed: will retry',
          ),
        sleep: (ms, stop) => wait(ms, undefined, { signal: stop }).catch(() => undefined),
      });
    this.#reflectors = {
      serviceAccount: reflector('serviceAccount'),
      service: reflector('service'),
      deployment: reflector('deployment'),
      horizontalPodAutoscaler: reflector('horizontalPodAutoscaler'),
    };
    for (const kind of renderedKinds) void this.#reflectors[kind].run();
    this.#timer = setInterval(() => this.changed(), turnIntervalMs);
  }

  stop(): void {
    this.#stopped = true;
    clearInterval(this.#timer);
    clearTimeout(this.#pendingTurn);
    for (const kind of renderedKinds) this.#reflectors[kind].stop();
  }

  changed(inMs = turnDelayMs): void {
    if (this.#stopped) return;
    this.#pendingTurn ??= setTimeout(() => {
      this.#pendingTurn = undefined;
      void this.#turn();
    }, inMs);
  }

  /** Health of a Gateway's waypoint: its problem, replicas and conditions. */
  health(gateway: GatewayObject): WaypointHealth {
    const problem = this.#progress.get(keyOf(gateway))?.problem;
    const { replicas, conditions } = this.#observed('deployment', gateway) ?? {};
    return {
      ...(problem ? { problem } : {}),
      ...(replicas ? { replicas } : {}),
      ...(conditions ? { conditions } : {}),
    };
  }

  /** The existing object of the Gateway's name, if this Gateway owns it. */
  #observed(kind: RenderedKind, gateway: GatewayObject): Made | undefined {
    const { name, uid } = gateway.metadata;
    const made = this.#byName.get(madeKey(kind, namespaceOf(gateway), name));
    return made?.owner === uid ? made : undefined;
  }

  async #turn(): Promise<void> {
    const { compiler, leading, log } = this.#options;
    const synced = renderedKinds.every((kind) => this.#reflectors[kind].synced);
    if (!leading() || !synced) return;
    if (this.#running) {
      // The running turn may have passed the changed Gateway already.
      this.#turnAgain = true;
      return;
    }
    this.#running = true;
    try {
      await this.#ensureClass();
      const wanted = new Set<string>();
      for (const gateway of compiler.ofKind('Gateway')) {
        const { name, uid, deletionTimestamp } = gateway.metadata;
        // Garbage collection deletes the objects of a Gateway that is being deleted: nothing is applied for it.
        if (!compiler.isWaypoint({ namespace: namespaceOf(gateway), name }) || uid === undefined) continue;
        wanted.add(keyOf(gateway));
        if (deletionTimestamp === undefined) await this.#reconcile(gateway);
        if (this.#stopped || !leading()) return;
      }
      for (const key of this.#progress.keys()) if (!wanted.has(key)) this.#progress.delete(key);
    } catch (error) {
      log.warn({ error: errorText(error) }, 'reconciling waypoints failed');
    } finally {
      this.#running = false;
    }
    if (this.#turnAgain) {
      this.#turnAgain = false;
      this.changed();
    }
    const next = Math.min(...[...this.#progress.values()].map(({ notBeforeMs }) => notBeforeMs || Infinity));
    if (Number.isFinite(next)) this.changed(Math.max(turnDelayMs, next - Date.now()));
  }

  /** Applies the GatewayClass once the cluster has its kind, which may be installed after Weft. */
  async #ensureClass(): Promise<void> {
    const { compiler, config, log } = this.#options;
    if (compiler.gatewayClass(waypointClass) || Date.now() - this.#classAtMs < turnIntervalMs - turnDelayMs)
      return;
    this.#classAtMs = Date.now();
    try {
      const path = `/apis/${gatewayGroup}/v1/gatewayclasses/${waypointClass}`;
      await requestJson(config, 'PATCH', applyPath(path, false), {
        apiVersion: `${gatewayGroup}/v1`,
        kind: 'GatewayClass',
        metadata: { name: waypointClass, labels: { 'app.kubernetes.io/part-of': 'weft' } },
        spec: { controllerName: waypointController, description: 'Waypoints of Weft' },
      });
      log.info({ gatewayClass: waypointClass }, 'GatewayClass of waypoints applied');
    } catch (error) {
      // 404: the cluster has no Gateway API. 409: the class of this name has another field manager.
      const known = error instanceof ApiError && (error.status === 404 || error.status === 409);
      if (!known) log.warn({ error: errorText(error) }, 'GatewayClass of waypoints not applied: will retry');
    }
  }

  async #reconcile(gateway: GatewayObject): Promise<void> {
    const key = keyOf(gateway);
    let progress = this.#progress.get(key);
    if (!progress) {
      progress = {
        applied: new Map(),
        rendered: undefined,
        parametersPath: undefined,
        parametersAtMs: 0,
        parameters: undefined,
        problem: undefined,
        failures: 0,
        notBeforeMs: 0,
      };
      this.#progress.set(key, progress);
    }
    if (Date.now() < progress.notBeforeMs) return;
    const before = progress.problem;
    try {
      progress.problem = await this.#apply(gateway, progress);
      progress.failures = progress.notBeforeMs = 0;
    } catch (error) {
      const longest = Math.min(backoffMs.min * 2 ** progress.failures++, backoffMs.max);
      const retryInMs = Math.round(longest * (0.5 + Math.random() / 2));
      progress.notBeforeMs = Date.now() + retryInMs;
      progress.problem = { reason: isRefusal(error) ? 'Invalid' : 'Pending', message: errorText(error) };
      this.#options.log.warn(
        { gateway: key, error: errorText(error), retryInMs },
        'objects of a waypoint not applied: will retry',
      );
    }
    if (JSON.stringify(before) !== JSON.stringify(progress.problem)) this.#options.onChange();
  }

  /**
   * Applies the objects of a Gateway. Returns a problem that needs a change of the Gateway, of its parameters or of another object, or that
   * waits for the rate limit of parsing. Errors: ApiError.
   */
  async #apply(gateway: GatewayObject, progress: Progress): Promise<WaypointProblem | undefined> {
    const { config, roots, settings } = this.#options;
    const namespace = namespaceOf(gateway);
    const named = parametersOf(gateway);
    if (typeof named === 'string') return { reason: 'InvalidParameters', message: named };
    let parameters: Readonly<Record<string, string>> = {};
    if (named) {
      const read = await this.#readParameters(namespace, named.configMap, progress);
      if (!read) {
        const message = `there is no ConfigMap ${namespace}/${named.configMap}`;
        return { reason: 'InvalidParameters', message };
      }
      parameters = read;
    }
    const { name, annotations } = gateway.metadata;
    const telemetry = telemetryFlags(this.#options.compiler, gateway);
    const secrets = secretsToMount(this.#options.compiler.policiesWithCertificates(namespace));
    const from = JSON.stringify([gateway.spec, name, annotations, parameters, telemetry, secrets.names]);
    if (progress.rendered?.from !== from) {
      const waitMs = named ? this.#parses.takeOrWait(namespace, this.#options.nowMs?.()) : 0;
      if (waitMs > 0) {
        this.#options.onLimit('waypoint-parameters');
        this.changed(waitMs);
        return (
          progress.problem ??
          (progress.rendered
            ? undefined
            : { reason: 'Pending', message: 'its parameters are yet to be read' })
        );
      }
      if (secrets.left.size > 0) this.#options.onLimit('client-certificates');
      const extraArgs = [...settings.extraArgs, ...telemetry];
      const ofGateway = { ...settings, extraArgs, clientCertificates: secrets.names };
      progress.rendered = { from, rendering: renderWaypoint(gateway, ofGateway, parameters) };
    }
    const { rendering } = progress.rendered;
    if (!rendering.ok) return rendering;
    // The roots' ConfigMap comes before the Deployment: pods without it would wait long for the missing volume.
    const { path, body } = roots(namespace);
    const text = JSON.stringify(body);
    if (progress.applied.get(path)?.text !== text) {
      await requestJson(config, 'PATCH', applyPath(path, true), body);
      progress.applied.set(path, { text, fingerprint: '', atMs: Date.now() });
    }
    for (const object of rendering.objects) {
      const problem = await this.#applyObject(gateway, object, progress);
      if (problem) return problem;
    }
    const autoscaler = this.#observed('horizontalPodAutoscaler', gateway);
    if (autoscaler && !rendering.objects.some(({ kind }) => kind === 'horizontalPodAutoscaler')) {
      const at = pathOf('horizontalPodAutoscaler', namespace, autoscaler.name);
      await requestJson(config, 'DELETE', at, { preconditions: { uid: autoscaler.uid } }).catch(ignoreAbsent);
      progress.applied.delete(at);
    }
    return undefined;
  }

  /** The ConfigMap's data, at most `parametersFreshMs` old; undefined if the ConfigMap does not exist. Errors: ApiError. */
  async #readParameters(
    namespace: string,
    configMap: string,
    progress: Progress,
  ): Promise<Readonly<Record<string, string>> | undefined> {
    const path = `/api/v1/namespaces/${namespace}/configmaps/${configMap}`;
    if (progress.parametersPath === path && Date.now() - progress.parametersAtMs < parametersFreshMs)
      return progress.parameters;
    const found = await getOptional<{ readonly data?: Readonly<Record<string, string>> }>(
      this.#options.config,
      path,
    );
    const read = found && (found.data ?? {});
    progress.parameters = read;
    progress.parametersPath = path;
    progress.parametersAtMs = Date.now();
    return read;
  }

  /** Applies one object. Returns a problem if an object of this name exists that the Gateway does not own. Errors: ApiError. */
  async #applyObject(
    gateway: GatewayObject,
    { kind, path, body }: RenderedObject,
    progress: Progress,
  ): Promise<WaypointProblem | undefined> {
    const { config, log } = this.#options;
    const text = JSON.stringify(body);
    const seen = this.#observed(kind, gateway);
    const applied = progress.applied.get(path);
    const asApplied = applied?.text === text;
    if (asApplied && seen?.fingerprint === applied.fingerprint) return undefined;
    // The watch may not have delivered the last write yet.
    if (asApplied && Date.now() - applied.atMs < contendedMs) {
      this.changed(contendedMs);
      return undefined;
    }
    if (!seen) {
      const found = await getOptional<object>(config, path);
      const owner = found === undefined ? gateway.metadata.uid : readMade(kind, found).owner;
      // Another application may have this name: nothing would tell its pods apart from the waypoint's.
      if (owner !== gateway.metadata.uid) {
        const what = `${String(body['kind'])} ${namespaceOf(gateway)}/${gateway.metadata.name}`;
        const message = `${what} exists and is not owned by this Gateway, so it is left unchanged: delete it, or rename the Gateway`;
        return { reason: 'Invalid', message };
      }
    }
    // The UID makes the apply fail if another object of this name has replaced the observed one.
    const target = seen ? { ...body, metadata: { ...(body['metadata'] as object), uid: seen.uid } } : body;
    const made = await requestJson(config, 'PATCH', applyPath(path, true), target);
    progress.applied.set(path, { text, fingerprint: readMade(kind, made).fingerprint, atMs: Date.now() });
    log.info({ kind, path }, seen ? 'object of a waypoint updated' : 'object of a waypoint created');
    return undefined;
  }
}

const madeKey = (kind: RenderedKind, namespace: string, name: string): string =>
  `${kind} ${namespace}/${name}`;
const keyOf = (gateway: GatewayObject): string =>
  `${namespaceOf(gateway)}/${gateway.metadata.name} ${gateway.metadata.uid ?? ''}`;
const applyPath = (path: string, force: boolean): string =>
  `${path}?fieldManager=${manager}${force ? '&force=true' : ''}`;
const ignoreAbsent = (error: unknown): undefined => {
  if (error instanceof ApiError && error.status === 404) return undefined;
  throw error;
};
