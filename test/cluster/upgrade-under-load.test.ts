/**
 * Upgrades of agents and of carriers under bulk and request load across nodes, on a real cluster: the one of KUBECONFIG, or else one on this
 * machine (test/cluster/up). Nothing is cut, what is forbidden afterwards is, and each connection has one record at either end.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test, type TestContext } from 'node:test';
import { until } from '../../src/base/wait.js';
import type { RelayStatus } from '../../src/model/relay.js';
import { AgentLogs } from '../support/agent-logs.js';
import { withoutRepeats } from '../support/records.js';
import {
  applyOnNodes,
  applyText,
  chart,
  eitherAgent,
  here,
  httpGet,
  installChart,
  kubectl,
  packNodeImage,
  releaseCluster,
  run,
  system,
  takeCluster,
  weft,
  weftImage,
} from '../support/cluster.js';

const places = [1, 2] as const;
const carrierImage = `${weftImage}-carrier`;
const eitherCarrier = 'app in (weft-carrier,weft-carrier-draining)';
let logs: AgentLogs;

interface Requests {
  readonly good: number;
  readonly bad: number;
  readonly errors: readonly string[];
  /** Local ports of connections with a response, in order. */
  readonly ports: readonly number[];
}
interface Client {
  readonly requests: Readonly<Record<string, Requests>>;
  readonly downloads: readonly { readonly port: number; readonly bytes: number; readonly result: string }[];
}
/** The clients of both nodes, after a command (test/cluster/manifests/upgrade.yaml). */
const clients = (command = ''): Promise<Client[]> =>
  Promise.all(
    places.map(
      async (place) =>
        JSON.parse(
          await kubectl(
            '-n',
            'upgrade',
            'exec',
            `client-${place}`,
            '--',
            'node',
            '-e',
            httpGet(`http://localhost:9000/${command}`),
          ),
        ) as Client,
    ),
  );
const requestsOf = (all: readonly Client[]): (readonly [string, Requests])[] =>
  all.flatMap(({ requests }, i) =>
    Object.entries(requests).map(([name, one]) => [`${i + 1} ${name}`, one] as const),
  );
const downloadsOf = (all: readonly Client[]): Client['downloads'] =>
  all.flatMap(({ downloads }) => downloads);

/** Waits for `count` more responses of each kind, and for bytes on each open download. Resolves with the failures since `before`. */
async function failuresSince(before: readonly Client[], count = 50): Promise<string[]> {
  const former = new Map(requestsOf(before));
  const now = await until(`${count} more responses of each kind`, 240_000, async () => {
    const all = await clients();
    return (
      requestsOf(all).every(([name, { good }]) => good - (former.get(name)?.good ?? 0) >= count) &&
      downloadsOf(all).every(
        ({ result, bytes }, i) => result !== 'open' || bytes > (downloadsOf(before)[i]?.bytes ?? 0),
      ) &&
      all
    );
  });
  return [
    ...requestsOf(now).flatMap(([name, { bad, errors, ports }]) => {
      const { bad: badBefore = 0, ports: portsBefore = [] } = former.get(name) ?? {};
      return [
        ...(bad > badBefore
          ? [`${name}: ${bad - badBefore} failed: ${errors.slice(badBefore - bad).join('; ')}`]
          : []),
        ...(name.includes('kept') && ports.at(-1) !== portsBefore.at(-1)
          ? [`${name}: another connection`]
          : []),
      ];
    }),
    ...now.flatMap(({ downloads }, i) =>
      downloads
        .filter(({ result }, n) => before[i]?.downloads[n]?.result === 'open' && result !== 'open')
        .map(({ result, bytes }) => `${i + 1} download: ${result} after ${bytes} bytes`),
    ),
  ];
}

/** Starts two downloads in each direction and waits for their first bytes. */
async function startDownloads(): Promise<void> {
  await clients('start');
  await clients('start');
  await until('downloads have begun', 120_000, async () =>
    downloadsOf(await clients()).every(({ bytes }) => bytes > 0),
  );
}
/** The downloads that are open come to their end, with the right hash. Resolves with their bytes. */
async function finishDownloads(): Promise<number> {
  const open = (await clients()).map(({ downloads }) => downloads.map(({ result }) => result === 'open'));
  await clients('finish');
  const now = await until('downloads have ended', 120_000, async () => {
    const all = await clients();
    return downloadsOf(all).every(({ result }) => result !== 'open') && all;
  });
  const ended = now.flatMap(({ downloads }, i) => downloads.filter((_, n) => open[i]?.[n]));
  assert.equal(ended.length, 4);
  for (const { result, bytes } of ended) assert.equal(result, 'complete', `after ${bytes} bytes`);
  return ended.reduce((sum, { bytes }) => sum + bytes, 0);
}

