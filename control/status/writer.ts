/** Writes the status of objects to the API server, and events about changes. The leader calls `write` in each turn; every replica writes pods. */
import type { NodeReport } from '../../src/discovery/gen/weft.js';
import { objectKey } from '../objects/object-key.js';
import type { Compiler } from '../compile/compile.js';
import type { GatewayObject, MeshObject } from '../objects/objects.js';
import { kindNames, kinds } from '../kinds/kinds.js';
import type { ObjectProblems } from '../problems/setting-problems.js';
import type { ApplyQueue, Write } from '../kubernetes/apply-queue.js';
import type { ObjectProblem } from '../source/kubernetes.js';
import { acceptedUpdate, invalidBecause } from './accepted.js';
import { rfc3339 } from './conditions.js';
import { refusedEvent, settingEvent } from './events.js';
import { podStatuses } from './pod.js';
import { removalStatus } from './removal.js';
import { isOwn, type StatusLookup, type StatusUpdate, type WaypointHealth } from './status.js';
import { TransitionLog } from './transition-log.js';
import { statusPathOf, statusWrite } from './write.js';

/** Events about objects that cannot be read. Further ones are in the log and in `weft check`. */
const eventsMax = 500;

export interface StatusWriterOptions {
  readonly compiler: Compiler;
  readonly queue: Pick<ApplyQueue, 'set' | 'forget'>;
  /** Objects whose current version is not in force. */
  readonly refused: () => Iterable<ObjectProblem>;
  /** Objects with unknown values of labels and annotations. */
  readonly settings: () => Iterable<ObjectProblems>;
  /** Health of a Gateway's waypoint; undefined: this control plane does not create waypoints. */
  readonly waypointHealth: (gateway: GatewayObject) => WaypointHealth | undefined;
  readonly olderVersions?: StatusLookup['olderVersions'];
  /** A limit of docs/limits.md was reached. */
  readonly onLimit: (limit: string) => void;
}

/** Kinds whose status Weft writes from the object and the registry. A pod's comes from its node's report. */
const statusKinds = kindNames.filter((kind) => kinds[kind].status);

export class StatusWriter {
  readonly #options: StatusWriterOptions;
  readonly #transitions: TransitionLog;
  /** Paths of the events about objects that cannot be read. */
  readonly #events = new Set<string>();
  /** Whether the limit of events about such objects is reached. */
  #eventsFull = false;

  constructor(options: StatusWriterOptions) {
    this.#options = options;
    const { queue, onLimit } = options;
    this.#transitions = new TransitionLog({
      write: (write) => queue.set(write),
      forget: (path) => queue.forget(path),
      onLimit,
    });
  }

  /** One turn: writes the status of every object whose status differs from the wanted one. */
  write(): void {
    const { compiler, waypointHealth, olderVersions, refused } = this.#options;
    const lookup = { mesh: compiler, waypointHealth, olderVersions, timestamp: rfc3339(Date.now()) };
    if (compiler.removal !== undefined) {
      for (const object of this.#objects()) this.#set(object, removalStatus(object, lookup));
      return;
    }
    const unread = [...refused()];
    const isUnread = new Set(unread.map(({ object }) => objectKey(object)));
    for (const object of this.#objects()) {
      // The object's last valid version is in force. The problem of the current version is written below.
      if (isOwn(object) && invalidBecause(object) === undefined && isUnread.has(objectKey(object))) continue;
      this.#report(object, kinds[object.kind].status?.(object, lookup));
    }
    for (const { object, message } of unread) {
      const inForce = compiler.object(objectKey(object));
      if (isOwn(object) && (!inForce || invalidBecause(inForce) === undefined))
        this.#report(object, acceptedUpdate(object, message, lookup.timestamp));
    }
    this.#writeEvents(unread, lookup.timestamp);
  }

  /** Writes the captured condition of a node's pods, from its agent's report. */
  onReport(node: string, report: NodeReport): void {
    for (const { pod, update } of podStatuses(this.#options.compiler.ofKind('Pod'), node, report))
      this.#report(pod, update, node);
  }

  /** Call before the compiler drops a deleted object. No state of it is kept, so that creating and deleting objects costs no memory. */
  forget(object: MeshObject): void {
    const path = statusPathOf(object);
    if (path !== undefined) this.#options.queue.forget(path);
  }

  *#objects(): Iterable<MeshObject> {
    for (const kind of statusKinds) yield* this.#options.compiler.ofKind(kind);
  }

  #set(object: MeshObject, update: StatusUpdate | undefined): void {
    const write = statusWrite(object, update);
    if (write) this.#options.queue.set(write);
  }

  /** Writes a status, and an event for each changed condition. @param source name of the reporting node; absent: the control plane */
  #report(object: MeshObject, update: StatusUpdate | undefined, source?: string): void {
    if (!update) return;
    this.#set(object, update);
    this.#transitions.record(object, update.status, source);
  }

  /** Writes each event about an invalid object once: events expire in the API server, and `weft check` shows the problems that remain. */
  #writeEvents(unread: readonly ObjectProblem[], timestamp: string): void {
    const { queue, settings, onLimit } = this.#options;
    const wanted = new Set<string>();
    let full = false;
    const add = (write: Write): void => {
      if (wanted.size >= eventsMax) {
        full = true;
        return;
      }
      wanted.add(write.path);
      if (this.#events.has(write.path)) return;
      this.#events.add(write.path);
      queue.set(write);
    };
    for (const one of unread) add(refusedEvent(one, timestamp));
    for (const one of settings()) add(settingEvent(one, timestamp));
    // Counted when the limit is first reached: each turn looks at the same objects again.
    if (full && !this.#eventsFull) onLimit('events');
    this.#eventsFull = full;
    for (const path of this.#events) {
      if (wanted.has(path)) continue;
      this.#events.delete(path);
      queue.forget(path);
    }
  }
}
