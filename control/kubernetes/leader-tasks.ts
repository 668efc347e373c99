/**
 * Writes to the API server. The leader writes the roots' ConfigMap in every namespace of the mesh, the status of objects, and the objects of
 * waypoints. Every replica writes the condition of the pods whose node reports to it, and each node reports to one replica at a time.
 */
import { isDeepStrictEqual } from 'node:util';
import type { KubeConfig } from '@kubernetes/client-node';
import type { NodeReport } from '../../src/discovery/gen/weft.js';
import { errorText } from '../../src/base/errors.js';
import type { ApiGroupName } from '../api-server/api-group.js';
import { ApiServiceRoots } from '../api-server/api-service.js';
import { RootsConfigMaps, rootsConfigMap } from '../certificates/roots-config-maps.js';
import type { Compiler } from '../compile/compile.js';
import { telemetryFlags } from '../dialects/istio/telemetry.js';
import type { ObjectKey } from '../objects/object-key.js';
import { namespaceOf } from '../../src/model/labels.js';
import type { MeshObject } from '../objects/objects.js';
import type { ObjectProblems } from '../problems/setting-problems.js';
import type { ControlLog } from '../log.js';
import type { ObjectProblem } from '../source/kubernetes.js';
import type { StatusLookup } from '../status/status.js';
import { StatusWriter } from '../status/writer.js';
import { secretsToMount } from '../waypoint/client-certificates.js';
import { WaypointReconciler } from '../waypoint/reconciler.js';
import type { RenderSettings } from '../waypoint/render.js';
import { AgentPods } from './agent-pods.js';
import { ApplyQueue } from './apply-queue.js';
import { Leader, leaseName, releaseAnnotation } from './leader.js';

/** Delay from a change to the turn that writes it, so that a burst of changes causes one turn. */
const turnDelayMs = 500;
const turnIntervalMs = 30_000;

export interface LeaderTasksOptions {
  readonly config: KubeConfig;
  /** The control plane's own namespace. */
  readonly namespace: string;
  /** This replica's holder identity in the Lease. */
  readonly identity: string;
  readonly compiler: Compiler;
  /** Objects whose current version is not in force. */
  readonly refused: () => Iterable<ObjectProblem>;
  /** Objects with unknown values of labels and annotations. */
  readonly settings: () => Iterable<ObjectProblems>;
  readonly olderVersions: NonNullable<StatusLookup['olderVersions']>;
  readonly roots: () => string;
  readonly log: ControlLog;
  /** A limit of docs/limits.md was reached. */
  readonly onLimit: (limit: string) => void;
  /** Settings for rendering waypoints; absent: Weft creates none. */
  readonly waypoints?: Omit<RenderSettings, 'rootsConfigMap'>;
  /** Groups of the aggregated API that this control plane serves. The chart makes their APIServices. */
  readonly apiGroups: readonly ApiGroupName[];
  /** Called with the time at which every pod is released (epoch ms), once per value that the uninstall sets. */
  readonly onRelease: (atMs: number) => void;
}

export class LeaderTasks {
  readonly #options: LeaderTasksOptions;
  readonly #queue: ApplyQueue;
  readonly #agents: AgentPods;
  readonly #leader: Leader;
  readonly #waypoints: WaypointReconciler | undefined;
  readonly #roots: RootsConfigMaps;
  readonly #apiServices: ApiServiceRoots;
  readonly #statuses: StatusWriter;
  readonly #timer: NodeJS.Timeout;
  #pendingTurn: NodeJS.Timeout | undefined;
  #releaseAt = '';
  /** Inputs of the waypoints at the last turn: the roots and the waypoints' Gateways. */
  #waypointInputs: readonly string[] = [];

