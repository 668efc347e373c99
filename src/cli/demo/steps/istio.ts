/** Istio's own YAML, as published guides have it: a VirtualService and a DestinationRule of a payment service. */
import { spawn } from 'node:child_process';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { until } from '../../../base/wait.js';
import { adminGet, adminPort } from '../../admin.js';
import { run } from '../../run.js';
import {
  startWaypoint,
  stopWaypoint,
  waypointNetns,
  type WaypointReplica,
} from '../../standalone/waypoint.js';
import { here, type Stage, type Step } from '../stage.js';
import { ask, podOf } from './waypoint-client.js';

const waypoint: WaypointReplica = { namespace: 'production', name: 'payments', node: 'node-a' };
const vip = '10.96.0.50';
const beta = ['-H', 'x-user-type: beta-tester'] as const;
const pods = [
  {
    name: 'payment-v1-a',
    node: 'node-a',
    netns: 'weft-pay-v1-a',
    addresses: ['10.244.1.70', 'fd00:244:1::70'],
  },
  {
    name: 'payment-v1-b',
    node: 'node-b',
    netns: 'weft-pay-v1-b',
    addresses: ['10.244.2.70', 'fd00:244:2::70'],
  },
  { name: 'payment-v2', node: 'node-b', netns: 'weft-pay-v2', addresses: ['10.244.2.71', 'fd00:244:2::71'] },
] as const;
const files = ['production', 'virtual-service', 'destination-rule'] as const;
const manifest = (name: (typeof files)[number]): string =>
  readFileSync(join(here, 'istio', `${name}.yaml`), 'utf8');

const clusterOf = (subset: string): string =>
  `outbound|80|${subset}|payment-service.production.svc.cluster.local`;

interface Cluster {
  readonly name: string;
  readonly circuitBreaker: {
    readonly connections?: { readonly active: number };
    readonly pendingRequests?: { readonly active: number };
  };
  readonly endpoints: readonly {
    readonly workload: string;
    readonly state: string;
    readonly ejectedForMs?: number;
  }[];
}
async function cluster(subset: string): Promise<Cluster | undefined> {
  const text = await adminGet(waypointNetns(waypoint), adminPort, '/clusters');
  const workers = JSON.parse(text) as { readonly clusters: readonly Cluster[] }[];
  return workers.flatMap(({ clusters }) => clusters).find(({ name }) => name === clusterOf(subset));
}

/** Whether every pod is an endpoint of its subset, and is dialed through the tunnel of its node. */
async function isWhole(): Promise<boolean> {
  const { v1 = 0, v2 = 0 } = {
    v1: (await cluster('v1'))?.endpoints.length,
    v2: (await cluster('v2'))?.endpoints.length,
  };
  return v1 === 2 && v2 === 1;
}

/** Starts the pods and the waypoint, and applies the two objects. Resolves once they are in force. */
async function start(stage: Stage): Promise<void> {
  const { testbed } = stage;
  for (const { node, ...pod } of pods) {
    testbed.addPod(node, pod as unknown as Parameters<typeof testbed.addPod>[1]);
    testbed.start(pod.name, pod.netns, process.execPath, [join(here, 'echo.js'), pod.name, '8080']);
  }
  for (const name of files) stage.write(`istio-${name}.yaml`, manifest(name));
  await startWaypoint(testbed, waypoint);
  await until('both objects are in force', 30_000, async () => {
    const answer = await ask('weft-web', `http://${vip}/`, ...beta, '--connect-timeout', '0.5');
    return answer.status === 200 && podOf(answer) === 'payment-v2' && (await isWhole());
  });
}

async function stop(stage: Stage): Promise<void> {
  await stopWaypoint(stage.testbed, waypoint, 'SIGKILL');
  for (const name of files) stage.remove(`istio-${name}.yaml`);
  for (const { name } of pods) await stage.testbed.stop(name);
}

/** An emulated machine takes long for what follows. */
const slowMsMax = 240_000;
/** So many that chance alone is beyond 5 percent once in 20 000 runs. */
const othersCount = 600;

/** The pods that respond to so many requests, one after the other. */
async function servedBy(
  path: string,
  count: number,
  ...more: readonly string[]
): Promise<Record<string, number>> {
  const format = '%{http_code} %header{x-served-by}\n';
  const args = ['-sS', '-m', '60', '--noproxy', '*', '-o', '/dev/null', '-w', format, ...more];
  const { stdout } = await run('weft-web', 'curl', [...args, `http://${vip}${path}?[1-${count}]`], slowMsMax);
  const by: Record<string, number> = {};
  for (const [, status = '', name = ''] of stdout.matchAll(/^(\d+) (.*)$/gm)) {
    const key = status === '200' ? name : `${name} ${status}`;
    by[key] = (by[key] ?? 0) + 1;
  }
  assert.equal(
    Object.values(by).reduce((sum, one) => sum + one, 0),
    count,
    'each request has a response',
  );
  return by;
}
const of = (by: Readonly<Record<string, number>>, prefix: string): number =>
  Object.entries(by).reduce((sum, [name, count]) => sum + (name.startsWith(prefix) ? count : 0), 0);

