/**
 * A worker: the data path of the pods that it owns, with their listeners, tunnels and certificates. It decides by its own
 * copy of the node's view; the main thread tells it what changes.
 */
import type net from 'node:net';
import { parentPort, workerData } from 'node:worker_threads';
import { errorText, WeftError } from '../src/base/errors.js';
import { TunnelPool } from '../src/hbone/pool.js';
import { defaultLimits } from '../src/hbone/limits.js';
import { HboneServer } from '../src/hbone/server.js';
import type { SpiffeId, TrustDomain } from '../src/model/identity.js';
import type { WorkloadUid } from '../src/model/workload.js';
import { ChangeTracker, touchedWorkloads } from '../src/state/change.js';
import { MeshState } from '../src/state/store.js';
import type { MetricEvent } from '../src/telemetry/metrics.js';
import type { Svid } from '../src/tls/svid.js';
import type { FromWorker, LocalPod, ToWorker, WorkerSettings } from './worker-ipc.js';
import type { ListenerKind } from './maps/listeners.js';
import { PodSockets } from './pod/sockets.js';
import { Connections } from './proxy/connections.js';
import type { ProxyContext } from './proxy/context.js';
import { handlePlain, handleTunnel, recordRefused } from './proxy/inbound.js';
import { PeerSessions } from './proxy/sessions.js';
import { handleOutbound, tunnelSource } from './proxy/outbound.js';

const tellAfterMs = 20;
const toldMax = 256;
const emptyLookMs = 50;
const certificateWaitMsMax = 5_000;
// Tunnels that peers opened on their last view of this pod still find a listener for a moment.
const disownGraceMs = 2_000;

if (!parentPort) throw new Error('worker.ts runs as a worker thread');
const port = parentPort;
const settings = workerData as WorkerSettings;
const send = (message: FromWorker): void => port.postMessage(message);

interface Owned {
  local: LocalPod;
  readonly servers: Map<ListenerKind, net.Server>;
  /** The maps that its listeners were put into (`mapsOpened`). */
  steered: number;
  hbone: HboneServer | undefined;
}

const view = new MeshState();
const changes = new ChangeTracker(view);
const pool = new TunnelPool();
const connections = new Connections(
  settings.connectionsMax,
  Math.max(1, Math.floor(settings.connectionsMax / 2)),
);
/** To all pods of this worker. */
const sessions = new PeerSessions(defaultLimits.sessionsMax, () =>
  send({ type: 'limit', limit: 'tunnel-connections' }),
);
/** Opened when the agent begins to write: before that its maps may not exist. */
let opened: PodSockets | undefined;
let mapsOpened = 0;
const sockets = (): PodSockets => {
  if (!opened) throw new WeftError('WEFT_DATAPATH_CLOSED', 'another agent writes', { retryable: true });
  return opened;
};
/** Tunnel servers that sent GOAWAY in a hand-over; their open tunnels go on. */
const past = new Set<HboneServer>();
const owned = new Map<WorkloadUid, Owned>();
const svids = new Map<SpiffeId, Svid>();
const waiting = new Map<SpiffeId, Set<(svid: Svid | undefined) => void>>();
const localPods = new Map<WorkloadUid, LocalPod>();
let draining = false;

// One message for many: a message per connection and end would cost more than a short connection itself.
let told: MetricEvent[] = [];
function tell(event: MetricEvent): void {
  if (told.length === 0) setTimeout(flush, tellAfterMs);
  told.push(event);
  if (told.length >= toldMax) flush();
}
function flush(): void {
  if (told.length === 0) return;
  send({ type: 'connections', events: told });
  told = [];
}

const context: ProxyContext = {
  node: settings.node,
  view,
  get sockets() {
    return sockets();
  },
  pool,
  connections,
  localPod: (uid) => localPods.get(uid),
  svid: (id) => {
    const present = svids.get(id);
    if (present && present.notAfterMs > Date.now()) return Promise.resolve(present);
    return new Promise((resolve) => {
      const list = waiting.get(id) ?? new Set();
      waiting.set(id, list);
      const timer = setTimeout(() => {
        list.delete(done);
        resolve(undefined);
      }, certificateWaitMsMax);
      const done = (svid: Svid | undefined): void => {
        clearTimeout(timer);
        list.delete(done);
        resolve(svid);
      };
      list.add(done);
    });
  },
  requestVerdict: (source, destination, port) => send({ type: 'verdict-request', source, destination, port }),
  limitReached: (limit) => send({ type: 'limit', limit }),
  opened: (record) => tell({ kind: 'opened', record }),
  closed: (record) => tell({ kind: 'closed', record }),
};

