/** Cost of access rules. */
import { WeftError } from '../../../src/base/errors.js';
import { cpuOf, loadProgram, numberAt, runJson } from '../../harness/load.js';
import { orderOf } from '../../harness/statistics.js';
import { httpPort, serverArgs } from '../../load/fortio.js';
import type { Workload } from '../../result/result.js';
import { trustDomain } from '../../peers/issuer.js';
import type { PlacedPod, PodPlan, ScenePlan } from '../plan.js';
import type { Scene } from '../scene.js';
import {
  asServer,
  available,
  waitReachable,
  inScene,
  inTurns,
  Journal,
  namespaceOf,
  namespacePlan,
  nodeOf,
  openLoop,
  refuses,
  sidecarThreads,
  type Cost,
  type CostContext,
  type Measured,
  type OpenLoop,
  type VariantName,
} from './cost.js';

const perSecond = 200;
const connections = 4;
const echoPort = 7000;
/** Number of new connections in flight. */
const atOnce = 8;
/** Maximum number of rules of an AccessPolicy. */
const rulesPerPolicy = 1000;
const secondsMax = 1;
const warmSeconds = 0.3;
const slackMs = 30_000;
const placements = ['same-node', 'cross-node'] as const;
const variants = ['none', 'none-again', 'sidecar', 'weft'] as const;

const workload: Workload = {
  name: 'policies',
  title: 'rules about who may connect',
  kind: 'cost',
  pointTitle: 'rules',
  about:
    `Rules that each allow one identity apply to the server; the last allows the client. p50: fortio, HTTP/1.1, ${connections} ` +
    `connections, ${perSecond} requests a second. per second: new connections, each with a byte to and fro, ${atOnce} at once. ` +
    `Weft: AccessPolicies of at most ${rulesPerPolicy} rules. Sidecar: Envoy's network RBAC filter, a policy for each rule. ` +
    `No mesh: without rules throughout. Before it is measured, each mesh has to refuse a pod that no rule allows.`,
};

const serverName = (placement: string, rules: number): string => `${placement}-${rules}`;

/** Service accounts in the order of their rules. The client is last. Empty: no rules. Pure. */
export const allowedAccounts = (rules: number): string[] =>
  Array.from({ length: rules }, (_, at) => (at === rules - 1 ? 'client' : `nobody-${at}`));

/** AccessPolicies of a server, in order of evaluation, which is the order of their names. Pure. */
export function accessPolicies(namespace: string, server: string, rules: number): object[] {
  const accounts = allowedAccounts(rules);
  return Array.from({ length: Math.ceil(rules / rulesPerPolicy) }, (_, at) => ({
    apiVersion: 'weft.dev/v1alpha1',
    kind: 'AccessPolicy',
    metadata: { name: `${server}-${String(at).padStart(4, '0')}`, namespace },
    spec: {
      action: 'ALLOW',
      selector: { matchLabels: { app: server } },
      rules: accounts
        .slice(at * rulesPerPolicy, (at + 1) * rulesPerPolicy)
        .map((account) => ({ from: [{ serviceAccounts: [`${namespace}/${account}`] }] })),
    },
  }));
}

/** Each number of rules has its own servers, so that no configuration changes during a measurement. Pure. */
export function policiesPlan(of: readonly VariantName[], points: readonly number[]): ScenePlan {
  const namespaces = [...new Set(of.map(namespaceOf))];
  const servers = placements.flatMap((placement) =>
    points.map((rules) => ({ name: serverName(placement, rules), node: nodeOf[placement], rules })),
  );
  return {
    namespaces: namespaces.map(namespacePlan),
    pods: namespaces.flatMap((namespace): PodPlan[] => [
      { namespace, name: 'client', node: 'bench-a' },
      { namespace, name: 'intruder', node: 'bench-a' },
      ...servers.map(({ name, node }) => ({ namespace, name, node })),
    ]),
    services: [],
    further: namespaces.includes('weft')
      ? servers.flatMap(({ name, rules }) => accessPolicies('weft', name, rules))
      : [],
  };
}

