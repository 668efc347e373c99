/**
 * Relaying by a carrier. The carrier owns the connections, which continue when this process ends; this process decides about them. A pod
 * has its listeners in one carrier. When a newer carrier appears, all pods move there, and the former one keeps its connections.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { errorText, WeftError } from '../../src/base/errors.js';
import type { SpiffeId } from '../../src/model/identity.js';
import type { RelayStatus } from '../../src/model/relay.js';
import type { WorkloadUid } from '../../src/model/workload.js';
import { touchedWorkloads, type MeshChange } from '../../src/state/change.js';
import type { MeshState, MeshUpdate } from '../../src/state/store.js';
import type { MetricEvent } from '../../src/telemetry/metrics.js';
import type { NodeRelay } from '../node-relay.js';
import { CarrierSockets } from '../pod/carrier-sockets.js';
import type { LocalPod } from '../worker-ipc.js';
import type { CarrierKeys } from './carrier-keys.js';
import { Carriers } from './carriers.js';
import { Listener, type Pod } from './gen/carrier.js';
import { encodeIp } from './protocol.js';
import type { CarrierSession, SessionParts } from './session.js';

/** In the order of `listenerKinds` (pod/carrier-sockets.ts). */
const listeners = [Listener.LISTENER_OUTBOUND, Listener.LISTENER_INBOUND, Listener.LISTENER_HBONE];
/** After this agent became the owner of the node, pods wait for a carrier to respond. */
const carrierMsMax = 3_000;
/** A newer carrier takes the pods once it has their certificates, at the latest after this. */
const certificatesMsMax = 15_000;
/** After this agent became the owner of the node, every pod that can be enrolled is. */
const enrolledMsMax = 15_000;
/** Ticks between two checks that every pod has its listeners. */
const checkTicks = 5;
const pollMs = 50;

export interface CarrierRelayParts {
  readonly dir: string;
  readonly build: string;
  readonly node: string;
  readonly trustDomain: string;
  readonly pinDir: string;
  /** A file that all agents of this node share: the maps that the carrier's listeners were entered in. */
  readonly mapsFile: string;
  readonly view: MeshState;
  readonly keys: CarrierKeys;
  /** Requests all certificates again. */
  readonly refreshCertificates: () => void;
  readonly record: (event: MetricEvent) => void;
  readonly observed: SessionParts['observed'];
  readonly template: SessionParts['template'];
  readonly afterRecords: SessionParts['afterRecords'];
  readonly limitReached: (limit: string, times: number) => void;
  readonly onVerdictRequest: SessionParts['requestVerdict'];
  /** These pods have no listeners until the caller assigns them again. */
  readonly onLost: (pods: readonly WorkloadUid[]) => void;
  readonly log: SessionParts['log'];
}

export class CarrierRelay implements NodeRelay {
  readonly #parts: CarrierRelayParts;
  readonly #carriers: Carriers;
  #sockets: CarrierSockets | undefined;
  /** The carrier that has the pods' listeners. */
  #current: CarrierSession | undefined;
  readonly #assigned = new Map<WorkloadUid, LocalPod>();
  readonly #byCookie = new Map<bigint, LocalPod>();
  #enrolled: ReadonlyMap<WorkloadUid, LocalPod> = new Map();
  #identities: ReadonlySet<SpiffeId> | undefined;
  #isActive = false;
  #activeSinceMs = 0;
  #ticks = 0;

