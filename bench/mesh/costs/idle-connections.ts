/** Memory of an open idle connection. */
import { execFileSync } from 'node:child_process';
import { sleep } from '../../../src/base/wait.js';
import { cpuOf, loadProgram } from '../../harness/load.js';
import type { Placement, Workload } from '../../result/result.js';
import type { NodeName, PodPlan, ScenePlan } from '../plan.js';
import type { Scene } from '../scene.js';
import {
  inScene,
  inTurns,
  Journal,
  namespacePlan,
  nodeOf,
  sidecarThreads,
  type Cost,
  type CostContext,
} from './cost.js';
import { bytesOf, mapBytes, processMemory } from './memory.js';

const echoPort = 7000;
/** Time for allocators and garbage collectors to settle. */
const settleMs = 2_000;
const holdMsMax = 120_000;
/** File descriptors of a proxy besides its connections. */
const filesBeside = 1_000;

interface Case {
  readonly variant: 'sidecar' | 'weft' | 'weft-encrypted';
  readonly placement: Exclude<Placement, 'own'>;
}
const cases: readonly Case[] = [
  { variant: 'sidecar', placement: 'same-node' },
  { variant: 'sidecar', placement: 'cross-node' },
  { variant: 'weft', placement: 'same-node' },
  { variant: 'weft', placement: 'cross-node' },
  { variant: 'weft-encrypted', placement: 'same-node' },
];

const workload: Workload = {
  name: 'idle-connections',
  title: 'idle connections',
  kind: 'cost',
  pointTitle: 'connections',
  about:
    `Connections from one pod to another, a byte to and fro on each, then nothing: read ${settleMs / 1000} s later. Memory of all ` +
    `proxies on the way, both ends, begun anew each time: pages of their own, and those of their program once per node; for Weft ` +
    `with the eBPF maps of the agents. Per connection: what it grew by since there was none. Memory of the kernel's sockets ` +
    `is in neither; a proxied connection has more of them. One round: it hardly varies.`,
};

/** The largest number of connections, at most `wanted`, that fits the file limit of a proxy: two files per connection. Pure. */
export const connectionsWithin = (wanted: number, filesMax: number): number =>
  Math.min(wanted, Math.max(0, Math.floor((filesMax - filesBeside) / 2 / 1000) * 1000));

/** Each case has its own namespaces, so that a sidecar has the connections of only one case. Pure. */
const namespaceOf = ({ variant, placement }: Case): string => `${variant}-${placement}`;

/** Pure. */
export function idlePlan(of: readonly Case[]): ScenePlan {
  return {
    namespaces: of.map((one) => namespacePlan(namespaceOf(one))),
    pods: of.flatMap((one): PodPlan[] => [
      { namespace: namespaceOf(one), name: 'client', node: 'bench-a' },
      { namespace: namespaceOf(one), name: 'server', node: nodeOf[one.placement] },
    ]),
    services: [],
  };
}

interface Proxies {
  /** Memory of all. */
  readonly bytes: () => number;
  /** Memory of the larger carrier with its broker. Undefined without carriers. */
  readonly carrierBytes?: () => number;
  readonly agentBytes?: () => number;
  readonly end: () => Promise<void>;
}

/** Starts new proxies and returns functions that read their memory. */
async function freshProxies(scene: Scene, { envoy }: CostContext, one: Case): Promise<Proxies> {
  const ends = ['client', 'server'].map((name) => scene.pod(namespaceOf(one), name));
  if (one.variant === 'sidecar') {
    const proxies: { node: NodeName; pid: number }[] = [];
    for (const pod of ends)
      proxies.push({
        node: pod.node,
        pid: await scene.startSidecar(pod, envoy as string, [], sidecarThreads),
      });
    return {
      bytes: () => bytesOf(proxies.map(({ node, pid }) => processMemory(node, pid))),
      end: async () => {
        for (const { pid } of proxies) await scene.end(pid);
      },
    };
  }
  await scene.restartAgents();
  const nodes = [...new Set(ends.map(({ node }) => node))];
  const agents = nodes.map((node) => scene.agentPid(node));
  const carriers = nodes.map((node) => scene.carrierPids(node));
  const of = (pids: readonly number[]): number => bytesOf(pids.map((pid) => processMemory('', pid)));
  const agentBytes = (): number[] => agents.map((pid) => of([pid]));
  const carrierBytes = (): number[] => carriers.map(of);
  return {
    bytes: () =>
      [...agentBytes(), ...carrierBytes(), ...agents.map(mapBytes)].reduce((sum, bytes) => sum + bytes, 0),
    agentBytes: () => Math.max(...agentBytes()),
    ...(carriers.some((pids) => pids.length > 0) ? { carrierBytes: () => Math.max(...carrierBytes()) } : {}),
    end: () => Promise.resolve(),
  };
}

