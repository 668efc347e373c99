/**
 * A worker thread: relays the connections of the pods that are assigned to it. It decides with its own copy of the node's view; the main thread
 * sends the changes (worker-ipc.ts).
 */
import type net from 'node:net';
import { parentPort, workerData } from 'node:worker_threads';
import { errorText, WeftError } from '../src/base/errors.js';
import { sleep } from '../src/base/wait.js';
import { TunnelPool } from '../src/hbone/pool.js';
import { defaultLimits } from '../src/hbone/limits.js';
import type { TrustDomain } from '../src/model/identity.js';
import type { WorkloadUid } from '../src/model/workload.js';
import { ChangeTracker, touchedWorkloads } from '../src/state/change.js';
import { MeshState, type MeshUpdate } from '../src/state/store.js';
import type { Opening } from '../src/telemetry/connection-record.js';
import type { HttpObservation } from '../src/telemetry/http-observation.js';
import type { MetricEvent } from '../src/telemetry/metrics.js';
import { RequestSums } from '../src/telemetry/request-sums.js';
import type { Svid } from '../src/tls/svid.js';
import { Connections } from './proxy/connections.js';
import type { ProxyContext } from './proxy/context.js';
import { handlePlain, handleTunnel, recordRefused } from './proxy/inbound.js';
import { handleOutbound } from './proxy/outbound.js';
import { PodServers } from './proxy/pod-servers.js';
import { PeerSessions } from './proxy/sessions.js';
import { Svids } from './proxy/svids.js';
import type { FromWorker, LocalPod, ToWorker, WorkerSettings } from './worker-ipc.js';

const eventsDelayMs = 20;
const eventsMax = 256;
const emptyPollMs = 50;

if (!parentPort) throw new Error('worker.ts runs as a worker thread');
const port = parentPort;
const settings = workerData as WorkerSettings;
const send = (message: FromWorker): void => port.postMessage(message);

const view = new MeshState();
const changes = new ChangeTracker(view);
const pool = new TunnelPool();
const connections = new Connections(
  settings.connectionsMax,
  Math.max(1, Math.floor(settings.connectionsMax / 2)),
);
/** Connections of peers to all pods of this worker. */
const sessions = new PeerSessions(defaultLimits.sessionsMax, () =>
  send({ type: 'limit', limit: 'tunnel-connections' }),
);
const svids = new Svids();
const localPods = new Map<WorkloadUid, LocalPod>();

// Events are sent in batches: a message per connection would cost more than a short connection itself.
let events: MetricEvent[] = [];
const requests = new RequestSums();
let flushing: NodeJS.Timeout | undefined;
function queue(event: MetricEvent): void {
  events.push(event);
  flushSoon(events.length);
}
function onRequest(record: Opening, request: HttpObservation): void {
  requests.add(record, request);
  flushSoon(requests.size);
}
function flushSoon(queued: number): void {
  if (queued >= eventsMax) flush();
  else flushing ??= setTimeout(flush, eventsDelayMs);
}
function flush(): void {
  clearTimeout(flushing);
  flushing = undefined;
  if (requests.size > 0) send({ type: 'requests', sums: requests.take() });
  if (events.length === 0) return;
  send({ type: 'connections', events });
  events = [];
}

const logError = (error: unknown, text: string): void =>
  send({ type: 'log', level: 'error', fields: { error: errorText(error) }, text });

/** A handler that throws is a bug. It is logged, and only its own connection is closed. */
function guard(work: Promise<void>, socket?: net.Socket): void {
  work.catch((error: unknown) => {
    socket?.destroy();
    logError(error, 'connection handler failed');
  });
}

const servers: PodServers = new PodServers({
  pinDir: settings.pinDir,
  svids,
  tunnelServer: (local) => ({
    trustDomain: settings.trustDomain as TrustDomain,
    onTunnel: (tunnel) => guard(handleTunnel(context, local(), tunnel)),
    admit: sessions.admit,
    onHandshakesFull: () => send({ type: 'limit', limit: 'handshakes' }),
    onRefused: (refused) => recordRefused(context, local(), refused),
  }),
  onInbound: (local, socket) => guard(handlePlain(context, local, socket), socket),
  onOutbound: (local, socket) => guard(handleOutbound(context, local, socket), socket),
  forgetTunnels: (source) => pool.forget(source),
});

const context: ProxyContext = {
  node: settings.node,
  view,
  get sockets() {
    return servers.sockets;
  },
  pool,
  connections,
  localPod: (uid) => localPods.get(uid),
  svid: (id) => svids.valid(id),
  requestVerdict: (source, destination, port) => send({ type: 'verdict-request', source, destination, port }),
  limitReached: (limit) => send({ type: 'limit', limit }),
  opened: (record) => queue({ kind: 'opened', record }),
  closed: (record) => queue({ kind: 'closed', record }),
  observed: onRequest,
};

function onMesh(update: MeshUpdate): void {
  const change = changes.of(update);
  view.apply(update);
  const cut = connections.recheck(touchedWorkloads(view, change));
  if (cut > 0)
    send({ type: 'log', level: 'info', fields: { cut }, text: 'connections closed that policy now forbids' });
}

function onPods(pods: readonly LocalPod[], removed: readonly WorkloadUid[]): void {
  for (const uid of removed) localPods.delete(uid);
  for (const local of pods) {
    localPods.set(local.pod.uid, local);
    servers.update(local);
  }
}

function onSvid(svid: Svid): void {
  svids.update(svid);
  pool.update(svid);
  servers.onSvid(svid);
  svids.announce(svid);
}

async function whenEmpty(timeoutMs: number): Promise<void> {
  const untilMs = performance.now() + timeoutMs;
  while (!(connections.size === 0 && servers.isIdle) && performance.now() < untilMs) await sleep(emptyPollMs);
}

async function drain(timeoutMs: number): Promise<number> {
  servers.closeListeners();
  pool.drain();
  servers.drainTunnels();
  const cut = await connections.drain(timeoutMs);
  pool.close();
  servers.closeTunnels();
  // Streams report their end in later turns of the event loop.
  await sleep(eventsDelayMs);
  flush();
  return cut;
}

async function handle(message: ToWorker): Promise<unknown> {
  switch (message.type) {
    case 'mesh':
      return onMesh(message.update);
    case 'pods':
      return onPods(message.pods, message.removed);
    case 'identities':
      return svids.keep(message.wanted);
    case 'svid':
      return onSvid(message.svid);
    case 'maps':
      return servers.openMaps();
    case 'retire':
      return servers.retire();
    case 'when-empty':
      return whenEmpty(message.timeoutMs);
    case 'assign':
      return servers.assign(message.pod);
    case 'unassign':
      return servers.unassign(message.uid);
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
      else logError(error, `${message.type} failed`);
    },
  );
});
