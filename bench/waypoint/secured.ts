/**
 * Weft's waypoint as it runs in a mesh, tunnels with mutual TLS in and out, beside Envoy in two ways of doing the same: mutual TLS
 * with HTTP/1.1 within, and HBONE. The proxy has CPU 1 for itself; load, backends and the ends that secure and unsecure
 * connections (ends.ts) share CPU 0, which they fill before a proxy fills its own: what counts is the proxy's CPU per request.
 */
import { randomInt } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { WeftError } from '../../src/base/errors.js';
import { sleep } from '../../src/base/wait.js';
import { distRoot } from '../../src/cli/run.js';
import { parseIp, type IpAddress, type Port, type SocketAddress } from '../../src/model/address.js';
import { busyWhile, childrenCpuSeconds, processCpuSeconds, residentBytes } from '../harness/cost.js';
import { interleave, type Task } from '../harness/interleave.js';
import { cpuOf, loadProgram, numberAt, Servers } from '../harness/load.js';
import type { EndConfig } from './ends.js';
import { findEnvoy } from '../peers/envoy.js';
import { envoyArgs, envoyHboneConfig, envoyTlsConfig } from './envoy.js';
import { makeIdentities } from './identities.js';
import {
  closedLoop,
  closedLoops,
  memoryTask,
  openConnections,
  openLoop,
  type Path,
  type Target,
} from './measure.js';
import { bodyBytes, freePorts, proveRouted, type Scene } from './scene.js';
import type { WaypointOptions } from './suite.js';
import {
  securedPath,
  securedReportOf,
  variants,
  type SecuredReport,
  type Variant,
} from './secured-report.js';
import { needTools, systemCallsPerRequest } from './tools.js';
import { serviceAddress, weftTunnelConfig } from './weft.js';
import { proveSecured, type Leg } from './wire.js';

export interface SecuredOptions extends WaypointOptions {
  /** Of the open loop; found by trial where absent. */
  readonly perSecond?: number;
}