async function measureCase(
  scene: Scene,
  context: CostContext,
  journal: Journal,
  one: Case,
  points: readonly number[],
): Promise<void> {
  const { netns } = scene.pod(namespaceOf(one), 'client');
  const { ip } = scene.pod(namespaceOf(one), 'server');
  const holders: number[] = [];
  const { bytes, agentBytes, carrierBytes, end } = await freshProxies(scene, context, one);
  try {
    let held = 0;
    let none = 0;
    let carrierNone = 0;
    for (const point of points)
      await journal.take({ round: 0, ...one, point: String(point) }, async () => {
        if (point > held) {
          const args = [ip, String(echoPort), String(point - held)];
          holders.push(await scene.keep(netns, loadProgram('hold'), args, 'client', holdMsMax));
          held = point;
        }
        await sleep(settleMs);
        const now = bytes();
        const carrier = carrierBytes?.();
        if (point === 0) {
          none = now;
          carrierNone = carrier ?? 0;
        }
        return {
          values: {
            proxyMegabytes: now / 1e6,
            ...(agentBytes ? { agentMegabytes: agentBytes() / 1e6 } : {}),
            ...(carrier === undefined ? {} : { carrierMegabytes: carrier / 1e6 }),
            ...(point === 0 || carrier === undefined || carrierNone === 0
              ? {}
              : { carrierKilobytesPerConnection: (carrier - carrierNone) / 1e3 / point }),
            ...(point === 0 || none === 0 ? {} : { kilobytesPerConnection: (now - none) / 1e3 / point }),
          },
        };
      });
  } finally {
    for (const pid of holders) await scene.end(pid);
    await end();
  }
}

async function measure(context: CostContext): ReturnType<Cost['measure']> {
  const journal = new Journal(workload.name, context);
  const asked = cases.filter(
    ({ variant, placement }) =>
      context.variants?.has(variant) !== false && (context.placement ?? placement) === placement,
  );
  const measured = asked.filter(({ variant }) => variant !== 'sidecar' || context.envoy !== undefined);
  if (measured.length < asked.length) journal.leaveOut('sidecar', 'there is no Envoy');
  const most = context.quick ? 1_000 : 10_000;
  const filesMax = Number(execFileSync('/bin/sh', ['-c', 'ulimit -Hn'], { encoding: 'utf8' }));
  const within = connectionsWithin(most, filesMax);
  if (within < most)
    journal.leaveOut(
      `${most} connections`,
      `a process may open ${filesMax} files here, ${within} are measured instead: raise it by ulimit -Hn`,
    );
  const points = [...new Set([0, Math.min(1_000, within), within])];
  await inScene(context, idlePlan(measured), async (scene) => {
    for (const pod of scene.pods)
      if (pod.name === 'server')
        await scene.serve(pod.netns, echoPort, loadProgram('echo'), [String(echoPort), String(cpuOf.server)]);
    // Opening many connections is slow, and the proxies do not affect each other, so all kinds are measured at the same time.
    const kinds = [false, true].map((sidecar) =>
      measured.filter(({ variant }) => (variant === 'sidecar') === sidecar),
    );
    await inTurns(kinds, kinds.length, async (kind) => {
      for (const one of kind) await measureCase(scene, context, journal, one, points);
    });
  });
  return journal.result();
}

export const idleConnections: Cost = { workload, measure };