  constructor(parts: CarrierRelayParts) {
    this.#parts = parts;
    const { node, view, log } = parts;
    this.#carriers = new Carriers({
      dir: parts.dir,
      build: parts.build,
      session: {
        node,
        view,
        localPod: (uid) => this.#enrolled.get(uid),
        podOf: (cookie) => this.#byCookie.get(cookie),
        requestVerdict: parts.onVerdictRequest,
        rememberFailure: ({ netns }, to) => {
          // Another agent writes the maps once this one has handed over.
          if (this.#isActive) this.#sockets?.rememberFailure(netns, to);
        },
        limitReached: parts.limitReached,
        record: parts.record,
        observed: parts.observed,
        template: parts.template,
        afterRecords: parts.afterRecords,
        onKeyMade: (made) => parts.keys.onKeyMade(made),
        log,
      },
      onSession: (session) => this.#onSession(session),
      onEnded: (session, why) => this.#onEnded(session, why),
      log,
    });
  }

  openMaps(): void {
    this.#sockets?.close();
    this.#sockets = new CarrierSockets(this.#parts.pinDir);
    this.#isActive = true;
    this.#activeSinceMs = performance.now();
    for (const session of this.#carriers.sessions) {
      this.#adoptListeners(session);
      this.#sendMaps(session);
    }
    this.#carriers.start();
  }

  release(): void {
    this.#isActive = false;
    this.#carriers.stop();
  }

  retire(): void {
    this.#carriers.close();
    this.#current = undefined;
    this.#parts.keys.use(undefined);
    this.#assigned.clear();
    this.#byCookie.clear();
  }

  onMesh(_update: MeshUpdate, change: MeshChange): void {
    const isTouched = touchedWorkloads(this.#parts.view, change);
    for (const session of this.#carriers.sessions) session.onChange(change, isTouched);
  }

  onIdentities(wanted: ReadonlySet<SpiffeId>): void {
    this.#identities = wanted;
    this.#parts.keys.keep(wanted);
    for (const session of this.#carriers.sessions) this.#sendIdentities(session);
  }

  sync(pods: ReadonlyMap<WorkloadUid, LocalPod>): void {
    const before = this.#enrolled;
    this.#enrolled = new Map(pods);
    const touched = new Set<WorkloadUid>();
    for (const local of pods.values()) if (before.get(local.pod.uid) !== local) touched.add(local.pod.uid);
    for (const uid of before.keys()) if (!pods.has(uid)) touched.add(uid);
    if (touched.size === 0) return;
    for (const uid of touched) {
      const local = pods.get(uid);
      if (local && this.#assigned.get(uid)?.netns.cookie === local.netns.cookie) this.#update(local);
    }
    const isTouched = (uid: WorkloadUid): boolean => touched.has(uid);
    for (const session of this.#carriers.sessions) {
      session.recheck({
        isTouched,
        isRelated: ({ context }) =>
          touched.has(context.pod) ||
          context.targets.some(({ workload }) => workload !== undefined && touched.has(workload)),
      });
    }
  }

  async assign(local: LocalPod): Promise<void> {
    const session = await this.#usable();
    const sockets = this.#sockets;
    if (!sockets || !this.#isActive)
      throw new WeftError('WEFT_DATAPATH_CLOSED', 'another agent is active on this node', {
        retryable: true,
      });
    const { uid } = local.pod;
    const former = this.#assigned.get(uid);
    if (former && former.netns.cookie !== local.netns.cookie) await this.unassign(uid);
    this.#assigned.set(uid, local);
    this.#byCookie.set(local.netns.cookie, local);
    this.#give(session, sockets, local);
    for (const each of this.#carriers.sessions) each.onPod(local.netns.cookie);
  }

  unassign(uid: WorkloadUid): Promise<void> {
    const local = this.#assigned.get(uid);
    if (local) {
      const { cookie } = local.netns;
      this.#assigned.delete(uid);
      if (this.#byCookie.get(cookie) === local) this.#byCookie.delete(cookie);
      for (const session of this.#carriers.sessions) session.endPod(cookie);
    }
    return Promise.resolve();
  }

  renewLease(ms: number): void {
    for (const session of this.#carriers.sessions) {
      session.renewLease(ms);
      session.keepPods((cookie) => this.#byCookie.has(cookie));
    }
  }

  connections(): Promise<object[]> {
    return this.#carriers.connections();
  }

  status(): RelayStatus {
    const carriers = this.#carriers.sessions.map((session) => session.status());
    return { relay: 'carrier', carriers, why: this.#current ? '' : this.#noCarrier().message };
  }

  /** The connections are the carrier's: none ends with this process. */
  settle(): Promise<void> {
    return Promise.resolve();
  }

  whenEmpty(): Promise<void> {
    return Promise.resolve();
  }

  drain(): Promise<number> {
    this.#isActive = false;
    this.#carriers.close();
    this.#sockets?.close();
    this.#sockets = undefined;
    return Promise.resolve(0);
  }

  tick(): void {
    for (const session of this.#carriers.sessions) session.tick();
    if (!this.#isActive || !this.#current || ++this.#ticks % checkTicks !== 0) return;
    // Another agent may have put listeners of its own there, which ended with it.
    const lost = [...this.#assigned.values()].filter(({ netns }) => !this.#hasListeners(netns));
    for (const { netns } of lost) this.#current.pods.delete(netns.cookie);
    if (lost.length > 0) return this.#parts.onLost(lost.map(({ pod }) => pod.uid));
    // A former agent may have ended before it sent `drain` to the older carrier.
    const isSettled = performance.now() - this.#activeSinceMs > enrolledMsMax;
    if (isSettled && this.#current === this.#carriers.newest) this.#drainOthers(this.#current);
  }

  #hasListeners(netns: LocalPod['netns']): boolean {
    try {
      return this.#sockets?.hasListeners(netns) ?? true;
    } catch {
      return true; // unknown: looked at again later
    }
  }

  #noCarrier(): WeftError {
    return new WeftError(
      'WEFT_NO_CARRIER',
      `no carrier relays connections on this node: ${this.#carriers.problem}`,
      { retryable: true },
    );
  }

  async #usable(): Promise<CarrierSession> {
    const untilMs = this.#activeSinceMs + carrierMsMax;
    while (!this.#current && performance.now() < untilMs)
      await new Promise((resolve) => setTimeout(resolve, pollMs));
    if (!this.#current) throw this.#noCarrier();
    return this.#current;
  }

  /**
   * The carrier's listeners are kept if the last agent entered them in these maps. Those in the maps of another build are replaced: the maps
   * may hold listeners that are about to close.
   */
  #adoptListeners(session: CarrierSession): void {
    const { mapsFile, pinDir, log } = this.#parts;
    const { pid, startedMs } = session.hello;
    const own = `${pid} ${startedMs} ${pinDir}`;
    try {
      if (readFileSync(mapsFile, 'utf8') === own) return;
    } catch {
      // Absent: no agent has used a carrier before.
    }
    for (const [cookie, pod] of session.pods) session.pods.set(cookie, { ...pod, listeners: [] });
    try {
      if (this.#isActive && !session.isDraining) writeFileSync(mapsFile, own);
    } catch (error) {
      log.warn({ error: errorText(error) }, 'the next agent creates all listeners again');
    }
  }

  #sendMaps(session: CarrierSession): void {
    if (!this.#sockets) return;
    const { pinDir, sockMap } = this.#sockets;
    session.send({ $case: 'maps', value: { generation: pinDir, sock: CarrierSockets.sockLayout } }, [
      sockMap,
    ]);
  }

  #sendIdentities(session: CarrierSession): void {
    if (!this.#identities) return;
    const { trustDomain } = this.#parts;
    session.send({ $case: 'identities', value: { wanted: [...this.#identities], trustDomain } });
  }

  #onSession(session: CarrierSession): void {
    const { log } = this.#parts;
    const { build, pid } = session.hello;
    log.info({ carrier: session.name, build, pid, flows: session.flows }, 'connected to a carrier');
    this.#adoptListeners(session);
    this.#sendMaps(session);
    this.#sendIdentities(session);
    if (this.#carriers.newest === session) void this.#use(session);
  }

  /** All pods get their listeners in this carrier. */
  async #use(session: CarrierSession): Promise<void> {
    const { keys, refreshCertificates } = this.#parts;
    const former = this.#current;
    keys.use(session);
    refreshCertificates();
    keys.forgetOthers();
    if (!former) {
      this.#current = session;
      // Pods that wait for a carrier are enrolled now.
      return this.#parts.onLost([...this.#assigned.keys()]);
    }
    // Connections of peers would be closed without a certificate.
    const untilMs = performance.now() + certificatesMsMax;
    const isCertified = (): boolean =>
      [...(this.#identities ?? [])].every((id) => keys.isInstalled(id, session));
    while (!isCertified() && performance.now() < untilMs)
      await new Promise((resolve) => setTimeout(resolve, pollMs));
    const sockets = this.#sockets;
    if (!this.#isActive || !sockets || this.#carriers.newest !== session) return;
    this.#current = session;
    const lost: WorkloadUid[] = [];
    for (const local of this.#assigned.values()) {
      try {
        this.#give(session, sockets, local);
      } catch {
        lost.push(local.pod.uid); // its next enrollment says why
      }
    }
    if (lost.length > 0) this.#parts.onLost(lost);
    this.#drainOthers(session);
  }

  #drainOthers(session: CarrierSession): void {
    for (const each of this.#carriers.sessions) {
      if (each === session || each.isDraining) continue;
      each.drain();
      this.#parts.log.info(
        { carrier: each.name, by: session.name, flows: each.flows },
        'a carrier is replaced by a newer one',
      );
    }
  }

  #onEnded(session: CarrierSession, why: string): void {
    const { log, keys, onLost } = this.#parts;
    const isExpected = session.isDraining || !this.#isActive;
    log[isExpected ? 'info' : 'error']({ carrier: session.name, why }, 'the connection to a carrier ended');
    if (session !== this.#current) {
      // It may have ended while it took the pods over.
      keys.use(this.#current);
      return;
    }
    this.#current = undefined;
    keys.use(undefined);
    if (!this.#isActive) return;
    const next = this.#carriers.newest;
    if (next) return void this.#use(next);
    // Until there is a carrier, the kernel refuses the pods' connections.
    onLost([...this.#assigned.keys()]);
  }

  #podOf({ pod, netns }: LocalPod, kinds: readonly Listener[]): Pod {
    return {
      cookie: Number(netns.cookie),
      uid: pod.uid,
      identity: pod.identity,
      addresses: pod.addresses.map(encodeIp),
      listeners: kinds,
    };
  }

  /** Gives the carrier the pod's listeners, or its settings if the carrier has the listeners. Error: WEFT_LISTEN. */
  #give(session: CarrierSession, sockets: CarrierSockets, local: LocalPod): void {
    const { netns } = local;
    const held = session.pods.get(netns.cookie);
    const isHeld = held !== undefined && listeners.every((kind) => held.listeners.includes(kind));
    if (isHeld && sockets.hasListeners(netns)) return this.#update(local);
    const made = sockets.listen(netns);
    const pod = this.#podOf(local, listeners);
    session.pods.set(netns.cookie, pod);
    session.send({ $case: 'pod', value: pod }, [made.netns, ...made.listeners], () =>
      CarrierSockets.close(made),
    );
  }

  /** The pod's settings may have changed. */
  #update(local: LocalPod): void {
    this.#assigned.set(local.pod.uid, local);
    this.#byCookie.set(local.netns.cookie, local);
    for (const session of this.#carriers.sessions)
      if (session.pods.has(local.netns.cookie)) session.send({ $case: 'pod', value: this.#podOf(local, []) });
  }
}