/** The proxy, and the programs that send it requests. */
interface SecuredTarget extends Target {
  readonly name: Variant;
  /** The ends and the backends. */
  readonly around: readonly number[];
  /** Requests that the backends have answered so far. */
  readonly count: () => number;
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
/** Maximum utilization of CPU 0 and of the proxy's CPU in the open loop. */
const busyMax = 0.75;
const loads: ReadonlySet<string> = new Set(['wrk', 'requests']);
const manyPerSecond = 300;
const manySecondsMin = 4;
/** Time for connections and handshakes. */
const warmMs = 1_500;
/** How long the load continues after the last measurement of its cost. */
const tailSeconds = 0.2;

/** Two addresses of the loopback network at whose port 15008 nobody else is likely to listen. */
function freeHosts(): { a: IpAddress; b: IpAddress } {
  const net = `127.${randomInt(64, 128)}.${randomInt(1, 255)}`;
  return { a: parseIp(`${net}.1`), b: parseIp(`${net}.2`) };
}

/** As runWaypoint. */
export async function runSecured(options: SecuredOptions): Promise<SecuredReport> {
  if (availableParallelism() < 2)
    throw new WeftError('WEFT_START', 'one CPU is not enough: the proxy needs one for itself');
  needTools(['wrk', 'strace', 'tcpdump'], options.onProgress);
  const envoy = findEnvoy(options.envoy, options.onProgress);
  const dir = mkdtempSync(join(tmpdir(), 'weft-bench-'));
  const servers = new Servers();
  const onProgress = (text: string): void => {
    if (options.interrupted()) throw new WeftError('WEFT_INTERRUPTED', 'interrupted, nothing is written');
    options.onProgress(text);
  };
  try {
    const identities = makeIdentities();
    const [a = 0, b = 0, ...ports] = await freePorts(18);
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
    const responder = await servers.start(undefined, a, loadProgram('responder'), [
      ...['-c', counter, String(cpuOf.client), String(bodyBytes)],
      ...['a', String(a), 'b', String(b)],
    ]);
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
      const scene: Scene = { listen, a, b, routes: 1 };
      const own = identities.waypoint;
      const server = identities.server.id;
      const config =
        name === 'weft'
          ? weftTunnelConfig(scene, own, hosts)
          : name === 'envoy-tls'
            ? envoyTlsConfig({ ...scene, a: listens[0]?.port ?? 0, b: listens[1]?.port ?? 0 }, own, server)
            : envoyHboneConfig(scene, own, server, hosts);
      writeFileSync(file, config, { mode: 0o600 });
      return name === 'weft'
        ? [process.execPath, ...options.nodeFlags, join(distRoot, 'bench', 'waypoint', 'tunnel.js'), file]
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
        count: () => Number(readFileSync(counter).readBigUInt64LE()),
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
    const names = (Object.keys(variants) as Variant[]).filter(
      (name) => 'path' in envoy || !name.startsWith('envoy'),
    );
    const targets: SecuredTarget[] = [];
    const fresh = new Map<string, Target>();
    const proofs: Record<string, string> = {};
    for (const name of names) {
      onProgress(`starting ${name}`);
      const serverEnd = await startServerEnd(name);
      const target = await made(name, name, serverEnd);
      target.pid = await target.start?.();
      proofs[name] = await proveSecured(name, {
        dir,
        port: target.port,
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
    const capacities: number[] = [];
    for (const target of targets) {
      onProgress(`warming up ${target.name}`);
      await closedLoop(target, openConnections, options.longSeconds);
      const { perSecond } = await closedLoop(target, openConnections, options.seconds);
      if (target.name !== 'none') capacities.push(perSecond);
    }
    const perSecond =
      options.perSecond ?? (await sustained(targets, Math.min(...capacities), options.seconds, onProgress));
    const samples = await interleave<Path, SecuredTarget>({
      rounds: options.rounds,
      paths: [securedPath],
      variants: targets,
      tasks: [
        ...closedLoops.map((count) => closedTask(count, options.seconds)),
        openTask(perSecond, options.longSeconds),
        memoryTask(fresh, servers, manyPerSecond, Math.max(manySecondsMin, options.seconds)),
      ],
      onProgress,
    });
    const systemCalls = await systemCallsPerRequest(targets, dir, options.seconds, onProgress);
    return securedReportOf(options, samples, systemCalls, perSecond, envoy, proofs);
  } finally {
    await servers.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}

interface Cost {
  readonly requests: number;
  readonly perSecond: number;
  /** CPU seconds of the proxy. */
  readonly seconds: number;
  /** Shares of time: the proxy of its CPU; ends, backends and load of theirs. */
  readonly own: number;
  readonly around: number;
  /** Utilization of each CPU by all programs. */
  readonly proxyBusy: number;
  readonly loadBusy: number;
}

/** What `seconds` of a load cost that runs for longer: its connections stand by then, and none ends within them. */
async function costWithin<T>(
  { pid, around, count }: SecuredTarget,
  seconds: number,
  load: Promise<T>,
): Promise<[T, Cost]> {
  let failed: unknown;
  load.catch((error: unknown) => (failed = error));
  await sleep(warmMs);
  const read = (): { proxy: number; around: number; requests: number; ms: number } => ({
    proxy: pid === undefined ? 0 : processCpuSeconds(pid),
    around: around.reduce((sum, one) => sum + processCpuSeconds(one), 0) + childrenCpuSeconds(loads),
    requests: count(),
    ms: performance.now(),
  });
  const [[[before, after], proxyBusy], loadBusy] = await busyWhile(cpuOf.client, () =>
    busyWhile(cpuOf.server, async () => {
      const begin = failed === undefined ? read() : undefined;
      await sleep(seconds * 1000);
      return [begin, failed === undefined ? read() : undefined] as const;
    }),
  );
  const result = await load;
  if (!before || !after || after.requests <= before.requests)
    throw new WeftError('WEFT_COMMAND', 'no request was answered while they were counted');
  const passed = (after.ms - before.ms) / 1000;
  const requests = after.requests - before.requests;
  const own = after.proxy - before.proxy;
  return [
    result,
    {
      requests,
      perSecond: requests / passed,
      seconds: own,
      own: own / passed,
      around: (after.around - before.around) / passed,
      proxyBusy,
      loadBusy,
    },
  ];
}

const closedCost = (target: SecuredTarget, connections: number, seconds: number): Promise<[unknown, Cost]> =>
  costWithin(target, seconds, closedLoop(target, connections, Math.ceil(warmMs / 1000 + seconds) + 1));
const openCost = (target: SecuredTarget, perSecond: number, seconds: number): Promise<[unknown, Cost]> =>
  costWithin(target, seconds, openLoop(target, perSecond, openConnections, seconds + tailSeconds, warmMs));

function closedTask(connections: number, seconds: number): Task<Path, SecuredTarget> {
  return {
    name: `${connections} connections`,
    measure: async (_path, target) => {
      const [, cost] = await closedCost(target, connections, seconds);
      return {
        [`requests${connections}`]: cost.perSecond,
        [`load${connections}`]: cost.loadBusy,
        [`others${connections}`]: Math.max(0, cost.proxyBusy - cost.own),
        ...(target.pid === undefined
          ? {}
          : {
              [`own${connections}`]: cost.own,
              [`cpu${connections}`]: (cost.seconds * 1e6) / cost.requests,
            }),
      };
    },
  };
}

function openTask(perSecond: number, seconds: number): Task<Path, SecuredTarget> {
  return {
    name: `${perSecond} requests a second`,
    measure: async (_path, target) => {
      const [result, cost] = await openCost(target, perSecond, seconds);
      return {
        p50: numberAt(result, 'p50_us'),
        p90: numberAt(result, 'p90_us'),
        p99: numberAt(result, 'p99_us'),
        p999: numberAt(result, 'p999_us'),
        waited: numberAt(result, 'waited'),
        aroundOpen: cost.around,
        loadOpen: cost.loadBusy,
        ...(target.pid === undefined
          ? {}
          : {
              ownOpen: cost.own,
              cpuOpen: (cost.seconds * 1e6) / cost.requests,
              residentAfter: residentBytes(target.pid) / 1e6,
            }),
      };
    },
  };
}

/** A rate at which no proxy's CPU, and never CPU 0, is busy with this run for more than `busyMax` of the time. */
async function sustained(
  targets: readonly SecuredTarget[],
  capacity: number,
  seconds: number,
  onProgress: (text: string) => void,
): Promise<number> {
  let perSecond = Math.max(100, Math.floor((capacity * busyMax) / 100) * 100);
  for (;;) {
    onProgress(`trying ${perSecond} requests a second`);
    let busiest = 0;
    for (const target of targets) {
      const [, { own, around }] = await openCost(target, perSecond, seconds);
      busiest = Math.max(busiest, own, around);
    }
    if (busiest <= busyMax || perSecond <= 100) return perSecond;
    const next = Math.floor((perSecond * Math.max(0.5, Math.min(0.95, busyMax / busiest))) / 100) * 100;
    perSecond = Math.max(100, Math.min(perSecond - 100, next));
  }
}