/** A handler that fails is a bug: it is logged, and costs its own connection alone. */
function guard(work: Promise<void>, socket?: net.Socket): void {
  work.catch((error: unknown) => {
    socket?.destroy();
    send({
      type: 'log',
      level: 'error',
      fields: { error: errorText(error) },
      text: 'connection handler failed',
    });
  });
}

function serveTunnels(pod: Owned, svid: Svid): void {
  if (pod.hbone) {
    pod.hbone.update(svid);
    return;
  }
  pod.hbone = new HboneServer({
    svid,
    trustDomain: settings.trustDomain as TrustDomain,
    onTunnel: (tunnel) => guard(handleTunnel(context, pod.local, tunnel)),
    admit: sessions.admit,
    onHandshakesFull: () => send({ type: 'limit', limit: 'handshakes' }),
    onRefused: (refused) => recordRefused(context, pod.local, refused),
  });
}

/** Other settings of a pod that is owned. */
function resettle(pod: Owned, local: LocalPod): void {
  const isAnother = pod.local.pod.identity !== local.pod.identity;
  pod.local = local;
  if (!isAnother) return;
  // The certificate of the former identity is the pod's no longer: without one of the new there is none, and connections are closed.
  void pod.hbone?.drain();
  const svid = svids.get(local.pod.identity);
  if (!svid) pod.hbone = undefined;
  else serveTunnels(pod, svid);
}

async function own(local: LocalPod): Promise<void> {
  const { uid, identity } = local.pod;
  const present = owned.get(uid);
  if (present && present.local.netns.cookie === local.netns.cookie) {
    // Another agent had the pod meanwhile, and put its own listeners there.
    if (present.steered !== mapsOpened) {
      for (const [kind, server] of present.servers) sockets().steer(local.netns, kind, server);
      present.steered = mapsOpened;
    }
    return resettle(present, local);
  }
  if (present) {
    // Listeners in a namespace that the pod has left; and what the former pod has opened is not its successor's.
    disown(uid);
    pool.forget(tunnelSource(present.local));
  }
  const pod: Owned = { local, servers: new Map(), steered: mapsOpened, hbone: undefined };
  const svid = svids.get(identity);
  if (svid) serveTunnels(pod, svid);
  try {
    const listen = async (kind: ListenerKind, onConnection: (socket: net.Socket) => void): Promise<void> =>
      void pod.servers.set(kind, await sockets().listen(local.netns, kind, onConnection));
    await listen('hbone', (socket) => acceptTunnel(pod, socket));
    await listen('inbound', (socket) => guard(handlePlain(context, pod.local, socket), socket));
    await listen('outbound', (socket) => guard(handleOutbound(context, pod.local, socket), socket));
  } catch (error) {
    for (const server of pod.servers.values()) server.close();
    throw error;
  }
  owned.set(uid, pod);
  // A certificate that came while the listeners were being made found no pod to serve.
  const late = svids.get(identity);
  if (late && !pod.hbone) serveTunnels(pod, late);
}

/** One after the other for each pod: a pod that is disowned while its listeners are being made would keep them for ever. */
const busy = new Map<WorkloadUid, Promise<void>>();
function inOrder(uid: WorkloadUid, work: () => Promise<void> | void): Promise<void> {
  const done = (busy.get(uid) ?? Promise.resolve()).then(work);
  // Whoever follows waits for the end, whatever it was.
  const settled = done
    .catch(() => undefined)
    .finally(() => {
      if (busy.get(uid) === settled) busy.delete(uid);
    });
  busy.set(uid, settled);
  return done;
}

function acceptTunnel(pod: Owned, socket: net.Socket): void {
  if (pod.hbone) pod.hbone.handle(socket);
  // The contract: no local certificate yet, connection closed.
  else socket.destroy();
}

function disown(uid: WorkloadUid): void {
  const pod = owned.get(uid);
  if (!pod) return;
  owned.delete(uid);
  setTimeout(() => {
    for (const server of pod.servers.values()) server.close();
    // Live connections go on to their own end: leaving the mesh cuts nothing.
    void pod.hbone?.drain();
    pool.forget(tunnelSource(pod.local));
  }, disownGraceMs).unref();
}

