/**
 * The pods that are assigned to one worker: their listeners and tunnel servers, from the moment a pod is assigned until its last tunnel
 * has ended. Sole owner of both.
 */
import type net from 'node:net';
import { WeftError } from '../../src/base/errors.js';
import { HboneServer, type HboneServerOptions } from '../../src/hbone/server.js';
import type { WorkloadUid } from '../../src/model/workload.js';
import type { Svid } from '../../src/tls/svid.js';
import type { ListenerKind } from '../maps/listeners.js';
import { PodSockets } from '../pod/sockets.js';
import type { LocalPod } from '../worker-ipc.js';
import { tunnelSource } from './outbound.js';
import type { Svids } from './svids.js';

/** Tunnels that peers opened on their last view of this pod still find a listener for a moment. */
const unassignGraceMs = 2_000;

export interface PodServersParts {
  readonly pinDir: string;
  readonly svids: Svids;
  /** Of each tunnel server; `local` is the pod as it is then. */
  readonly tunnelServer: (local: () => LocalPod) => Omit<HboneServerOptions, 'svid'>;
  readonly onInbound: (local: LocalPod, socket: net.Socket) => void;
  readonly onOutbound: (local: LocalPod, socket: net.Socket) => void;
  /** Tunnels that the pod opened are its own no longer. */
  readonly forgetTunnels: (source: string) => void;
}

interface AssignedPod {
  local: LocalPod;
  readonly servers: Map<ListenerKind, net.Server>;
  /** The maps that its listeners were put into (`#mapsOpened`). */
  steered: number;
  hbone: HboneServer | undefined;
}

export class PodServers {
  readonly #parts: PodServersParts;
  readonly #pods = new Map<WorkloadUid, AssignedPod>();
  /** Tunnel servers that sent GOAWAY in a hand-over; their open tunnels go on. */
  readonly #retired = new Set<HboneServer>();
  /** One after the other for each pod: a pod that is unassigned while its listeners are being made would keep them for ever. */
  readonly #busy = new Map<WorkloadUid, Promise<void>>();
  /** Opened when the agent begins to write: before that its maps may not exist. */
  #sockets: PodSockets | undefined;
  #mapsOpened = 0;
  #isDraining = false;

  constructor(parts: PodServersParts) {
    this.#parts = parts;
  }