const isServer = ({ name }: PlacedPod): boolean => name !== 'client' && name !== 'intruder';

async function start(scene: Scene, context: CostContext, fortio: string, journal: Journal): Promise<void> {
  journal.progress('starting servers');
  await inTurns(scene.pods.filter(isServer), 4, async (pod) => {
    await scene.serve(pod.netns, httpPort, ...asServer(fortio, serverArgs()));
    await scene.serve(pod.netns, echoPort, loadProgram('echo'), [String(echoPort), String(cpuOf.server)]);
  });
  const { envoy } = context;
  if (envoy === undefined) return;
  journal.progress('starting sidecars');
  await inTurns(
    scene.pods.filter(({ namespace }) => namespace === 'sidecar'),
    4,
    (pod) => {
      const rules = isServer(pod) ? Number(pod.name.split('-').at(-1)) : 0;
      const allowed = allowedAccounts(rules).map((name) => `spiffe://${trustDomain}/ns/sidecar/sa/${name}`);
      return scene.startSidecar(
        pod,
        envoy,
        [httpPort],
        sidecarThreads,
        allowed.length > 0 ? allowed : undefined,
      );
    },
  );
}

/** Proves that the rules are enforced. The requests also warm up the path. */
async function prove(scene: Scene, variant: VariantName, points: readonly number[]): Promise<void> {
  const namespace = namespaceOf(variant);
  for (const placement of placements)
    for (const rules of points) {
      const { ip } = scene.pod(namespace, serverName(placement, rules));
      const url = `http://${ip}:${httpPort}/?size=1`;
      if (rules > 0 && variant !== 'none') await refuses(scene, scene.pod(namespace, 'intruder').netns, url);
      const { netns } = scene.pod(namespace, 'client');
      await waitReachable(scene, netns, url);
      await newConnections(netns, ip, warmSeconds);
    }
}

async function newConnections(netns: string, ip: string, seconds: number): Promise<Measured> {
  const milliseconds = Math.round(seconds * 1000);
  const args = [ip, echoPort, cpuOf.client, 1, milliseconds, atOnce].map(String);
  const found = await runJson(netns, loadProgram('connections'), args, milliseconds + slackMs);
  return { values: { perSecond: numberAt(found, 'per_second') } };
}

/** Throws WEFT_COMMAND if the request rate was not reached, because `perSecond` of this workload is a rate of connections. */
async function median(scene: Scene, variant: VariantName, fortio: string, loop: OpenLoop): Promise<Measured> {
  const { values, short } = await openLoop(scene, variant, fortio, loop);
  if (short !== undefined) throw new WeftError('WEFT_COMMAND', short);
  return { values: { p50: values['p50'] as number } };
}

async function measure(context: CostContext): ReturnType<Cost['measure']> {
  const journal = new Journal(workload.name, context);
  const { fortio } = context;
  if (fortio === undefined) {
    journal.leaveOut('all', 'there is no fortio');
    return journal.result();
  }
  const points = context.quick ? [0, 100] : [0, 100, 10_000];
  const measured = available(variants, context, journal);
  const seconds = Math.min(context.seconds, secondsMax);
  await inScene(context, policiesPlan(measured, points), async (scene) => {
    await start(scene, context, fortio, journal);
    for (const variant of measured) if (variant !== 'none-again') await prove(scene, variant, points);
    for (let round = 0; round < context.rounds; round++)
      for (const placement of placements)
        for (const rules of points)
          for (const variant of orderOf(measured, round)) {
            const namespace = namespaceOf(variant);
            const { netns } = scene.pod(namespace, 'client');
            const { ip } = scene.pod(namespace, serverName(placement, rules));
            const at = { round, placement, variant, point: String(rules) };
            await journal.take(at, () => newConnections(netns, ip, seconds / 2));
            await journal.take(at, () =>
              median(scene, variant, fortio, {
                netns,
                host: ip,
                port: httpPort,
                perSecond,
                connections,
                seconds,
              }),
            );
          }
  });
  return journal.result();
}

export const policies: Cost = { workload, measure };
