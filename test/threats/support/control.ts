/** A control plane in this process and its clients: the real server, over TLS on loopback. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import http2 from 'node:http2';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Compiler } from '../../../control/compile/compile.js';
import type { ResourceChanges } from '../../../control/compile/resource.js';
import { changesFrom } from '../../../control/registry/difference.js';
import type { MeshObject } from '../../../control/objects/objects.js';
import { EdgeMemory } from '../../../control/edges/edge-memory.js';
import { TapHub } from '../../../control/taps/tap-hub.js';
import { CertificateAuthority } from '../../../control/certificates/ca.js';
import { Resources } from '../../../control/serve/resources.js';
import { ControlServer, type ControlServerOptions } from '../../../control/serve/server.js';
import { parseManifests } from '../../../control/source/parse.js';
import { systemClock } from '../../../src/base/clock.js';
import { DiscoveryClient, type DiscoveryOptions } from '../../../src/discovery/client.js';
import { parseIp } from '../../../src/model/address.js';
import { domain } from '../../support/mesh.js';
import { subjectOfToken } from '../../support/tokens.js';

export const discoveryPath =
  '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources';
export const certificatePath = '/istio.v1.auth.IstioCertificateService/CreateCertificate';

export interface Control {
  readonly server: ControlServer;
  readonly resources: Resources;
  readonly ca: CertificateAuthority;
  readonly state: string;
  readonly target: string;
  readonly warnings: readonly string[];
  readonly limits: readonly string[];
  readonly edges: EdgeMemory;
  readonly taps: TapHub;
  /** Events of taps that were left out, by reason. */
  readonly refusedTapEvents: ReadonlyMap<string, number>;
  /** Reported edges that were left out, by reason. */
  readonly refusedEdges: ReadonlyMap<string, number>;
  /** Replaces the manifests. */
  change(manifests: string): void;
  /** Sends changes as from a compiler of another version. */
  update(changes: ResourceChanges): void;
}

export type Closers = (() => void)[];

export function objectsOf(manifests: string): readonly MeshObject[] {
  const { objects, errors } = parseManifests('x', manifests);
  assert.deepEqual(errors, []);
  return objects;
}

export function stateDir(closers: Closers): string {
  const state = mkdtempSync(join(tmpdir(), 'weft-threats-'));
  closers.push(() => rmSync(state, { recursive: true, force: true }));
  return state;
}

export async function startControl(
  closers: Closers,
  manifests: string,
  options: Partial<ControlServerOptions> & { readonly state?: string } = {},
): Promise<Control> {
  const { state = stateDir(closers), ...rest } = options;
  const ca = new CertificateAuthority(state, domain);
  const compiler = new Compiler({ trustDomain: domain, rootsVersion: '1' });
  compiler.apply(changesFrom(compiler, objectsOf(manifests)));
  const resources = new Resources(compiler.all());
  const warnings: string[] = [];
  const limits: string[] = [];
  const refusedEdges = new Map<string, number>();
  const edges = new EdgeMemory({
    registry: compiler,
    onRefused: (why, count) => refusedEdges.set(why, (refusedEdges.get(why) ?? 0) + count),
    onLimit: (limit) => limits.push(limit),
  });
  const refusedTapEvents = new Map<string, number>();
  const taps = new TapHub({
    registry: compiler,
    onRefused: (why, count) => refusedTapEvents.set(why, (refusedTapEvents.get(why) ?? 0) + count),
    onLost: () => undefined,
    onLimit: (limit) => limits.push(limit),
  });
  closers.push(() => taps.stop());
  const server = new ControlServer(
    {
      listen: '127.0.0.1:0',
      certificate: ca.serverCertificate([parseIp('127.0.0.1')], ['weft']),
      ca,
      callerOfToken: (token) => subjectOfToken(state, token),
      mayRequestCertificate: (caller, identity) => compiler.mayRequestCertificate(caller, identity),
      certTtlS: undefined,
      onLimit: (limit) => limits.push(limit),
      log: { info: () => undefined, warn: (_fields, text) => warnings.push(text) },
      edges,
      taps,
      ...rest,
    },
    resources,
  );
  const port = await server.start();
  closers.push(() => server.stop());
  const update = (changes: ResourceChanges): void => server.update(resources.apply(changes));
  return {
    server,
    resources,
    ca,
    state,
    target: `127.0.0.1:${port}`,
    warnings,
    limits,
    edges,
    refusedEdges,
    taps,
    refusedTapEvents,
    update,
    change: (now) => update(compiler.apply(changesFrom(compiler, objectsOf(now)))),
  };
}

/** A raw HTTP/2 connection to the control plane. */
export function connect(closers: Closers, { target, ca }: Control): http2.ClientHttp2Session {
  const session = http2.connect(`https://${target}`, { ca: ca.roots });
  session.on('error', () => undefined);
  closers.push(() => session.destroy());
  return session;
}

export interface RawCall {
  readonly stream: http2.ClientHttp2Stream;
  /** gRPC status and message; undefined until the call ends. */
  readonly ended: () => { readonly status: string; readonly message: string } | undefined;
}

export function call(session: http2.ClientHttp2Session, path: string, token?: string): RawCall {
  const stream = session.request({
    ':method': 'POST',
    ':path': path,
    'content-type': 'application/grpc',
    te: 'trailers',
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
  });
  let end: ReturnType<RawCall['ended']>;
  const take = (headers: http2.IncomingHttpHeaders): void => {
    const { 'grpc-status': status, 'grpc-message': message } = headers;
    if (typeof status === 'string')
      end = { status, message: typeof message === 'string' ? decodeURI(message) : '' };
  };
  stream.on('response', take);
  stream.on('trailers', take);
  stream.on('error', () => undefined);
  stream.resume();
  return { stream, ended: () => end };
}

export function frame(body: Uint8Array): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(body.length, 1);
  return Buffer.concat([head, body]);
}

/** Follows discovery with the client that agents and waypoints use. */
export function follow(
  closers: Closers,
  { target, ca }: Pick<Control, 'target' | 'ca'>,
  token: string,
  subscriptions: DiscoveryOptions['subscriptions'],
  more: Partial<DiscoveryOptions> = {},
): {
  readonly client: DiscoveryClient;
  readonly states: string[];
  synced: boolean;
  readonly errors: string[];
} {
  const seen = { states: [] as string[], synced: false, errors: [] as string[] };
  const client = new DiscoveryClient({
    target,
    rootPem: () => ca.roots,
    token: () => token,
    nodeId: 'ztunnel~10.0.0.1~x.x~x.svc.cluster.local',
    nodeName: 'x',
    subscriptions,
    onChange: () => undefined,
    onSynced: () => (seen.synced = true),
    onState: (now) => seen.states.push(now),
    onRefused: (_type, errors) => seen.errors.push(...errors),
    clock: systemClock,
    ...more,
  });
  closers.push(() => client.stop());
  client.start();
  return Object.assign(seen, { client });
}

/** Two other replicas of a control plane: one serves as `name` at 127.0.0.1, and nothing listens at the address of `gone`. */
export const twoReplicas = (name: string, other: Pick<Control, 'target' | 'ca'>, token: string) => ({
  replicas: () => [
    { name, ip: '127.0.0.1' },
    { name: 'gone', ip: '127.0.0.2' },
  ],
  controlPlane: ({ ip }: { readonly ip: string }) => ({
    target: ip === '127.0.0.1' ? other.target : '127.0.0.2:9',
    rootPem: () => other.ca.roots,
    token: () => token,
    // The name in the serving certificate: replicas are dialed by address.
    serverName: 'weft',
  }),
});
