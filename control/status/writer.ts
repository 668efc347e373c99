/**
 * What the control plane keeps right in the API server. The leader: the roots' ConfigMap in every namespace of the mesh, and the status of
 * Weft's own objects, of routes that are attached to Services, and of waypoints, with what these are made of. Every replica: the condition of the pods whose node reports to it, which is one replica at a time.
 */
import { isDeepStrictEqual } from 'node:util';
import type { KubeConfig } from '@kubernetes/client-node';
import type { NodeReport } from '../../src/discovery/gen/weft.js';
import { errorText } from '../../src/base/errors.js';
import { objectKey, type ObjectKey } from '../objects/object-key.js';
import type { Compiler } from '../compile/compile.js';
import { namespaceOf } from '../../src/model/labels.js';
import { isRoute, routeKinds, type MeshObject } from '../objects/objects.js';
import { policyEnforcement } from './route.js';
import type { ServeLog } from '../serve/server.js';
import { WaypointReconciler } from '../waypoint/reconciler.js';
import type { RenderSettings } from '../waypoint/render.js';
import type { ObjectProblem } from '../source/kubernetes.js';
import { AgentPods } from '../kubernetes/agent-pods.js';
import type { ObjectProblems } from '../problems/setting-problems.js';
import { acceptedCondition, judgedKinds, rfc3339 } from './conditions.js';
import { refusedEvent, settingEvent } from './events.js';
import { classWrite, gatewayWrite, routeWrite } from './gateway.js';
import { Leader } from '../kubernetes/leader.js';
import { podWrites } from './pod.js';
import { removalWrites } from './removal.js';
import { serviceWrite } from './service.js';
import { statusPathOf } from './path.js';
import { TransitionLog } from './transition-log.js';
import { Writer, type Write } from '../kubernetes/apply-queue.js';

const againMs = 30_000;
/** The roots' ConfigMaps are not watched: who may write ConfigMaps in a namespace keeps its waypoints from the control plane for this long. */
const rootsAgainMs = 300_000;
/** About objects that cannot be read; the others are in the log and in `weft check`. */
const eventsMax = 500;

export const leaseName = 'weft-control';
/** Of the Lease: RFC 3339, or anything else for not yet. */
export const releaseAnnotation = 'weft.dev/release-at';
export const rootsConfigMap = 'weft-ca-root-cert';

export interface UpkeepOptions {
  readonly config: KubeConfig;
  /** Of the control plane itself. */
  readonly namespace: string;
  /** Of this replica. */
  readonly identity: string;
  readonly compiler: Compiler;
  readonly refused: () => Iterable<ObjectProblem>;
  /** What labels and annotations say that nobody can read. */
  readonly settings: () => Iterable<ObjectProblems>;
  readonly roots: () => string;
  readonly log: ServeLog;
  /** A limit of docs/limits.md was reached. */
  readonly onLimit: (limit: string) => void;
  /** How waypoints are made; absent: by others. */
  readonly waypoints?: Omit<RenderSettings, 'rootsConfigMap'>;
  /** When every pod is to be let go (epoch ms), as the uninstall has set it; said once per value. */
  readonly onRelease: (atMs: number) => void;
}

export class Upkeep {
  readonly #options: UpkeepOptions;
  readonly #writer: Writer;
  readonly #agents: AgentPods;
  readonly #leader: Leader;
  readonly #waypoints: WaypointReconciler | undefined;
  readonly #timer: NodeJS.Timeout;
  #soon: NodeJS.Timeout | undefined;
  #releaseAt = '';
  #rootsAtMs = 0;
  /** Paths of what was said about objects that cannot be read. */
  readonly #events = new Set<string>();
  readonly #transitions: TransitionLog;
  /** Whether the limit of events about objects that cannot be read is reached. */
  #eventsFull = false;
  /** Roots and waypoints as they were looked at last. */
  #gateways: readonly string[] = [];