interface Pod {
  readonly name: string;
  readonly node: string;
  readonly isReady: boolean;
  readonly isEnding: boolean;
  readonly restarts: number;
}
async function pods(selector: string): Promise<Pod[]> {
  const { items } = JSON.parse(await system('get', 'pod', '-l', selector, '-o', 'json')) as {
    items: {
      metadata: { name: string; deletionTimestamp?: string };
      spec: { nodeName: string };
      status: {
        conditions?: { type: string; status: string }[];
        containerStatuses?: { restartCount: number }[];
      };
    }[];
  };
  return items.map(({ metadata, spec, status }) => ({
    name: metadata.name,
    node: spec.nodeName,
    isReady: status.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True') === true,
    isEnding: metadata.deletionTimestamp !== undefined,
    restarts: status.containerStatuses?.[0]?.restartCount ?? 0,
  }));
}
/** Addresses of the clients, by place. */
const clientIps = async (): Promise<string[]> =>
  (
    await kubectl(
      '-n',
      'upgrade',
      'get',
      'pod',
      ...places.map((place) => `client-${place}`),
      '-o',
      'jsonpath={.items[*].status.podIP}',
    )
  ).split(' ');
const names = (some: readonly Pod[]): string[] => some.map(({ name }) => name).sort();
/** Waits until each node has one ready pod that is none of `former`. Those that end may be left. */
async function replaced(selector: string, former: readonly Pod[]): Promise<void> {
  await until(`each node has a new pod: ${selector}`, 300_000, async () => {
    const now = (await pods(selector)).filter(({ isEnding }) => !isEnding);
    return (
      now.length === places.length &&
      now.every(({ name, isReady }) => isReady && !names(former).includes(name))
    );
  });
}
const gone = (selector: string, former: readonly Pod[]): Promise<unknown> =>
  until(`former pods have ended: ${selector}`, 240_000, async () =>
    names(await pods(selector)).every((name) => !names(former).includes(name)),
  );

/** What `weft status` says of the nodes' relays. */
async function relays(): Promise<RelayStatus[]> {
  const { nodes } = JSON.parse(await weft('status', '--json')) as {
    nodes: { agent: { status: { relay: RelayStatus } } }[];
  };
  return nodes.map(({ agent }) => agent.status.relay);
}
const upgrade = (...args: string[]): Promise<string> =>
  run('helm', 'upgrade', 'weft', ...chart, '--reuse-values', ...args);
const measured = async (t: TestContext, what: string, work: () => Promise<void>): Promise<void> => {
  const began = performance.now();
  await work();
  t.diagnostic(`${what}: ${((performance.now() - began) / 1000).toFixed(1)} s`);
};

const closed = `apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: closed, namespace: upgrade }
spec: { action: DENY, rules: [{ from: [{ namespaces: [upgrade] }] }] }
`;
const served = (): Promise<unknown> =>
  until(
    'the clients are served',
    120_000,
    async () => (await failuresSince(await clients(), 20)).length === 0,
  );

before(async () => {
  await takeCluster();
  await packNodeImage();
  const version = await run(join(here, '../../native/carrier/version'));
  await run(join(here, 'tag-image'), `${weftImage}:0.1.0`, `${weftImage}:next`);
  await run(join(here, 'tag-image'), `${carrierImage}:${version}`, `${carrierImage}:next`);
  await installChart('--set', 'relay=carrier');
  await system('rollout', 'status', 'ds/weft-carrier', '--timeout=60s');
  logs = new AgentLogs();
  const labels = ['weft.dev/mesh=enabled', 'weft.dev/mode=strict'];
  await applyOnNodes('upgrade', labels, 'upgrade.yaml', places, (place) => ({ OTHER: String(3 - place) }));
  await kubectl('-n', 'upgrade', 'wait', 'pod', '--all', '--for=condition=Ready', '--timeout=120s');
  // A client's first requests may come before its server is ready.
  await served();
});
after(async () => {
  await logs.stop();
  await releaseCluster('upgrade');
});

test('an upgrade of the agents on all nodes: no connection is cut and no request fails', async (t) => {
  await startDownloads();
  const start = await clients();
  const agents = await pods(eitherAgent);
  const carriers = await pods(eitherCarrier);
  await measured(t, 'all agents replaced', async () => {
    await upgrade('--set', 'image.tag=next');
    await replaced(eitherAgent, agents);
    await gone(eitherAgent, agents);
  });
  assert.deepEqual(await failuresSince(start), []);
  assert.deepEqual(names(await pods(eitherCarrier)), names(carriers), 'the same carriers');
  t.diagnostic(`${((await finishDownloads()) / 1e6).toFixed(0)} MB`);
});

