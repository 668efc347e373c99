/** Replacement of agents under load on a real cluster: the one of KUBECONFIG, or else one on this machine (test/cluster/up). */
import assert from 'node:assert/strict';
import { after, before, test, type TestContext } from 'node:test';
import { sleep, until } from '../../src/base/wait.js';
import {
  applyOnNodes,
  chart,
  eitherAgent,
  httpGet,
  installChart,
  kubectl,
  packNodeImage,
  releaseCluster,
  run,
  system,
  takeCluster,
} from '../support/cluster.js';

const places = [1, 2] as const;

interface ClientResults {
  readonly good: number;
  readonly bad: number;
  readonly errors: readonly string[];
}
type ResultsByClient = Readonly<Record<string, ClientResults>>;

/** Results so far by client and kind of connection. */
async function clientResults(): Promise<ResultsByClient> {
  const each = await Promise.all(
    places.map(async (place) => {
      const text = await kubectl(
        '-n',
        'handover',
        'exec',
        `deploy/client-${place}`,
        '--',
        'node',
        '-e',
        httpGet('http://localhost:9000/'),
      );
      return Object.entries(JSON.parse(text) as ResultsByClient).map(
        ([name, one]) => [`${place} ${name}`, one] as const,
      );
    }),
  );
  return Object.fromEntries(each.flat());
}
/** Waits until every client has `count` more responses than in `before`. Returns the failures since then. */
async function failuresSince(before: ResultsByClient, count = 50): Promise<string[]> {
  const now = await until(`${count} more responses for each client`, 60_000, async () => {
    const all = await clientResults();
    return Object.entries(all).every(([name, { good }]) => good - (before[name]?.good ?? 0) >= count) && all;
  });
  return Object.entries(now).flatMap(([name, { bad, errors }]) => {
    const more = bad - (before[name]?.bad ?? 0);
    return more > 0 ? [`${name}: ${more} failed, the last ${errors.slice(-more).join('; ')}`] : [];
  });
}

interface AgentPod {
  readonly name: string;
  readonly node: string;
  readonly ready: boolean;
  readonly restarts: number;
}
async function agents(selector = 'app=weft-agent'): Promise<AgentPod[]> {
  const found = JSON.parse(await system('get', 'pod', '-l', selector, '-o', 'json')) as {
    items: {
      metadata: { name: string; deletionTimestamp?: string };
      spec: { nodeName: string };
      status: {
        conditions?: { type: string; status: string }[];
        containerStatuses?: { restartCount: number }[];
      };
    }[];
  };
  return found.items.map(({ metadata, spec, status }) => ({
    name: metadata.name,
    node: spec.nodeName,
    ready:
      metadata.deletionTimestamp === undefined &&
      status.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True') === true,
    restarts: status.containerStatuses?.[0]?.restartCount ?? 0,
  }));
}
/** Waits until each node has one ready agent, no other, and none of `former`. */
async function allReplaced(former: readonly AgentPod[]): Promise<void> {
  await until('each node has one agent, which is new', 120_000, async () => {
    const now = await agents(eitherAgent);
    return (
      now.length === places.length &&
      now.every(({ name, ready }) => ready && !former.some((one) => one.name === name))
    );
  });
}
const upgrade = (...args: string[]): Promise<string> =>
  run('helm', 'upgrade', 'weft', ...chart, '--reuse-values', ...args);

before(async () => {
  await takeCluster();
  await packNodeImage();
  await installChart();
  await applyOnNodes('handover', ['weft.dev/mesh=enabled'], 'handover.yaml', places, (place) => ({
    LOCALITY: place === 1 ? 'kernel' : 'encrypted',
  }));
  for (const place of places)
    for (const name of ['server', 'client'])
      await kubectl('-n', 'handover', 'rollout', 'status', `deploy/${name}-${place}`, '--timeout=90s');
  // A client's first requests may come before its server is ready.
  await until('the clients are served', 60_000, async () => {
    const first = await clientResults();
    await sleep(500);
    return (await failuresSince(first, 20)).length === 0;
  });
});
after(async () => {
  await kubectl('delete', 'namespace', 'handover', '--ignore-not-found', '--wait=false').catch(() => '');
  await releaseCluster();
});

const measured = async (t: TestContext, what: string, work: () => Promise<void>): Promise<void> => {
  const began = performance.now();
  await work();
  t.diagnostic(`${what}: ${((performance.now() - began) / 1000).toFixed(1)} s`);
};

test('a chart upgrade that changes the agents: no request fails', async (t) => {
  const former = await agents();
  const start = await clientResults();
  await measured(t, 'all agents replaced', async () => {
    await upgrade('--set', 'agent.extraArgs={--splice-bytes-max=1048576}');
    await allReplaced(former);
  });
  assert.deepEqual(await failuresSince(start), []);
});

test('deleted agent pods: their successors start beside them, and no request fails', async (t) => {
  const former = await agents();
  const start = await clientResults();
  await measured(t, 'both agents replaced', async () => {
    await system('delete', 'pod', '--wait=false', ...former.map(({ name }) => name));
    await allReplaced(former);
  });
  assert.deepEqual(await failuresSince(start), []);
});

test('a version that cannot start never becomes ready: the old agents keep running, and no request fails', async () => {
  const former = await agents();
  const start = await clientResults();
  await upgrade('--set', 'agent.extraArgs={--no-such-flag}', '--set', 'agent.maxSurge=100%');
  await until('the new agents keep restarting', 90_000, async () => {
    const broken = (await agents()).filter(({ name }) => !former.some((one) => one.name === name));
    return broken.length === places.length && broken.every(({ ready, restarts }) => !ready && restarts > 1);
  });
  const now = await agents();
  for (const { name } of former) assert.equal(now.find((one) => one.name === name)?.ready, true, name);
  assert.deepEqual(await failuresSince(start), []);
  await upgrade('--set-json', 'agent.extraArgs=[]');
  await allReplaced(now.filter(({ ready }) => !ready));
  assert.deepEqual(await failuresSince(start), []);
});
