/**
 * HTTP/2, unary gRPC and gRPC in both directions through the waypoint, beside Envoy: one connection of the client, many streams. Plain,
 * or HBONE on both sides. The proxy has CPU 1 for itself; load, backends and ends share CPU 0: what counts is the proxy's CPU per request.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { WeftError } from '../../src/base/errors.js';
import { residentBytes } from '../harness/cost.js';
import { interleave, type Task } from '../harness/interleave.js';
import { cpuOf, loadProgram, Servers } from '../harness/load.js';
import type { Sample } from '../harness/statistics.js';
import { findEnvoy, type FoundEnvoy } from '../peers/envoy.js';
import { costWithin, counterIn, type Cost, type CountedTarget } from './cost-within.js';
import { proveHttp2Routed } from './http2-client.js';
import { runHttp2Load, type Http2Load } from './http2-load.js';
import {
  halfLoad,
  http2ReportOf,
  messageSizes,
  openStreams,
  streamCounts,
  streamsOfEcho,
  type Http2Part,
  type Http2Report,
  type Http2Wire,
} from './http2-report.js';
import type { Path } from './measure.js';
import { plainTarget } from './plain-targets.js';
import { bodyBytes, freePorts } from './scene.js';
import { startSecured } from './secured-targets.js';
import type { WaypointOptions } from './suite.js';
import { needHeader, needTools } from './tools.js';

/** Of a gRPC request. */
const requestBytes = 128;
/** How long a load runs after its cost was read. */
const tailSeconds = 0.2;
/** Time for connections and handshakes, and for a proxy to reach its pace. */
const warmMs: Readonly<Record<Http2Wire, number>> = { plain: 300, hbone: 1_000 };

export interface Http2Options extends WaypointOptions {
  readonly wire: Http2Wire;
  /** What to measure. */
  readonly parts: readonly Http2Part[];
}

