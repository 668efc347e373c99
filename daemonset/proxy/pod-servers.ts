/**
 * The pods that are assigned to one worker: their listeners and tunnel servers, from the assignment until the last tunnel has ended. Sole
 * owner of both.
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

/** How long listeners stay open after the unassignment, for peers that open tunnels with an outdated view. */
const unassignGraceMs = 2_000;

export interface PodServersParts {
  readonly pinDir: string;
  readonly svids: Svids;
  /** Options of each tunnel server. `local` returns the current settings of the pod. */
  readonly tunnelServer: (local: () => LocalPod) => Omit<HboneServerOptions, 'svid'>;
  readonly onInbound: (local: LocalPod, socket: net.Socket) => void;
  readonly onOutbound: (local: LocalPod, socket: net.Socket) => void;
  /** Removes the pod's outbound tunnels from the pool. */
  readonly forgetTunnels: (source: string) => void;
}

interface AssignedPod {
  local: LocalPod;
  servers: ReadonlyMap<ListenerKind, net.Server>;
  /** Value of `#mapsOpened` when its listeners were put into the kernel's table. */
  steered: number;
  hbone: HboneServer | undefined;
}

export class PodServers {
  readonly #parts: PodServersParts;
  readonly #pods = new Map<WorkloadUid, AssignedPod>();
  /** Tunnel servers that sent GOAWAY in a hand-over. Their open tunnels continue. */
  readonly #retired = new Set<HboneServer>();
  /**
   * Serializes the calls for one pod: a pod that is unassigned while its listeners are being created would otherwise keep them for ever.
   */
  readonly #busy = new Map<WorkloadUid, Promise<void>>();
  /** Opened when the agent becomes active: before that, its maps may not exist. */
  #sockets: PodSockets | undefined;
  #mapsOpened = 0;
  #isDraining = false;

  constructor(parts: PodServersParts) {
    this.#parts = parts;
  }

  /** Error: WEFT_DATAPATH_CLOSED while this agent is not active. */
  get sockets(): PodSockets {
    if (!this.#sockets)
      throw new WeftError('WEFT_DATAPATH_CLOSED', 'another agent is active on this node', {
        retryable: true,
      });
    return this.#sockets;
  }

  /** Whether no tunnel of a retired server is open. */
  get isIdle(): boolean {
    return [...this.#retired].every((server) => server.isIdle);
  }

  /** Creates the pod's listeners, or updates its settings. Errors: WEFT_DRAINING, WEFT_LISTEN, WEFT_DATAPATH_CLOSED. */
  assign(local: LocalPod): Promise<void> {
    if (this.#isDraining) throw new WeftError('WEFT_DRAINING', 'this agent is draining');
    return this.#inOrder(local.pod.uid, () => this.#assign(local));
  }

  unassign(uid: WorkloadUid): Promise<void> {
    return this.#inOrder(uid, () => this.#unassign(uid));
  }

  /**
   * Updates the settings of a pod that is assigned to this worker. A pod in another network namespace is another pod, which is assigned
   * separately.
   */
  update(local: LocalPod): void {
    const pod = this.#pods.get(local.pod.uid);
    if (pod?.local.netns.cookie === local.netns.cookie) this.#resettle(pod, local);
  }

  /** Call with each new certificate. */
  onSvid(svid: Svid): void {
    for (const pod of this.#pods.values())
      if (pod.local.pod.identity === svid.id) this.#serveTunnels(pod, svid);
  }

  /** This agent is active from now on, maybe for a second time. */
  openMaps(): void {
    this.#sockets?.close();
    this.#sockets = new PodSockets(this.#parts.pinDir);
    this.#mapsOpened++;
    for (const pod of this.#pods.values()) {
      if (!pod.hbone || !this.#retired.has(pod.hbone)) continue;
      // This server has sent GOAWAY, so new peers get a new server.
      pod.hbone = undefined;
      const svid = this.#parts.svids.get(pod.local.pod.identity);
      if (svid) this.#serveTunnels(pod, svid);
    }
  }

  /**
   * New connections go to another agent's listeners. Connections in this agent's accept queues and open tunnels are relayed here until they
   * end.
   */
  retire(): void {
    for (const pod of this.#pods.values()) {
      if (!pod.hbone) continue;
      this.#retired.add(pod.hbone);
      void pod.hbone.drain();
    }
  }

  /** Closes the listeners. No pod can be assigned any more. */
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
    // The certificate of the former identity must not be used for this pod any more. Without a certificate of the new identity, connections
    // are closed.
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
      // Another agent owned the pod meanwhile and put its own listeners into the table.
      if (present.steered !== this.#mapsOpened) {
        for (const [kind, server] of present.servers) this.sockets.steer(local.netns, kind, server);
        present.steered = this.#mapsOpened;
      }
      return this.#resettle(present, local);
    }
    if (present) {
      // The pod has left the network namespace of its listeners, and the new pod must not use tunnels that the former one opened.
      this.#unassign(uid);
      forgetTunnels(tunnelSource(present.local));
    }
    const pod: AssignedPod = { local, servers: new Map(), steered: this.#mapsOpened, hbone: undefined };
    const svid = svids.get(identity);
    if (svid) this.#serveTunnels(pod, svid);
    pod.servers = await this.sockets.listen(
      local.netns,
      new Map<ListenerKind, (socket: net.Socket) => void>([
        [
          'hbone',
          (socket) => {
            if (pod.hbone) pod.hbone.handle(socket);
            // HBONE's contract: without a local certificate the connection is closed.
            else socket.destroy();
          },
        ],
        ['inbound', (socket) => onInbound(pod.local, socket)],
        ['outbound', (socket) => onOutbound(pod.local, socket)],
      ]),
    );
    this.#pods.set(uid, pod);
    // A certificate that arrived while the listeners were being created found no pod to serve.
    const late = svids.get(identity);
    if (late && !pod.hbone) this.#serveTunnels(pod, late);
  }

  #unassign(uid: WorkloadUid): void {
    const pod = this.#pods.get(uid);
    if (!pod) return;
    this.#pods.delete(uid);
    setTimeout(() => {
      for (const server of pod.servers.values()) server.close();
      // Open connections continue until they end: leaving the mesh closes none.
      void pod.hbone?.drain();
      this.#parts.forgetTunnels(tunnelSource(pod.local));
      this.#sockets?.forget(pod.local.netns);
    }, unassignGraceMs).unref();
  }

  #inOrder(uid: WorkloadUid, work: () => Promise<void> | void): Promise<void> {
    const done = (this.#busy.get(uid) ?? Promise.resolve()).then(work);
    // The next call waits until this one has ended, successful or not.
    const settled = done
      .catch(() => undefined)
      .finally(() => {
        if (this.#busy.get(uid) === settled) this.#busy.delete(uid);
      });
    this.#busy.set(uid, settled);
    return done;
  }
}