/** Sends requests of beta testers, all at once. Returns what ends the client. */
function atOnce(count: number, path: string): () => void {
  const parallel = ['-Z', '--parallel-immediate', '--parallel-max', String(count)];
  const args = ['-sS', '-m', '240', '--noproxy', '*', '-o', '/dev/null', ...parallel, ...beta];
  const command = ['curl', ...args, `http://${vip}${path}?[1-${count}]`];
  const child = spawn('nsenter', ['--net=/run/netns/weft-web', '--', ...command], { stdio: 'ignore' });
  return () => void child.kill();
}

interface Full {
  readonly connections: number;
  readonly pending: number;
  /** What the next request got. */
  readonly status: number;
  readonly tookMs: number;
}
/** Fills the connections and the queue of subset v2. */
async function overflow(): Promise<Full> {
  const counts = async (): Promise<Pick<Full, 'connections' | 'pending'>> => {
    const { connections, pendingRequests } = (await cluster('v2'))?.circuitBreaker ?? {};
    return { connections: connections?.active ?? 0, pending: pendingRequests?.active ?? 0 };
  };
  const clients: (() => void)[] = [];
  const fill = async (count: number, path: string, connections: number, pending: number): Promise<void> => {
    clients.push(atOnce(count, path));
    await until(`${connections} connections, ${pending} pending requests`, 60_000, async () => {
      const now = await counts();
      return now.connections === connections && now.pending === pending;
    });
  };
  try {
    // A request waits while its connection is opened, so they come in parts that are smaller than the queue.
    for (const [count, connections] of [
      [34, 34],
      [33, 67],
      [33, 100],
    ] as const)
      await fill(count, '/slow/200000', connections, 0);
    await fill(50, '/', 100, 50);
    const began = Date.now();
    const { status } = await ask('weft-web', `http://${vip}/`, ...beta);
    const tookMs = Date.now() - began;
    return { ...(await counts()), status, tookMs };
  } finally {
    for (const end of clients) end();
  }
}

export const istioSteps: readonly Step[] = [
  {
    name: 'istio-yaml',
    title: "Istio's own YAML: a VirtualService and a DestinationRule of a published guide, applied as files",
    run: async (stage) => {
      try {
        await start(stage);
        const testers = await servedBy('/beta', 100, ...beta);
        assert.deepEqual(testers, { 'payment-v2': 100 });
        const others = await servedBy('/', othersCount);
        const [v1, v2] = [of(others, 'payment-v1'), of(others, 'payment-v2')];
        assert.equal(v1 + v2, othersCount);
        assert.ok(Math.abs(v1 / othersCount - 0.9) <= 0.05, `${v1} of ${othersCount} at v1`);
        const full = await overflow();
        const { tookMs: _, ...seen } = full;
        assert.deepEqual(seen, { connections: 100, pending: 50, status: 503 });
        const failing = await servedBy('/fail-at/payment-v1-a', 60);
        const errors = failing['payment-v1-a 500'] ?? 0;
        const ejected = (await cluster('v1'))?.endpoints.find(({ state }) => state === 'ejected');
        assert.ok(ejected, JSON.stringify(await cluster('v1')));
        assert.ok(ejected.workload.endsWith('/payment-v1-a'), ejected.workload);
        assert.equal(errors, 5, 'ejected after 5 errors');
        const left = ejected.ejectedForMs ?? 0;
        assert.ok(left > 20_000 && left <= 30_000, `ejected for ${left} ms more`);
        const after = await servedBy('/fail-at/payment-v1-a', 60);
        assert.equal(of(after, 'payment-v1-a'), 0, 'it gets no requests meanwhile');
        return { betaTesters: testers, v1, v2, full, errors, ejectedForMsMore: left, afterwards: after };
      } finally {
        await stop(stage);
      }
    },
    summary: (e) => {
      const { connections, pending, status } = e['full'] as Record<string, number>;
      return `100 of 100 beta testers at v2; of ${othersCount} others ${String(e['v1'])} at v1 and ${String(e['v2'])} at v2; with ${connections} connections and ${pending} pending requests the next one got ${status}; an endpoint was ejected after ${String(e['errors'])} errors, for ${Math.round(Number(e['ejectedForMsMore']) / 1000)} s more`;
    },
  },
];