  constructor(options: LeaderTasksOptions) {
    this.#options = options;
    const { config, namespace, compiler, onLimit, log } = options;
    this.#queue = new ApplyQueue(config, (path, error) =>
      log.warn({ path, error: errorText(error) }, 'write to the API server failed: will retry'),
    );
    this.#roots = new RootsConfigMaps(this.#queue, options.roots);
    this.#apiServices = new ApiServiceRoots(options.apiGroups, this.#queue, options.roots);
    this.#agents = new AgentPods({ config, namespace, isLeading: () => this.leading, log });
    this.#leader = new Leader(
      config,
      namespace,
      leaseName,
      options.identity,
      (leading) => {
        log.info({ leading }, leading ? 'this replica is the leader' : 'this replica is not the leader');
        this.changed();
        this.#waypoints?.changed();
        if (leading) for (const pod of compiler.ofKind('Pod')) this.#agents.look(pod);
      },
      (error) => log.warn({ error: errorText(error) }, 'the lease was not renewed'),
      ({ metadata }) => {
        const at = metadata.annotations?.[releaseAnnotation] ?? '';
        if (at === this.#releaseAt) return;
        this.#releaseAt = at;
        const atMs = Date.parse(at);
        if (!Number.isNaN(atMs)) options.onRelease(atMs);
      },
    );
    this.#waypoints =
      options.waypoints &&
      new WaypointReconciler({
        config,
        compiler,
        settings: { ...options.waypoints, rootsConfigMap },
        roots: (name) => this.#roots.of(name),
        leading: () => this.leading,
        onChange: () => this.changed(),
        onLimit,
        log,
      });
    this.#statuses = new StatusWriter({
      compiler,
      queue: this.#queue,
      refused: options.refused,
      settings: options.settings,
      olderVersions: options.olderVersions,
      waypointHealth: (gateway) => this.#waypoints?.health(gateway),
      onLimit,
    });
    this.#leader.start();
    this.#timer = setInterval(() => this.changed(), turnIntervalMs);
  }

  get leading(): boolean {
    return this.#leader.leading;
  }

  /** Call when anything that a write depends on may have changed. */
  changed(): void {
    this.#pendingTurn ??= setTimeout(() => {
      this.#pendingTurn = undefined;
      if (this.leading) this.#turn();
    }, turnDelayMs);
  }

  /** Writes the condition of the pods that the agent of `node` reports. Pods of other nodes are left alone. */
  onReport(node: string, report: NodeReport): void {
    this.#statuses.onReport(node, report);
  }

  /** Call before the compiler applies the changes. Undefined: the object is gone. */
  onChanges(changed: ReadonlyMap<ObjectKey, MeshObject | undefined>): void {
    for (const [key, object] of changed) {
      if (object) {
        this.#agents.look(object);
        continue;
      }
      const before = this.#options.compiler.object(key);
      if (!before) continue;
      this.#agents.forget(before);
      this.#statuses.forget(before);
    }
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    clearTimeout(this.#pendingTurn);
    this.#queue.stop();
    this.#agents.stop();
    this.#waypoints?.stop();
    await this.#leader.stop().catch(() => undefined);
  }

  #turn(): void {
    const { compiler, namespace: own, roots } = this.#options;
    const namespaces = new Set([...compiler.enrolledNamespaces, own]);
    const inputs = [roots()];
    for (const gateway of compiler.ofKind('Gateway')) {
      const namespace = namespaceOf(gateway);
      const { name, uid, generation, annotations } = gateway.metadata;
      if (!compiler.isWaypoint({ namespace, name })) continue;
      // The waypoint's pods read the roots' ConfigMap of their namespace, whether or not the namespace is in the mesh.
      namespaces.add(namespace);
      // A change of annotations does not change the generation.
      inputs.push(
        `${uid} ${generation} ${JSON.stringify(annotations)} ${telemetryFlags(compiler, gateway).join(' ')} ${secretsToMount(compiler.policiesWithCertificates(namespace)).names.join(' ')}`,
      );
    }
    // Most changes in a mesh do not change an input of a waypoint.
    if (!isDeepStrictEqual(inputs, this.#waypointInputs)) this.#waypoints?.changed();
    this.#waypointInputs = inputs;
    this.#roots.write(namespaces);
    this.#apiServices.write();
    this.#statuses.write();
  }
}
