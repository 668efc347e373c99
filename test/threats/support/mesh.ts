/**
 * A mesh in one process: nodes that accept tunnels and authorize by policy, waypoints, and peers that may send any headers, with real TLS
 * and HTTP/2 between them. Each pod has its own loopback address. Only network namespaces and eBPF programs are missing.
 */
import net from 'node:net';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TestContext } from 'node:test';
import type { LocalPod } from '../../../daemonset/worker-ipc.js';
import { Connections } from '../../../daemonset/proxy/connections.js';
import type { ProxyContext } from '../../../daemonset/proxy/context.js';
import { handleTunnel } from '../../../daemonset/proxy/inbound.js';
import { FairLimit } from '../../../src/base/fair-limit.js';
import { InjectedFaults } from '../../../src/waypoint/filters/injected-faults.js';
import { RateLimits } from '../../../src/waypoint/rate-limit/rate-limits.js';
import { TunnelPool } from '../../../src/hbone/pool.js';
import { HboneServer, type InboundTunnel } from '../../../src/hbone/server.js';
import { parseIp, type SocketAddress } from '../../../src/model/address.js';
import type { SpiffeId } from '../../../src/model/identity.js';
import type { Route } from '../../../src/model/route.js';
import type { Service } from '../../../src/model/service.js';
import type { ServiceKey, WaypointRef, Workload, WorkloadUid } from '../../../src/model/workload.js';
import { ChangeTracker, touchedWorkloads } from '../../../src/state/change.js';
import { MeshState, type MeshUpdate } from '../../../src/state/store.js';
import type { ConnectionRecord } from '../../../src/telemetry/connection-record.js';
import { ByDestination } from '../../../src/waypoint/worker/by-destination.js';
import { recheck } from '../../../src/waypoint/worker/recheck.js';
import type { ConnectionContext } from '../../../src/waypoint/worker/context.js';
import { connect, createDial } from '../../../src/waypoint/cluster/dial.js';
import { mirrorBlockBytes } from '../../../src/waypoint/upstream/mirror-buffer.js';
import { defaultLimits, type WaypointLimits } from '../../../src/waypoint/limits.js';
import type { RequestRecord } from '../../../src/waypoint/telemetry/request-record.js';
import { WaypointState } from '../../../src/waypoint/state/waypoint-state.js';
import { serveTunnel } from '../../../src/waypoint/listener/tunnel.js';
import { ClusterManager } from '../../../src/waypoint/cluster/cluster-manager.js';
import { svidOf } from '../../support/hbone.js';
import { domain, identity, pod as podOf, service, workload } from '../../support/mesh.js';
import { JwtTokens } from '../../../src/waypoint/jwt/jwt-tokens.js';
import { Shedding } from '../../../src/waypoint/shedding/shedding.js';

export { identity };
export const serviceKey = (namespace: string, name: string): ServiceKey =>
  `${namespace}/${name}.${namespace}.svc.cluster.local` as ServiceKey;
export const waypointRef = (namespace: string, name: string): WaypointRef => ({
  kind: 'hostname',
  service: serviceKey(namespace, name),
  hbonePort: 15008,
});
export const uidOf = (namespace: string, name: string): WorkloadUid =>
  `Kubernetes//Pod/${namespace}/${name}` as WorkloadUid;

/** A Service of a namespace, with port 80. */
export const serviceOf = (
  namespace: string,
  name: string,
  ip: string,
  targetPort: number,
  more: Partial<Service> = {},
): Service =>
  service(name, ip, targetPort, {
    key: serviceKey(namespace, name),
    namespace,
    hostname: `${name}.${namespace}.svc.cluster.local`,
    ...more,
  });

export interface TestPod {
  readonly workload: Workload;
  /** Port of the pod's application. */
  readonly port: number;
  /** The node's connection records, in order. */
  readonly records: ConnectionRecord[];
}

export interface TestProxy {
  readonly context: ConnectionContext;
  readonly records: RequestRecord[];
  /** Error codes of refused tunnels. */
  readonly refused: string[];
}

export class TestMesh {
  readonly #nodes: ((update: MeshUpdate) => void)[] = [];
  readonly #tunnelPorts = new Map<string, number>();
  readonly #updates: MeshUpdate[] = [];
  readonly #routes: Route[] = [];
  readonly #waypoints: { state: WaypointState; context: ConnectionContext }[] = [];

  constructor(private readonly t: TestContext) {}

