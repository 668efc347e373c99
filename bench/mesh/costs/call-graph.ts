/** Requests that cause further requests: a chain of ten services, and one service that calls ten at once. */
import { orderOf } from '../../harness/statistics.js';
import { bodyBytes, httpPort, serverArgs } from '../../load/fortio.js';
import type { Workload } from '../../result/result.js';
import type { NodeName, PodPlan, ScenePlan } from '../plan.js';
import type { Scene } from '../scene.js';
import {
  asServer,
  available,
  waitReachable,
  inScene,
  inTurns,
  Journal,
  namespacePlan,
  openLoop,
  sidecarThreads,
  type Cost,
  type CostContext,
  type VariantName,
} from './cost.js';

const perSecond = 50;
/** Minimum seconds, so that there are enough requests for a p99. */
const secondsMin = 2;
const connections = 4;
const others = 10;
const placements = ['same-node', 'cross-node'] as const;
type CallPlacement = (typeof placements)[number];
const variants = ['none', 'none-again', 'sidecar', 'weft'] as const;

/** Ports at which a service calls the next one, and at which the first service calls all others. */
export const deepPort = 8081;
export const widePort = 8082;
const points = { '10 deep': deepPort, '10 wide': widePort } as const;

const workload: Workload = {
  name: 'call-graph',
  title: 'requests that make others',
  kind: 'scale',
  pointTitle: 'shape',
  about:
    `A chain of ten services, each calling the next, and a fan-out: one service calls ten others at once and waits for all. ` +
    `HTTP/1.1 with keep-alive, ${bodyBytes} bytes from each service, ${perSecond} requests per second to the first. All services ` +
    `are fortio; those that call others run its multi proxy. cross-node: the services alternate between two nodes, so each call ` +
    `of the chain crosses nodes, and half of the fan-out. CPU is per request to the first service, for all calls that follow ` +
    `from it. p99 is of a few hundred requests at most.`,
};

const service = (at: number): string => `s${at}`;
const all = Array.from({ length: others + 1 }, (_, at) => at);
const nodeAt = (placement: CallPlacement, at: number): NodeName =>
  placement === 'cross-node' && at % 2 === 0 ? 'bench-b' : 'bench-a';
/** Pods of both placements side by side, named `none-same-node` and so on. */
const namespaceOf = (variant: VariantName, placement: CallPlacement): string =>
  `${variant === 'none-again' ? 'none' : variant}-${placement}`;

/** Pure. */
export function callGraphPlan(of: readonly VariantName[]): ScenePlan {
  const pairs = placements.flatMap((placement) =>
    [...new Set(of.map((variant) => namespaceOf(variant, placement)))].map(
      (namespace) => [namespace, placement] as const,
    ),
  );
  return {
    namespaces: pairs.map(([namespace]) => namespacePlan(namespace)),
    pods: pairs.flatMap(([namespace, placement]): PodPlan[] => [
      { namespace, name: 'client', node: 'bench-a' },
      ...all.map((at) => ({ namespace, name: service(at), node: nodeAt(placement, at) })),
    ]),
    services: [],
  };
}

/**
 * The fortio flags with which service `at` calls others. `hosts`: addresses of all services, in order. The chain has ten services,
 * so its last service is the last but one of all. Pure.
 */
export function fanOut(at: number, hosts: readonly string[]): string[] {
  const next = at + 1;
  const deep =
    next < others ? [`${deepPort} http://${hosts[next]}:${next === others - 1 ? httpPort : deepPort}`] : [];
  const wide =
    at === 0
      ? [
          `${widePort} ${hosts
            .slice(1)
            .map((host) => `http://${host}:${httpPort}`)
            .join(' ')}`,
        ]
      : [];
  return [...(at === others - 1 ? [] : deep), ...wide].flatMap((target) => ['-M', target]);
}

async function start(scene: Scene, context: CostContext, fortio: string, journal: Journal): Promise<void> {
  const services = scene.pods.filter(({ name }) => name !== 'client');
  await inTurns(
    services,
    4,
    (pod) => {
      const hosts = all.map((at) => scene.pod(pod.namespace, service(at)).ip);
      const args = [...serverArgs(), ...fanOut(Number(pod.name.slice(1)), hosts)];
      return scene.serve(pod.netns, httpPort, ...asServer(fortio, args));
    },
    journal.counting('starting services', services.length),
  );
  const { envoy } = context;
  if (envoy === undefined) return;
  const pods = scene.pods.filter(({ namespace }) => namespace.startsWith('sidecar'));
  await inTurns(
    pods,
    4,
    (pod) => scene.startSidecar(pod, envoy, [httpPort, deepPort, widePort], sidecarThreads),
    journal.counting('starting sidecars', pods.length),
  );
}

async function measure(context: CostContext): ReturnType<Cost['measure']> {
  const journal = new Journal(workload.name, context);
  const { fortio } = context;
  if (fortio === undefined) {
    journal.leaveOut('all', 'there is no fortio');
    return journal.result();
  }
  const measured = available(variants, context, journal);
  await inScene(context, callGraphPlan(measured), async (scene) => {
    await start(scene, context, fortio, journal);
    const ends = (variant: VariantName, placement: CallPlacement): { netns: string; host: string } => {
      const namespace = namespaceOf(variant, placement);
      return {
        netns: scene.pod(namespace, 'client').netns,
        host: scene.pod(namespace, service(0)).ip,
      };
    };
    for (const placement of placements)
      for (const variant of measured)
        for (const port of Object.values(points)) {
          const { netns, host } = ends(variant, placement);
          await waitReachable(scene, netns, `http://${host}:${port}/?size=1`);
        }
    for (let round = 0; round < context.rounds; round++)
      for (const placement of placements)
        for (const [point, port] of Object.entries(points))
          for (const variant of orderOf(measured, round))
            await journal.take({ round, placement, variant, point }, () =>
              openLoop(scene, variant, fortio, {
                ...ends(variant, placement),
                port,
                perSecond,
                connections,
                seconds: context.quick ? context.seconds : Math.max(context.seconds, secondsMin),
              }),
            );
  });
  return journal.result();
}

export const callGraph: Cost = { workload, measure };