/** Starts the proxies, measures, ends them. Throws where a measurement fails or the run is interrupted. */
export async function runHttp2(given: Http2Options): Promise<Http2Report> {
  if (availableParallelism() < 2)
    throw new WeftError('WEFT_START', 'one CPU is not enough: the proxy needs one for itself');
  const onProgress = (text: string): void => {
    if (given.interrupted()) throw new WeftError('WEFT_INTERRUPTED', 'interrupted, nothing is written');
    given.onProgress(text);
  };
  const options = { ...given, onProgress };
  needTools(options.wire === 'hbone' ? ['tcpdump'] : [], onProgress);
  needHeader('nghttp2/nghttp2.h', 'libnghttp2-dev', onProgress);
  const envoy = findEnvoy(options.envoy, onProgress);
  const dir = mkdtempSync(join(tmpdir(), 'weft-bench-'));
  const servers = new Servers();
  try {
    const { targets, proofs } =
      options.wire === 'plain'
        ? { targets: await startPlain(options, envoy, servers, dir), proofs: {} }
        : await startHbone(options, envoy, servers, dir);
    const perSecond: Record<string, number> = {};
    const samples: Sample[] = [];
    for (const part of options.parts) {
      const tasks =
        part === 'streams'
          ? messageSizes.map((size) => echoTask(options, size))
          : [
              ...streamCounts.map((streams) => closedTask(options, part, streams)),
              openTask(options, part, (perSecond[part] = await halfOfSlower(options, part, targets))),
            ];
      samples.push(
        ...(await interleave<Path, CountedTarget>({
          ...options,
          paths: [{ name: part }],
          variants: targets,
          tasks,
        })),
      );
    }
    return http2ReportOf(options, samples, perSecond, envoy, proofs);
  } finally {
    await servers.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}

async function startPlain(
  { nodeFlags, onProgress }: Http2Options,
  envoy: FoundEnvoy,
  servers: Servers,
  dir: string,
): Promise<CountedTarget[]> {
  const [a = 0, b = 0, ...ports] = await freePorts(4);
  const counter = join(dir, 'answered');
  const backend = await servers.start(undefined, a, loadProgram('h2server'), [
    ...['-c', counter, String(cpuOf.client), String(bodyBytes), 'a', String(a), 'b', String(b)],
  ]);
  const counted = { around: [backend], count: counterIn(counter) };
  const targets: CountedTarget[] = [{ name: 'none', port: a, ...counted }];
  for (const name of 'path' in envoy ? (['envoy', 'weft'] as const) : (['weft'] as const)) {
    onProgress(`starting ${name}`);
    const scene = { listen: ports.pop() ?? 0, a, b, routes: 1, protocol: 'http2' as const };
    const target = plainTarget({ servers, dir, envoy, nodeFlags }, name, name, scene);
    const pid = await target.start?.();
    await proveHttp2Routed(name, target.port);
    targets.push({ ...target, ...counted, pid });
  }
  return targets;
}

async function startHbone(
  options: Http2Options,
  envoy: FoundEnvoy,
  servers: Servers,
  dir: string,
): Promise<{ targets: CountedTarget[]; proofs: Readonly<Record<string, string>> }> {
  const { targets, proofs } = await startSecured(
    { ...options, protocol: 'http2', names: ['none', 'envoy-hbone', 'weft'], envoy, servers, dir },
    proveHttp2Routed,
  );
  const named = (name: string): string => (name === 'envoy-hbone' ? 'envoy' : name);
  return { targets: targets.map((target) => ({ ...target, name: named(target.name) })), proofs };
}

const loadOf = (part: Exclude<Http2Part, 'streams'>, streams: number): Http2Load => ({
  kind: part === 'http2' ? 'http' : 'grpc',
  streams,
  messageBytes: requestBytes,
});

async function measured(
  { wire, seconds }: Http2Options,
  target: CountedTarget,
  load: Http2Load,
  forSeconds = seconds,
): Promise<[Awaited<ReturnType<typeof runHttp2Load>>, Cost]> {
  const warm = warmMs[wire];
  return costWithin(target, warm, forSeconds, runHttp2Load(target, load, forSeconds + tailSeconds, warm));
}

/** Half of what the slower proxy does at full load, after each has been warmed up. */
async function halfOfSlower(
  options: Http2Options,
  part: Exclude<Http2Part, 'streams'>,
  targets: readonly CountedTarget[],
): Promise<number> {
  let slowest = Infinity;
  for (const target of targets) {
    options.onProgress(`warming up ${target.name}, ${part}`);
    await measured(options, target, loadOf(part, openStreams), options.longSeconds);
    const [, { perSecond }] = await measured(options, target, loadOf(part, openStreams));
    if (target.pid !== undefined) slowest = Math.min(slowest, perSecond);
  }
  return Math.round(slowest * halfLoad);
}

const cpuPer = ({ seconds, requests }: Cost): number => (seconds * 1e6) / requests;

function closedTask(
  options: Http2Options,
  part: Exclude<Http2Part, 'streams'>,
  streams: number,
): Task<Path, CountedTarget> {
  return {
    name: `${streams} streams`,
    measure: async (_path, target) => {
      const [, cost] = await measured(options, target, loadOf(part, streams));
      return {
        [`requests${streams}`]: cost.perSecond,
        [`load${streams}`]: cost.loadBusy,
        [`others${streams}`]: Math.max(0, cost.proxyBusy - cost.own),
        ...(target.pid === undefined ? {} : { [`own${streams}`]: cost.own, [`cpu${streams}`]: cpuPer(cost) }),
      };
    },
  };
}

function openTask(
  options: Http2Options,
  part: Exclude<Http2Part, 'streams'>,
  perSecond: number,
): Task<Path, CountedTarget> {
  return {
    name: `${perSecond} requests a second`,
    measure: async (_path, target) => {
      const load = { ...loadOf(part, openStreams), perSecond };
      const [result, cost] = await measured(options, target, load, options.longSeconds);
      return {
        ...result,
        loadOpen: cost.loadBusy,
        ...(target.pid === undefined
          ? {}
          : { cpuOpen: cpuPer(cost), residentAfter: residentBytes(target.pid) / 1e6 }),
      };
    },
  };
}

function echoTask(options: Http2Options, messageBytes: number): Task<Path, CountedTarget> {
  return {
    name: `messages of ${messageBytes} bytes`,
    measure: async (_path, target) => {
      const [result, cost] = await measured(options, target, {
        kind: 'echo',
        streams: streamsOfEcho,
        messageBytes,
      });
      return {
        [`messages${messageBytes}`]: cost.perSecond,
        [`p50of${messageBytes}`]: result.p50,
        [`load${messageBytes}`]: cost.loadBusy,
        [`others${messageBytes}`]: Math.max(0, cost.proxyBusy - cost.own),
        ...(target.pid === undefined
          ? {}
          : { [`perCore${messageBytes}`]: cost.seconds > 0 ? cost.requests / cost.seconds : 0 }),
      };
    },
  };
}