  /** Applies an update to all nodes and waypoints, also to those that start later. */
  apply(update: MeshUpdate): void {
    this.#updates.push(update);
    for (const updateNode of this.#nodes) updateNode(update);
    for (const { state, context } of this.#waypoints) {
      const change = state.apply({ mesh: update });
      if (change) recheck(context, change);
    }
  }

  /** All updates and routes so far, as one state. */
  state(): { readonly mesh: MeshUpdate; readonly routes: readonly Route[] } {
    const all = new MeshState();
    for (const update of this.#updates) all.apply(update);
    return { mesh: all.full(), routes: [...new Map(this.#routes.map((one) => [one.key, one])).values()] };
  }

  route(...routes: readonly Route[]): void {
    this.#routes.push(...routes);
    for (const { state } of this.#waypoints) state.apply({ routes });
  }

  /** A pod behind its node's agent. `services`: Services whose port 80 maps to its application's port. */
  async pod(
    namespace: string,
    name: string,
    ip: string,
    onConnection: (socket: net.Socket) => void,
    services: readonly string[] = [],
    more: Partial<Workload> = {},
  ): Promise<TestPod> {
    const port = await this.#listen(ip, onConnection);
    const mapping = [{ servicePort: 80, targetPort: port, appProtocol: 'unknown' as const }];
    const one = workload(name, ip, `node-of-${name}`, {
      uid: uidOf(namespace, name),
      namespace,
      identity: identity(namespace, name),
      services: new Map(services.map((each) => [serviceKey(namespace, each), mapping])),
      ...more,
    });
    const view = new MeshState();
    const changes = new ChangeTracker(view);
    const connections = new Connections(1000);
    const records: ConnectionRecord[] = [];
    const updateNode = (update: MeshUpdate): void => {
      const change = changes.of(update);
      view.apply(update);
      connections.recheck(touchedWorkloads(view, change));
    };
    const { uid, addresses } = one;
    const local: LocalPod = {
      pod: podOf(name, ip, { uid, namespace, identity: one.identity, addresses }),
      netns: { path: '', cookie: 1n, uid: 0 } as unknown as LocalPod['netns'],
    };
    const pool = new TunnelPool();
    const context = {
      node: one.node,
      view,
      pool,
      connections,
      sockets: { dial: (_place: unknown, target: SocketAddress) => connect(target, 5_000) },
      localPod: () => local,
      svid: () => Promise.resolve(undefined),
      learn: () => undefined,
      limitReached: () => undefined,
      opened: () => undefined,
      closed: (record: ConnectionRecord) => void records.push(record),
    } as unknown as ProxyContext;
    await this.#serve(ip, one.identity, (tunnel) => void handleTunnel(context, local, tunnel));
    for (const update of this.#updates) updateNode(update);
    this.#nodes.push(updateNode);
    this.apply({ workloads: [one] });
    return { workload: one, port, records };
  }

  /** A waypoint, and its Service of the same name at `ip`. */
  async waypoint(
    namespace: string,
    name: string,
    ip: string,
    limits: Partial<WaypointLimits> = {},
  ): Promise<TestProxy> {
    const own = identity(namespace, name);
    const state = new WaypointState('', serviceKey(namespace, name));
    const all = { ...defaultLimits, ...limits };
    const svid = svidOf(own);
    const tunnels = new TunnelPool();
    this.t.after(() => tunnels.close());
    const dial = createDial(
      state,
      tunnels,
      () => svid,
      all,
      (to, timeoutMs) => connect(this.#mapped(to), timeoutMs, ip),
    );
    const clusters = new ClusterManager(state, dial, all, () => undefined);
    this.t.after(() => clusters.drain());
    const records: RequestRecord[] = [];
    const refused: string[] = [];
    const context: ConnectionContext = {
      state,
      clusters,
      limits: all,
      mergeSlashes: true,
      exchanges: new ByDestination(),
      connections: new ByDestination(),
      connectionShares: new FairLimit(all.connectionsMax),
      requestShares: new FairLimit(all.requestsMax),
      rateLimits: RateLimits.inMemory(),
      faults: new InjectedFaults(),
      shedding: new Shedding(),
      jwt: new JwtTokens(() => undefined),
      mirrorShares: new FairLimit(all.mirrorsMax),
      mirrorBufferShares: new FairLimit(all.mirrorBuffersBytesMax / mirrorBlockBytes),
      onMirrorEnd: () => undefined,
      onRequestEnd: (record) => records.push(record),
      onLimitReached: () => undefined,
      onUnreadable: () => undefined,
      onDetected: () => undefined,
      onAction: () => undefined,
      onUpstreamEvent: () => undefined,
      onRelay: () => undefined,
    };
    for (const mesh of this.#updates) state.apply({ mesh });
    state.apply({ routes: this.#routes });
    this.#waypoints.push({ state, context });
    await this.#serve(ip, own, (tunnel) => {
      const refusal = serveTunnel(context, tunnel);
      if (refusal) refused.push(refusal.code);
    });
    const service = serviceOf(namespace, name, `10.96.0.${Number(ip.split('.')[3])}`, 15008);
    this.apply({
      services: [service],
      workloads: [
        workload(name, ip, '', {
          uid: uidOf(namespace, name),
          namespace,
          identity: own,
          serviceAccount: name,
          nativeTunnel: true,
          services: new Map([
            [service.key, [{ servicePort: 15008, targetPort: 15008, appProtocol: 'unknown' }]],
          ]),
        }),
      ],
    });
    return { context, records, refused };
  }

  /**
   * Opens a tunnel as a peer with the certificate of `as`, from the address `from` to the node or waypoint at `to`. Rejects like
   * TunnelPool.open; the message has the status.
   */
  async tunnel(
    as: SpiffeId,
    from: string,
    to: { readonly ip: string; readonly identity: SpiffeId },
    authority: string,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Duplex> {
    const pool = new TunnelPool();
    this.t.after(() => pool.close());
    const destination = { ip: parseIp(to.ip), port: 15008 };
    const { stream } = await pool.open({
      svid: svidOf(as),
      expected: [to.identity],
      destination,
      authority,
      source: 'peer',
      headers,
      connect: () => connect(this.#mapped(destination), 5_000, from),
    });
    stream.on('error', () => undefined);
    return stream;
  }

  /** Maps port 15008 of an address to the port on which its node or waypoint really listens. */
  #mapped(address: SocketAddress): SocketAddress {
    const port = address.port === 15008 ? this.#tunnelPorts.get(address.ip) : undefined;
    return port === undefined ? address : { ip: address.ip, port };
  }

  async #serve(ip: string, id: SpiffeId, onTunnel: (tunnel: InboundTunnel) => void): Promise<void> {
    const server = new HboneServer({
      svid: svidOf(id),
      trustDomain: domain,
      onTunnel,
      onRefused: () => undefined,
    });
    this.t.after(() => server.close());
    this.#tunnelPorts.set(parseIp(ip), await this.#listen(ip, (socket) => server.handle(socket)));
  }

  async #listen(ip: string, onConnection: (socket: net.Socket) => void): Promise<number> {
    const sockets = new Set<net.Socket>();
    const server = net.createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.once('close', () => sockets.delete(socket));
      onConnection(socket);
    });
    await new Promise<void>((resolve) => server.listen(0, ip, resolve));
    this.t.after(() => {
      server.close();
      for (const socket of sockets) socket.destroy();
    });
    return (server.address() as AddressInfo).port;
  }
}

/** An application that responds to each request with its name and the received request; it never responds to `/hold`. */
export const echoing =
  (name: string) =>
  (socket: net.Socket): void => {
    let text = '';
    socket.on('data', (bytes: Buffer) => {
      text += bytes.toString('latin1');
      let at;
      while ((at = text.indexOf('\r\n\r\n')) >= 0) {
        const isHeld = text.includes(' /hold ');
        const body = `${name} got ${text.slice(0, at)}`;
        text = text.slice(at + 4);
        if (isHeld) continue;
        socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
      }
    });
    socket.on('end', () => socket.end());
  };

/** Writes a request and reads until the response is complete or the stream ends. */
export function request(stream: Duplex, path = '/', headers: readonly string[] = []): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    const done = (): void => {
      stream.removeListener('data', onData);
      resolve(text);
    };
    const onData = (bytes: Buffer): void => {
      text += bytes.toString('latin1');
      const head = text.indexOf('\r\n\r\n');
      const length = Number(/content-length: (\d+)/i.exec(text)?.[1] ?? 0);
      if (head >= 0 && text.length >= head + 4 + length) done();
    };
    stream.on('data', onData);
    stream.once('close', done);
    stream.write([`GET ${path} HTTP/1.1`, 'host: api', ...headers, '', ''].join('\r\n'));
  });
}

export const status = (answer: string): number => Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1] ?? 0);