test('the new agents cut what a policy forbids afterwards, and record why', async () => {
  await startDownloads();
  const start = new Map(requestsOf(await clients()));
  const ips = await clientIps();
  await applyText(closed);
  const downloads = await until('everything is cut', 30_000, async () => {
    const all = await clients();
    return (
      downloadsOf(all).every(({ result }) => result !== 'open') &&
      requestsOf(all).every(([name, { bad }]) => bad > (start.get(name)?.bad ?? 0)) &&
      all.flatMap((one, i) => one.downloads.slice(-2).map((download) => ({ ...download, ip: ips[i] })))
    );
  }).finally(() => kubectl('-n', 'upgrade', 'delete', 'accesspolicy', 'closed'));
  const current = names(await pods('app=weft-agent'));
  for (const { ip, port, result } of downloads) {
    assert.match(result, /aborted|ECONNRESET/);
    const record = await until(`the record of ${ip}:${port}`, 10_000, () =>
      logs.records.find(
        ({ path, source, ended }) =>
          path === 'inbound-hbone' &&
          source.address === `${ip}:${port}` &&
          ended === 'cut: policy upgrade/closed rule 0 denies it',
      ),
    );
    assert.ok(current.includes(record.agent), record.agent);
  }
  await served();
});

test('an upgrade of the carriers: new connections are the new ones, the former ones keep theirs until they end', async (t) => {
  await startDownloads();
  const start = await clients();
  const carriers = await pods(eitherCarrier);
  await measured(t, 'all carriers replaced', async () => {
    await upgrade('--set', 'carrier.image.tag=next');
    await replaced(eitherCarrier, carriers);
  });
  assert.deepEqual(await failuresSince(start), []);
  const current = names((await pods(eitherCarrier)).filter(({ isEnding }) => !isEnding));
  for (const { carriers: found } of await relays()) {
    const [used, former] = found;
    assert.ok(used && former && found.length === 2, JSON.stringify(found));
    assert.ok(!used.isDraining && current.includes(used.name), JSON.stringify(used));
    // Two downloads and three kept connections of the client, and those of the server.
    assert.ok(former.isDraining && former.flows >= 10, JSON.stringify(former));
  }
  t.diagnostic(`${((await finishDownloads()) / 1e6).toFixed(0)} MB`);
  await clients('renew');
  await gone(eitherCarrier, carriers);
  for (const { carriers: found } of await relays()) assert.equal(found.length, 1);
});

test('a rollback of agents and carriers at once: no connection is cut and no request fails', async (t) => {
  await startDownloads();
  const start = await clients();
  const agents = await pods(eitherAgent);
  const carriers = await pods(eitherCarrier);
  await measured(t, 'all agents and carriers replaced', async () => {
    await run('helm', 'rollback', 'weft', '1', '-n', 'weft-system');
    await replaced(eitherAgent, agents);
    await replaced(eitherCarrier, carriers);
    await gone(eitherAgent, agents);
  });
  assert.deepEqual(await failuresSince(start), []);
  t.diagnostic(`${((await finishDownloads()) / 1e6).toFixed(0)} MB`);
  await clients('renew');
  await gone(eitherCarrier, carriers);
});

test('each connection that carried bytes has exactly one record at either end', async (t) => {
  await clients('stop');
  const ips = await clientIps();
  const connections = (await clients()).flatMap(({ requests, downloads }, i) =>
    [
      ...Object.values(requests).flatMap(({ ports }) => ports),
      ...downloads.filter(({ bytes }) => bytes > 0).map(({ port }) => port),
    ].map((port) => `${ips[i]}:${port}`),
  );
  t.diagnostic(`${connections.length} connections`);
  for (const path of ['hbone', 'inbound-hbone']) {
    const differing = (): string[] => {
      const left = new Map<string, number>();
      for (const address of connections) left.set(address, (left.get(address) ?? 0) + 1);
      for (const { source, path: is, direction, bytesSent, bytesReceived } of withoutRepeats(logs.records)) {
        const count = left.get(source.address);
        // A connection that was cut before it had a response may have had a port that another one had before or has later.
        const responseBytes = direction === 'outbound' ? bytesReceived : bytesSent;
        if (is === path && count !== undefined && responseBytes > 0) left.set(source.address, count - 1);
      }
      return [...left].filter(([, count]) => count !== 0).map(([address, count]) => `${address}: ${-count}`);
    };
    await until('the last records', 30_000, () => differing().length === 0).catch(() => undefined);
    assert.deepEqual(differing(), [], `too many or too few records of ${path}`);
  }
});