/** New connections go to another agent's listeners. What waits in our accept queues, or comes by an open tunnel, is carried here to its end. */
function retire(): void {
  for (const pod of owned.values()) {
    if (!pod.hbone) continue;
    past.add(pod.hbone);
    void pod.hbone.drain();
  }
}

/** This agent writes from now on, maybe again. */
function openMaps(): void {
  opened?.close();
  opened = new PodSockets(settings.pinDir);
  mapsOpened++;
  for (const pod of owned.values()) {
    if (!pod.hbone || !past.has(pod.hbone)) continue;
    // This server has sent GOAWAY: peers that come now get a new one.
    pod.hbone = undefined;
    const svid = svids.get(pod.local.pod.identity);
    if (svid) serveTunnels(pod, svid);
  }
}

async function emptied(timeoutMs: number): Promise<void> {
  const untilMs = performance.now() + timeoutMs;
  const isEmpty = (): boolean => connections.size === 0 && [...past].every((server) => server.isIdle);
  while (!isEmpty() && performance.now() < untilMs)
    await new Promise((resolve) => setTimeout(resolve, emptyLookMs));
}

async function drain(timeoutMs: number): Promise<number> {
  draining = true;
  for (const pod of owned.values()) for (const server of pod.servers.values()) server.close();
  pool.drain();
  for (const pod of owned.values()) void pod.hbone?.drain();
  const cut = await connections.drain(timeoutMs);
  pool.close();
  for (const pod of owned.values()) pod.hbone?.close();
  for (const server of past) server.close();
  // Streams tell of their end in turns of their own.
  await new Promise((resolve) => setTimeout(resolve, tellAfterMs));
  flush();
  return cut;
}

async function handle(message: ToWorker): Promise<unknown> {
  switch (message.type) {
    case 'mesh': {
      const change = changes.of(message.update);
      view.apply(message.update);
      const cut = connections.recheck(touchedWorkloads(view, change));
      if (cut > 0)
        send({ type: 'log', level: 'info', fields: { cut }, text: 'connections cut that are now forbidden' });
      return undefined;
    }
    case 'pods':
      for (const uid of message.removed) localPods.delete(uid);
      for (const local of message.pods) {
        localPods.set(local.pod.uid, local);
        const pod = owned.get(local.pod.uid);
        // Of another namespace it is another pod, which is owned by a message of its own.
        if (pod?.local.netns.cookie === local.netns.cookie) resettle(pod, local);
      }
      return undefined;
    case 'identities':
      for (const id of [...svids.keys()]) if (!message.wanted.has(id)) svids.delete(id);
      for (const [id, list] of waiting) if (list.size === 0) waiting.delete(id);
      return undefined;
    case 'svid': {
      const { svid } = message;
      svids.set(svid.id, svid);
      pool.update(svid);
      for (const pod of owned.values()) if (pod.local.pod.identity === svid.id) serveTunnels(pod, svid);
      for (const done of [...(waiting.get(svid.id) ?? [])]) done(svid);
      return undefined;
    }
    case 'maps':
      return openMaps();
    case 'retire':
      return retire();
    case 'when-empty':
      return emptied(message.timeoutMs);
    case 'assign':
      if (draining) throw new WeftError('WEFT_DRAINING', 'this agent is draining');
      return inOrder(message.pod.pod.uid, () => own(message.pod));
    case 'unassign':
      return inOrder(message.uid, () => disown(message.uid));
    case 'connections':
      return connections.describe();
    case 'settle':
      return connections.settle(message.timeoutMs);
    case 'drain':
      return drain(message.timeoutMs);
  }
}

port.on('message', (message: ToWorker) => {
  handle(message).then(
    (result) => {
      if ('call' in message) send({ type: 'done', call: message.call, result });
    },
    (error: unknown) => {
      const code = error instanceof WeftError ? error.code : 'WEFT_INTERNAL';
      if ('call' in message) send({ type: 'failed', call: message.call, code, message: errorText(error) });
      else
        send({
          type: 'log',
          level: 'error',
          fields: { error: errorText(error) },
          text: `${message.type} failed`,
        });
    },
  );
});