  constructor(options: UpkeepOptions) {
    this.#options = options;
    const { config, namespace, log } = options;
    this.#writer = new Writer(config, (path, error) =>
      log.warn({ path, error: errorText(error) }, 'not written, tried again'),
    );
    this.#transitions = new TransitionLog({
      write: (write) => this.#writer.set(write),
      forget: (path) => this.#writer.forget(path),
      onLimit: options.onLimit,
    });
    this.#agents = new AgentPods({ config, namespace, isLeading: () => this.leading, log });
    this.#leader = new Leader(
      config,
      namespace,
      leaseName,
      options.identity,
      (leading) => {
        log.info({ leading }, leading ? 'this replica writes' : 'another replica writes');
        this.changed();
        this.#waypoints?.changed();
        if (leading) for (const pod of options.compiler.ofKind('Pod')) this.#agents.look(pod);
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
        compiler: options.compiler,
        settings: { ...options.waypoints, rootsConfigMap },
        roots: (name) => this.#roots(name),
        leading: () => this.#leader.leading,
        onChange: () => this.changed(),
        onLimit: options.onLimit,
        log,
      });
    this.#leader.start();
    this.#timer = setInterval(() => this.changed(), againMs);
  }

  get leading(): boolean {
    return this.#leader.leading;
  }

  /** Something that is written about may have changed. */
  changed(): void {
    // A burst is looked at once.
    this.#soon ??= setTimeout(() => {
      this.#soon = undefined;
      if (this.#leader.leading) this.#write();
    }, 500);
  }

  /** What the agent of `node` holds; it is believed of pods of that node alone. */
  onReport(node: string, report: NodeReport): void {
    for (const { pod, write } of podWrites(this.#options.compiler.ofKind('Pod'), node, report)) {
      this.#writer.set(write);
      this.#transitions.note(pod, write, node);
    }
  }

  /** Before the compiler has them. Of an object that is gone nothing is kept, or whoever makes and deletes objects would grow what is kept. */
  onChanges(changed: ReadonlyMap<ObjectKey, MeshObject | undefined>): void {
    for (const [key, object] of changed) {
      if (object) {
        this.#agents.look(object);
        continue;
      }
      const before = this.#options.compiler.object(key);
      if (!before) continue;
      this.#agents.forget(before);
      const path = statusPathOf(before);
      if (path !== undefined) this.#writer.forget(path);
    }
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    clearTimeout(this.#soon);
    this.#writer.stop();
    this.#agents.stop();
    this.#waypoints?.stop();
    await this.#leader.stop().catch(() => undefined);
  }

  #write(): void {
    const { compiler, namespace: own, roots } = this.#options;
    const namespaces = new Set([...compiler.enrolledNamespaces, own]);
    const gateways = [roots()];
    for (const gateway of compiler.ofKind('Gateway')) {
      const namespace = namespaceOf(gateway);
      const { name, uid, generation, annotations } = gateway.metadata;
      if (!compiler.isWaypoint({ namespace, name })) continue;
      // Its pods trust by it, whether the namespace is in the mesh or not.
      namespaces.add(namespace);
      // The generation does not change with annotations.
      gateways.push(`${uid} ${generation} ${JSON.stringify(annotations)}`);
    }
    // Most of what changes in a mesh has nothing to do with what waypoints are made of.
    if (!isDeepStrictEqual(gateways, this.#gateways)) this.#waypoints?.changed();
    this.#gateways = gateways;
    const wanted = new Set<string>();
    const again = Date.now() - this.#rootsAtMs >= rootsAgainMs;
    if (again) this.#rootsAtMs = Date.now();
    for (const namespace of namespaces) {
      const write = this.#roots(namespace);
      wanted.add(write.path);
      if (again) this.#writer.again(write.path);
      this.#writer.set(write);
    }
    for (const known of this.#writer.paths()) {
      if (known.endsWith(`/configmaps/${rootsConfigMap}`) && !wanted.has(known))
        this.#writer.set({ path: known });
    }
    if (compiler.removal !== undefined) for (const write of removalWrites(compiler)) this.#writer.set(write);
    else this.#writeStatus();
  }

  #writeStatus(): void {
    const { compiler, refused } = this.#options;
    const set = (object: MeshObject, write: Write | undefined): void => {
      if (!write) return;
      this.#writer.set(write);
      this.#transitions.note(object, write);
    };
    const troubles = [...refused()];
    const troubled = new Set(troubles.map(({ object }) => objectKey(object)));
    const invalidOf = (object: MeshObject): string | undefined =>
      'invalid' in object ? object.invalid : undefined;
    for (const kind of judgedKinds) {
      for (const object of compiler.ofKind(kind)) {
        const invalid = invalidOf(object);
        // What it was before is in force: what is wrong with it is said below.
        if (invalid === undefined && troubled.has(objectKey(object))) continue;
        set(
          object,
          acceptedCondition(
            object,
            invalid ?? compiler.problemOf(object),
            object.kind === 'AccessPolicy' ? policyEnforcement(object, compiler) : undefined,
          ),
        );
      }
    }
    for (const kind of routeKinds) {
      for (const object of compiler.ofKind(kind)) set(object, routeWrite(object, compiler));
    }
    for (const object of compiler.ofKind('Service')) set(object, serviceWrite(object, compiler));
    for (const object of compiler.ofKind('Gateway'))
      set(object, gatewayWrite(object, compiler, this.#waypoints?.health(object)));
    for (const object of compiler.ofKind('GatewayClass')) set(object, classWrite(object));
    for (const { object, message } of troubles) {
      const taken = compiler.object(objectKey(object));
      if (!isRoute(object) && (!taken || invalidOf(taken) === undefined))
        set(object, acceptedCondition(object, message));
    }
    this.#writeEvents(troubles);
  }

  /** Each once: the API server forgets events by itself, and `weft check` shows what is still so. */
  #writeEvents(troubles: readonly ObjectProblem[]): void {
    const wanted = new Set<string>();
    const timestamp = rfc3339(Date.now());
    let full = false;
    const add = (write: Write): void => {
      if (wanted.size >= eventsMax) {
        full = true;
        return;
      }
      wanted.add(write.path);
      if (this.#events.has(write.path)) return;
      this.#events.add(write.path);
      this.#writer.set(write);
    };
    for (const trouble of troubles) add(refusedEvent(trouble, timestamp));
    for (const found of this.#options.settings()) add(settingEvent(found, timestamp));
    // Counted when it begins: the same objects are looked at again and again.
    if (full && !this.#eventsFull) this.#options.onLimit('events');
    this.#eventsFull = full;
    for (const path of this.#events) {
      if (wanted.has(path)) continue;
      this.#events.delete(path);
      this.#writer.forget(path);
    }
  }

  #roots(namespace: string): Write & { readonly body: object } {
    return {
      path: `/api/v1/namespaces/${namespace}/configmaps/${rootsConfigMap}`,
      body: {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name: rootsConfigMap, namespace, labels: { 'app.kubernetes.io/part-of': 'weft' } },
        data: { 'root-cert.pem': this.#options.roots() },
      },
    };
  }
}
