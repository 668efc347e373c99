/**
 * Carriers that an agent with the TypeScript relay finds on its node: an agent before it used them. They take no new connection, and keep
 * their open ones under the policies until the last has ended. Without this those connections would go on whatever policies say.
 */
import type { CarrierStatus } from '../../src/model/relay.js';
import type { WorkloadUid } from '../../src/model/workload.js';
import { touchedWorkloads, type MeshChange } from '../../src/state/change.js';
import type { LocalPod } from '../worker-ipc.js';
import type { CarrierRelayParts } from './carrier-relay.js';
import { Carriers } from './carriers.js';
import { everything } from './recheck.js';
import type { CarrierSession } from './session.js';

export type FormerCarriersParts = Pick<
  CarrierRelayParts,
  | 'dir'
  | 'build'
  | 'node'
  | 'view'
  | 'record'
  | 'observed'
  | 'template'
  | 'afterRecords'
  | 'limitReached'
  | 'onVerdictRequest'
  | 'log'
>;

export class FormerCarriers {
  readonly #parts: FormerCarriersParts;
  readonly #carriers: Carriers;
  readonly #drained = new WeakSet<CarrierSession>();
  #pods: ReadonlyMap<WorkloadUid, LocalPod> = new Map();
  #byCookie: ReadonlyMap<bigint, LocalPod> = new Map();

  constructor(parts: FormerCarriersParts) {
    this.#parts = parts;
    const { dir, build, node, view, log } = parts;
    this.#carriers = new Carriers({
      dir,
      build,
      session: {
        node,
        view,
        localPod: (uid) => this.#pods.get(uid),
        podOf: (cookie) => this.#byCookie.get(cookie),
        requestVerdict: parts.onVerdictRequest,
        // The carrier accepts no connection that could profit from it.
        rememberFailure: () => undefined,
        limitReached: parts.limitReached,
        record: parts.record,
        observed: parts.observed,
        template: parts.template,
        afterRecords: parts.afterRecords,
        // This agent has the keys itself.
        onKeyMade: () => undefined,
        log,
      },
      onSession: (session) =>
        log.info(
          { carrier: session.name, flows: session.flows },
          'connected to a carrier of the former relay',
        ),
      onEnded: ({ name }, why) => log.info({ carrier: name, why }, 'the connection to a carrier ended'),
      log,
    });
  }

  /** This agent owns the node. Until `follow` the carriers go on as the former agent left them. */
  start(): void {
    this.#carriers.start();
  }

  /** Another agent is about to own the node. */
  release(): void {
    this.#carriers.stop();
  }

  /** Their connections go on. */
  close(): void {
    this.#carriers.close();
  }

  onMesh(change: MeshChange): void {
    const isTouched = touchedWorkloads(this.#parts.view, change);
    for (const session of this.#followed()) session.onChange(change, isTouched);
  }

  /** The pods of this node that are in the mesh. */
  sync(pods: ReadonlyMap<WorkloadUid, LocalPod>): void {
    const before = this.#byCookie;
    this.#pods = new Map(pods);
    this.#byCookie = new Map([...pods.values()].map((local) => [local.netns.cookie, local]));
    for (const cookie of this.#byCookie.keys())
      if (!before.has(cookie)) for (const session of this.#carriers.sessions) session.onPod(cookie);
  }

  /**
   * The view is whole, and the pods' listeners are the workers': every connection is authorized again, and no new one is accepted. Call it
   * regularly.
   */
  follow(): void {
    for (const session of this.#carriers.sessions) {
      // One that no agent has used yet waits for an agent with the other relay: a change of the relay may start it first.
      const isUsed = session.isDraining || session.pods.size > 0 || session.flows > 0;
      if (isUsed && !this.#drained.has(session)) this.#drain(session);
    }
    for (const session of this.#followed()) session.keepPods((cookie) => this.#byCookie.has(cookie));
  }

  #drain(session: CarrierSession): void {
    this.#drained.add(session);
    session.recheck(everything);
    session.drain();
    const { name, hello, flows } = session;
    this.#parts.log.info(
      { carrier: name, pid: hello.pid, flows },
      'a carrier is replaced by the TypeScript relay: it takes no new connection, and policies still cut its open ones',
    );
  }

  #followed(): CarrierSession[] {
    return this.#carriers.sessions.filter((session) => this.#drained.has(session));
  }

  tick(): void {
    for (const session of this.#carriers.sessions) session.tick();
  }

  connections(): Promise<object[]> {
    return this.#carriers.connections();
  }

  status(): readonly CarrierStatus[] {
    return this.#followed().map((session) => session.status());
  }

  /** Why the connections of a carrier are not under the policies; empty if all are. */
  get problem(): string {
    return this.#carriers.isAnyThere ? this.#carriers.problem : '';
  }
}
