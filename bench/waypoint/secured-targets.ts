/** Proxies with secured connections on both sides, each with ends of its own, between one load and the same backends. */
import { randomInt } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { distRoot } from '../../src/cli/run.js';
import { parseIp, type IpAddress, type Port, type SocketAddress } from '../../src/model/address.js';
import type { MeshUpdate } from '../../src/state/store.js';
import { cpuOf, loadProgram, type Servers } from '../harness/load.js';
import { servingNodeFlags } from '../../src/base/node-flags.js';
import type { FoundEnvoy } from '../peers/envoy.js';
import { counterIn, type CountedTarget } from './cost-within.js';
import type { EndConfig, Wire } from './ends.js';
import { envoyArgs, envoyHboneConfig, envoyTlsConfig } from './envoy.js';
import { makeIdentities } from './identities.js';
import type { Target } from './measure.js';
import { bodyBytes, freePorts, type Protocol, type Scene } from './scene.js';
import { serviceAddress, weftTunnelConfig } from './weft.js';
import { proveSecured, type Leg } from './wire.js';

/** What is measured, and its wire on both sides. */
export const variants = {
  none: { wire: 'hbone', what: 'ends alone' },
  'envoy-tls': { wire: 'tls', what: 'Envoy, mTLS' },
  'envoy-hbone': { wire: 'hbone', what: 'Envoy, HBONE' },
  weft: { wire: 'hbone', what: 'Weft, HBONE' },
} as const satisfies Record<string, { wire: Wire; what: string }>;
export type Variant = keyof typeof variants;

export interface SecuredTarget extends CountedTarget {
  readonly name: Variant;
}

/** Where backends' tunnels, or TLS connections, end. */
interface ServerEnd {
  readonly pid: number;
  /** Of tunnels. */
  readonly hosts: { readonly a: IpAddress; readonly b: IpAddress };
  /** For a and b. */
  readonly listens: readonly SocketAddress[];
}

const here = parseIp('127.0.0.1');
const hbonePort = 15008 as Port;
/** Of a proxy: its own, one for each of two clients' ends, two of its server's end. */
const portsPerVariant = 6;

/** Two addresses of the loopback network at whose port 15008 nobody else is likely to listen. */
function freeHosts(): { a: IpAddress; b: IpAddress } {
  const net = `127.${randomInt(64, 128)}.${randomInt(1, 255)}`;
  return { a: parseIp(`${net}.1`), b: parseIp(`${net}.2`) };
}

export interface SecuredTargetsOptions {
  readonly protocol: Protocol;
  /** Without Envoy, or with one that is missing, its variants are left out. */
  readonly names: readonly Variant[];
  readonly envoy: FoundEnvoy;
  readonly nodeFlags: readonly string[];
  readonly servers: Servers;
  readonly dir: string;
  readonly onProgress: (text: string) => void;
  /** For Weft's proxy: see TunnelConfig. */
  readonly updates?: readonly MeshUpdate[];
}

export interface SecuredTargets {
  readonly targets: readonly SecuredTarget[];
  /** Proxies that are not started yet, by name. */
  readonly fresh: ReadonlyMap<string, Target>;
  /** What was seen on the wire of each. */
  readonly proofs: Readonly<Record<string, string>>;
}

