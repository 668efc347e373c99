/** Delay that a mesh adds to the start of a pod. */
import { until } from '../../../src/base/wait.js';
import { cpuOf, loadProgram, numberAt, runJson } from '../../harness/load.js';
import { median, orderOf } from '../../harness/statistics.js';
import type { Placement, Workload } from '../../result/result.js';
import type { PlacedPod, PodPlan, ScenePlan } from '../plan.js';
import type { Scene } from '../scene.js';
import {
  available,
  inScene,
  Journal,
  namespaceOf,
  namespacePlan,
  nodeOf,
  sidecarThreads,
  type Cost,
  type CostContext,
  type Measured,
  type VariantName,
} from './cost.js';

const echoPort = 7000;
const podsEach = 3;
const podsEachQuick = 1;
const startMsMax = 30_000;
const placements = ['same-node', 'cross-node'] as const;
const variants = ['none', 'none-again', 'sidecar', 'weft'] as const;

const workload: Workload = {
  name: 'pod-start',
  title: 'start of a pod',
  kind: 'cost',
  pointTitle: '',
  about:
    `Time from the creation of a pod's network until its application (bench/load/echo.c, which starts at once) responds to a pod ` +
    `that already runs; median of ${podsEach} pods one after the other in each round. Kubernetes is not included: no scheduler, ` +
    `image or API server. Sidecar: certificate, redirection, Envoy, then the application once Envoy is ready, as with ` +
    `holdApplicationUntilProxyStarts. Weft: the control plane reads the pod, and the application starts once the agent has enrolled ` +
    `the pod and has its certificate, as with the CNI plugin. Strict mode is on, so the response came through the mesh.`,
};

/** Pure. */
export function podStartPlan(of: readonly VariantName[]): ScenePlan {
  const namespaces = [...new Set(of.map(namespaceOf))];
  return {
    namespaces: namespaces.map(namespacePlan),
    pods: [
      ...namespaces.map((namespace): PodPlan => ({ namespace, name: 'client', node: 'bench-a' })),
      // A node without pods has no address block, so the other node would have no route to it.
      { namespace: 'none', name: 'neighbour', node: 'bench-b' },
    ],
    services: [],
  };
}

/** Steps that must complete before the application may start. */
async function prepare(
  scene: Scene,
  { envoy }: CostContext,
  variant: VariantName,
  pod: PlacedPod,
): Promise<void> {
  if (variant === 'sidecar') await scene.startSidecar(pod, envoy as string, [], sidecarThreads);
  if (variant !== 'weft') return;
  scene.writeManifests([]);
  await until(
    `the agent of ${pod.node} holds ${pod.netns}`,
    startMsMax,
    () =>
      scene.testbed
        .readyState(pod.node)
        .pods.some(({ uid, certificate }) => certificate && uid.endsWith(`/${pod.namespace}/${pod.name}`)),
    5,
  );
}

async function startMs(
  scene: Scene,
  context: CostContext,
  variant: VariantName,
  pod: PlacedPod,
): Promise<number> {
  const { netns } = scene.pod(pod.namespace, 'client');
  const began = process.hrtime.bigint();
  await prepare(scene, context, variant, pod);
  const [found] = await Promise.all([
    runJson(
      netns,
      loadProgram('answers'),
      [pod.ip, String(echoPort), String(startMsMax)],
      startMsMax + 5_000,
    ),
    scene.serve(pod.netns, echoPort, loadProgram('echo'), [String(echoPort), String(cpuOf.server)]),
  ]);
  return (numberAt(found, 'answered_ns') - Number(began)) / 1e6;
}

async function measure(context: CostContext): ReturnType<Cost['measure']> {
  const journal = new Journal(workload.name, context);
  const measured = available(variants, context, journal);
  // Compiled before, so that the compilation is not part of a start.
  for (const program of ['echo', 'answers'] as const) loadProgram(program);
  let pods = 0;
  const oneAfterTheOther = async (
    scene: Scene,
    variant: VariantName,
    placement: Exclude<Placement, 'own'>,
  ): Promise<Measured> => {
    const times: number[] = [];
    for (let at = 0; at < (context.quick ? podsEachQuick : podsEach); at++) {
      const pod = scene.addPod({
        namespace: namespaceOf(variant),
        name: `p${++pods}`,
        node: nodeOf[placement],
      });
      times.push(await startMs(scene, context, variant, pod));
    }
    return { values: { startMs: median(times) } };
  };
  await inScene(context, podStartPlan(measured), async (scene) => {
    if (context.envoy !== undefined)
      await scene.startSidecar(scene.pod('sidecar', 'client'), context.envoy, [], sidecarThreads);
    for (let round = 0; round < context.rounds; round++)
      for (const placement of placements)
        for (const variant of orderOf(measured, round))
          await journal.take({ round, placement, variant, point: '' }, () =>
            oneAfterTheOther(scene, variant, placement),
          );
  });
  return journal.result();
}

export const podStart: Cost = { workload, measure };