  /** Error: WEFT_DATAPATH_CLOSED. */
  get sockets(): PodSockets {
    if (!this.#sockets)
      throw new WeftError('WEFT_DATAPATH_CLOSED', 'another agent writes', { retryable: true });
    return this.#sockets;
  }

  /** No tunnel of a retired server is open. */
  get isIdle(): boolean {
    return [...this.#retired].every((server) => server.isIdle);
  }

  /** Errors: WEFT_DRAINING, WEFT_LISTEN, WEFT_DATAPATH_CLOSED. */
  assign(local: LocalPod): Promise<void> {
    if (this.#isDraining) throw new WeftError('WEFT_DRAINING', 'this agent is draining');
    return this.#inOrder(local.pod.uid, () => this.#assign(local));
  }

  unassign(uid: WorkloadUid): Promise<void> {
    return this.#inOrder(uid, () => this.#unassign(uid));
  }

  /** Other settings of a pod, where it is assigned to this worker. Of another namespace it is another pod, which is assigned by itself. */
  update(local: LocalPod): void {
    const pod = this.#pods.get(local.pod.uid);
    if (pod?.local.netns.cookie === local.netns.cookie) this.#resettle(pod, local);
  }

  /** A certificate is new. */
  onSvid(svid: Svid): void {
    for (const pod of this.#pods.values())
      if (pod.local.pod.identity === svid.id) this.#serveTunnels(pod, svid);
  }

  /** This agent writes from now on, maybe again. */
  openMaps(): void {
    this.#sockets?.close();
    this.#sockets = new PodSockets(this.#parts.pinDir);
    this.#mapsOpened++;
    for (const pod of this.#pods.values()) {
      if (!pod.hbone || !this.#retired.has(pod.hbone)) continue;
      // This server has sent GOAWAY: peers that come now get a new one.
      pod.hbone = undefined;
      const svid = this.#parts.svids.get(pod.local.pod.identity);
      if (svid) this.#serveTunnels(pod, svid);
    }
  }

  /** New connections go to another agent's listeners. What waits in our accept queues, or comes by an open tunnel, is relayed here to its end. */
  retire(): void {
    for (const pod of this.#pods.values()) {
      if (!pod.hbone) continue;
      this.#retired.add(pod.hbone);
      void pod.hbone.drain();
    }
  }

  /** Listeners close; nothing is assigned any more. */
  closeListeners(): void {
    this.#isDraining = true;
    for (const pod of this.#pods.values()) for (const server of pod.servers.values()) server.close();
  }

  drainTunnels(): void {
    for (const pod of this.#pods.values()) void pod.hbone?.drain();
  }

  closeTunnels(): void {
    for (const pod of this.#pods.values()) pod.hbone?.close();
    for (const server of this.#retired) server.close();
  }

  #serveTunnels(pod: AssignedPod, svid: Svid): void {
    if (pod.hbone) {
      pod.hbone.update(svid);
      return;
    }
    pod.hbone = new HboneServer({ svid, ...this.#parts.tunnelServer(() => pod.local) });
  }

  #resettle(pod: AssignedPod, local: LocalPod): void {
    const isAnother = pod.local.pod.identity !== local.pod.identity;
    pod.local = local;
    if (!isAnother) return;
    // The certificate of the former identity is the pod's no longer: without one of the new there is none, and connections are closed.
    void pod.hbone?.drain();
    const svid = this.#parts.svids.get(local.pod.identity);
    if (!svid) pod.hbone = undefined;
    else this.#serveTunnels(pod, svid);
  }

  async #assign(local: LocalPod): Promise<void> {
    const { svids, onInbound, onOutbound, forgetTunnels } = this.#parts;
    const { uid, identity } = local.pod;
    const present = this.#pods.get(uid);
    if (present && present.local.netns.cookie === local.netns.cookie) {
      // Another agent had the pod meanwhile, and put its own listeners there.
      if (present.steered !== this.#mapsOpened) {
        for (const [kind, server] of present.servers) this.sockets.steer(local.netns, kind, server);
        present.steered = this.#mapsOpened;
      }
      return this.#resettle(present, local);
    }
    if (present) {
      // Listeners in a namespace that the pod has left; and what the former pod has opened is not its successor's.
      this.#unassign(uid);
      forgetTunnels(tunnelSource(present.local));
    }
    const pod: AssignedPod = { local, servers: new Map(), steered: this.#mapsOpened, hbone: undefined };
    const svid = svids.get(identity);
    if (svid) this.#serveTunnels(pod, svid);
    try {
      const listen = async (kind: ListenerKind, onConnection: (socket: net.Socket) => void): Promise<void> =>
        void pod.servers.set(kind, await this.sockets.listen(local.netns, kind, onConnection));
      await listen('hbone', (socket) => {
        if (pod.hbone) pod.hbone.handle(socket);
        // The contract: no local certificate yet, connection closed.
        else socket.destroy();
      });
      await listen('inbound', (socket) => onInbound(pod.local, socket));
      await listen('outbound', (socket) => onOutbound(pod.local, socket));
    } catch (error) {
      for (const server of pod.servers.values()) server.close();
      throw error;
    }
    this.#pods.set(uid, pod);
    // A certificate that came while the listeners were being made found no pod to serve.
    const late = svids.get(identity);
    if (late && !pod.hbone) this.#serveTunnels(pod, late);
  }

  #unassign(uid: WorkloadUid): void {
    const pod = this.#pods.get(uid);
    if (!pod) return;
    this.#pods.delete(uid);
    setTimeout(() => {
      for (const server of pod.servers.values()) server.close();
      // Live connections go on to their own end: leaving the mesh cuts nothing.
      void pod.hbone?.drain();
      this.#parts.forgetTunnels(tunnelSource(pod.local));
    }, unassignGraceMs).unref();
  }

  #inOrder(uid: WorkloadUid, work: () => Promise<void> | void): Promise<void> {
    const done = (this.#busy.get(uid) ?? Promise.resolve()).then(work);
    // Whoever follows waits for the end, whatever it was.
    const settled = done
      .catch(() => undefined)
      .finally(() => {
        if (this.#busy.get(uid) === settled) this.#busy.delete(uid);
      });
    this.#busy.set(uid, settled);
    return done;
  }
}
