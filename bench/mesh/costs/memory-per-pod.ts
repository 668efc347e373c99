/** Memory of proxies per idle pod. */
import { readFileSync } from 'node:fs';
import { sleep } from '../../../src/base/wait.js';
import type { Workload } from '../../result/result.js';
import type { NodeName, PodPlan, ScenePlan } from '../plan.js';
import type { Scene } from '../scene.js';
import {
  inScene,
  inTurns,
  Journal,
  sidecarThreads,
  type Cost,
  type CostContext,
  type Measured,
} from './cost.js';
import { bytesOf, mapBytes, processMemory, type ProcessMemory } from './memory.js';

const settleMs = 2_000;
/** An idle Envoy uses about 30 MB of its own. */
const sidecarBytesMax = 64 << 20;
const nodes: readonly NodeName[] = ['bench-a', 'bench-b'];

const workload: Workload = {
  name: 'memory-per-pod',
  title: 'memory for each pod',
  kind: 'cost',
  pointTitle: 'pods',
  about:
    `Pods on two nodes, half on each, that do nothing; memory of all proxies divided by the pods, ${settleMs / 1000} s after the ` +
    `last is in. Pages of each process's own, and those of its program once per node (resident sizes added up would be more). ` +
    `Sidecar: an Envoy for each pod, ${sidecarThreads} threads, which knows of no other service: in a mesh it knows of ` +
    `many. Weft: the agents of both nodes with their eBPF maps; of neither the control plane. One round: it hardly varies.`,
};

/** The pods of `variant` are in groups, so that each point enrolls the pods that the point before lacked. Pure. */
const groupOf = (variant: string, point: number): string => `${variant}-to-${point}`;

const variants = ['sidecar', 'weft'] as const;

/** `enabled`: the pods of groups up to this point are enrolled in Weft. Pure. */
export function memoryPlan(points: readonly number[], enabled: number): ScenePlan {
  return {
    namespaces: variants.flatMap((variant) =>
      points.map((point) => ({
        name: groupOf(variant, point),
        labels: { 'weft.dev/mesh': variant === 'weft' && point <= enabled ? 'enabled' : 'disabled' },
      })),
    ),
    pods: variants.flatMap((variant) =>
      points.flatMap((point, at) =>
        Array.from({ length: point - (points[at - 1] ?? 0) }, (_, index): PodPlan => ({
          namespace: groupOf(variant, point),
          name: `p${index}`,
          node: nodes[index % nodes.length] as NodeName,
        })),
      ),
    ),
    services: [],
  };
}

function availableBytes(): number {
  return Number(/^MemAvailable:\s+(\d+) kB$/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1] ?? 0) * 1024;
}

/** Enrolls the pods of a point. Throws if a sidecar cannot be started. */
async function enrollPods(
  scene: Scene,
  { envoy }: CostContext,
  points: readonly number[],
  point: number,
  sidecars: ProcessMemoryOf[],
  journal: Journal,
): Promise<void> {
  scene.writeManifests([], { ...scene.plan, namespaces: memoryPlan(points, point).namespaces });
  const pods = scene.pods.filter(({ namespace }) => namespace === groupOf('sidecar', point));
  if (envoy !== undefined)
    await inTurns(
      pods,
      4,
      async (pod) => {
        const pid = await scene.startSidecar(pod, envoy, [], sidecarThreads);
        sidecars.push(() => processMemory(pod.node, pid));
      },
      journal.counting('starting sidecars', pods.length),
    );
  await scene.testbed.waitReady(Object.fromEntries(nodes.map((node) => [node, point / nodes.length])));
}
type ProcessMemoryOf = () => ProcessMemory;

const perPod = (bytes: number, point: number): Measured => ({
  values: { proxyMegabytes: bytes / 1e6, megabytesPerPod: bytes / 1e6 / point },
});

async function measure(context: CostContext): ReturnType<Cost['measure']> {
  const journal = new Journal(workload.name, context);
  if (context.envoy === undefined) journal.leaveOut('sidecar', 'there is no Envoy');
  const points = context.quick ? [10] : [10, 50, 100];
  await inScene(context, memoryPlan(points, 0), async (scene) => {
    const sidecars: ProcessMemoryOf[] = [];
    const agents = nodes.map((node) => ({ node, pid: scene.agentPid(node) }));
    for (const point of points) {
      const needed = (point - sidecars.length) * sidecarBytesMax;
      if (context.envoy !== undefined && availableBytes() < needed) {
        journal.leaveOut(
          `${point} pods`,
          `so many sidecars may take ${Math.round(needed / 1e6)} MB more than there are: free some memory`,
        );
        break;
      }
      journal.progress(`${point} pods`);
      await enrollPods(scene, context, points, point, sidecars, journal);
      await sleep(settleMs);
      const at = { round: 0, placement: 'cross-node', point: String(point) } as const;
      if (context.envoy !== undefined)
        await journal.take({ ...at, variant: 'sidecar' }, () =>
          Promise.resolve(perPod(bytesOf(sidecars.map((read) => read())), point)),
        );
      await journal.take({ ...at, variant: 'weft' }, () =>
        Promise.resolve(
          perPod(
            bytesOf(agents.map(({ node, pid }) => processMemory(node, pid))) +
              agents.reduce((sum, { pid }) => sum + mapBytes(pid), 0),
            point,
          ),
        ),
      );
    }
  });
  return journal.result();
}

export const memoryPerPod: Cost = { workload, measure };