/** Starts backends, ends and proxies, and checks each proxy's wire. `proveRouted` checks that it routes. */
export async function startSecured(
  { protocol, names, envoy, nodeFlags, servers, dir, onProgress, updates }: SecuredTargetsOptions,
  proveRouted: (name: string, port: number) => Promise<void>,
): Promise<SecuredTargets> {
  const identities = makeIdentities();
  const [a = 0, b = 0, ...ports] = await freePorts(2 + portsPerVariant * names.length);
  const at = (port: number | undefined, ip = here): SocketAddress => ({ ip, port: (port ?? 0) as Port });
  const backends = [at(a), at(b)];
  const startEnd = (name: string, port: number, config: EndConfig): Promise<number> => {
    const file = join(dir, `${name}.json`);
    writeFileSync(file, JSON.stringify(config), { mode: 0o600 });
    return servers.start(undefined, port, 'taskset', [
      ...['-c', String(cpuOf.client), process.execPath],
      ...[join(distRoot, 'bench', 'waypoint', 'ends.js'), file],
    ]);
  };
  const counter = join(dir, 'answered');
  const responder = await servers.start(
    undefined,
    a,
    loadProgram(protocol === 'http1' ? 'responder' : 'h2server'),
    [...['-c', counter, String(cpuOf.client), String(bodyBytes)], ...['a', String(a), 'b', String(b)]],
  );
  // One for each: another's connections would be seen among its own.
  const startServerEnd = async (name: Variant): Promise<ServerEnd> => {
    const { wire } = variants[name];
    const hosts = freeHosts();
    const listens =
      wire === 'hbone'
        ? [at(hbonePort, hosts.a), at(hbonePort, hosts.b)]
        : [at(ports.pop()), at(ports.pop())];
    const pid = await startEnd(`server-${name}`, listens[0]?.port ?? 0, {
      side: 'server',
      wire,
      svid: identities.server,
      listens: listens.map((listen, index) => ({ listen, backend: backends[index] ?? at(a) })),
    });
    return { pid, hosts, listens };
  };
  const proxyOf = (
    name: Exclude<Variant, 'none'>,
    listen: number,
    file: string,
    { hosts, listens }: ServerEnd,
  ): string[] => {
    const scene: Scene = { listen, a, b, routes: 1, protocol };
    const own = identities.waypoint;
    const server = identities.server.id;
    const config =
      name === 'weft'
        ? weftTunnelConfig(scene, own, hosts, updates)
        : name === 'envoy-tls'
          ? envoyTlsConfig({ ...scene, a: listens[0]?.port ?? 0, b: listens[1]?.port ?? 0 }, own, server)
          : envoyHboneConfig(scene, own, server, hosts);
    writeFileSync(file, config, { mode: 0o600 });
    return name === 'weft'
      ? [
          process.execPath,
          ...servingNodeFlags,
          ...nodeFlags,
          join(distRoot, 'bench', 'waypoint', 'tunnel.js'),
          file,
        ]
      : ['path' in envoy ? envoy.path : '', ...envoyArgs(file)];
  };
  const made = async (
    name: Variant,
    label: string,
    serverEnd: ServerEnd,
  ): Promise<SecuredTarget & { legs: readonly Leg[] }> => {
    const { wire } = variants[name];
    const listen = ports.pop() ?? 0;
    const port = ports.pop() ?? 0;
    const { hosts } = serverEnd;
    const to = name === 'none' ? at(hbonePort, hosts.a) : at(listen);
    const clientEnd = await startEnd(`client-${label}`, port, {
      side: 'client',
      wire,
      svid: identities.client,
      listen: at(port),
      destination: to,
      expected: (name === 'none' ? identities.server : identities.waypoint).id,
      authority: name === 'none' ? at(a, hosts.a) : serviceAddress,
    });
    const command =
      name === 'none' ? undefined : proxyOf(name, listen, join(dir, `${label}.json`), serverEnd);
    return {
      name,
      port,
      around: [clientEnd, serverEnd.pid, responder],
      count: counterIn(counter),
      legs:
        name === 'none'
          ? [{ name: 'end to end', at: [to] }]
          : [
              { name: 'in', at: [to] },
              { name: 'out', at: serverEnd.listens },
            ],
      ...(command === undefined
        ? {}
        : {
            start: () =>
              servers.start(undefined, listen, 'taskset', ['-c', String(cpuOf.server), ...command]),
          }),
    };
  };
  const targets: SecuredTarget[] = [];
  const fresh = new Map<string, Target>();
  const proofs: Record<string, string> = {};
  for (const name of names) {
    if (name.startsWith('envoy') && !('path' in envoy)) continue;
    onProgress(`starting ${name}`);
    const serverEnd = await startServerEnd(name);
    const target = await made(name, name, serverEnd);
    target.pid = await target.start?.();
    proofs[name] = await proveSecured(name, {
      dir,
      port: target.port,
      protocol,
      legs: target.legs,
      backends: name === 'none' ? backends.slice(0, 1) : backends,
      client: name === 'none' ? undefined : identities.client.id,
    });
    if (name !== 'none') {
      await proveRouted(name, target.port);
      fresh.set(name, await made(name, `${name}-fresh`, serverEnd));
    }
    targets.push(target);
  }
  return { targets, fresh, proofs };
}
