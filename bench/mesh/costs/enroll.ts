/** Time to enroll running pods. */
import { until } from '../../../src/base/wait.js';
import { cpuOf, loadProgram } from '../../harness/load.js';
import type { Workload } from '../../result/result.js';
import type { NodeName, PodPlan, ScenePlan } from '../plan.js';
import type { Scene } from '../scene.js';
import { inScene, inTurns, Journal, namespacePlan, type Cost, type CostContext } from './cost.js';

const echoPort = 7000;
const enrollMsMax = 90_000;
const nodes: readonly NodeName[] = ['bench-a', 'bench-b'];

const workload: Workload = {
  name: 'enrol',
  title: 'running pods into the mesh',
  kind: 'cost',
  pointTitle: 'pods',
  about:
    `Time from the label on a namespace with running pods until the agents have enrolled all of them with certificates. Half of ` +
    `the pods run on each of two nodes, each with its own identity. Agents are restarted each time, so that they have no ` +
    `certificates. Sidecars have no counterpart: each pod is restarted, as fast as its owner chooses; pod-start measures one start.`,
};

/** Pure. */
export function enrollPlan(pods: number, enabled: boolean): ScenePlan {
  return {
    namespaces: [
      { ...namespacePlan(enabled ? 'weft' : 'none'), name: 'pods' },
      { ...namespacePlan('none'), name: 'outside' },
    ],
    pods: [
      ...Array.from({ length: pods }, (_, at): PodPlan => ({
        namespace: 'pods',
        name: `p${at}`,
        node: nodes[at % nodes.length] as NodeName,
      })),
      { namespace: 'outside', name: 'client', node: 'bench-a' },
    ],
    services: [],
  };
}

async function heldOn(scene: Scene, pods: number): Promise<void> {
  await until(
    `${pods} pods are held on each node`,
    enrollMsMax,
    () =>
      nodes.every((node) => {
        const state = scene.testbed.readyState(node);
        return (
          state.ready && state.pods.length === pods && state.pods.every(({ certificate }) => certificate)
        );
      }),
    5,
  );
}

async function measure(context: CostContext): ReturnType<Cost['measure']> {
  const journal = new Journal(workload.name, context);
  const pods = context.quick ? 20 : 200;
  const outside = enrollPlan(pods, false);
  const inside = enrollPlan(pods, true);
  await inScene(context, outside, async (scene) => {
    const running = scene.pods.filter(({ namespace }) => namespace === 'pods');
    await inTurns(
      running,
      8,
      (pod) =>
        scene.serve(pod.netns, echoPort, loadProgram('echo'), [String(echoPort), String(cpuOf.server)]),
      journal.counting('starting pods', pods),
    );
    for (let round = 0; round < context.rounds; round++) {
      const at = { round, placement: 'cross-node', variant: 'weft', point: String(pods) } as const;
      await journal.take(at, async () => {
        const began = performance.now();
        scene.writeManifests([], { ...scene.plan, namespaces: inside.namespaces });
        await heldOn(scene, pods / nodes.length);
        return { values: { enrolMs: performance.now() - began } };
      });
      scene.writeManifests([], { ...scene.plan, namespaces: outside.namespaces });
      await heldOn(scene, 0);
      await scene.restartAgents();
    }
  });
  return journal.result();
}

export const enroll: Cost = { workload, measure };
