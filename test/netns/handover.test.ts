/** One agent takes a node over from another: no request fails, each connection has one record, and no pod is open in between. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { sleep, until } from '../../src/base/wait.js';
import { replaceAgent } from '../../src/cli/standalone/replace-agent.js';
import type { Testbed } from '../../src/cli/standalone/testbed.js';
import { echo } from '../support/echo.js';
import { otherBuild } from '../support/other-build.js';
import { hold } from '../support/held-connection.js';
import { connectionRecords, withoutRepeats } from '../support/records.js';
import { requests, type Counts, type Requests } from '../support/requests.js';
import { DemoMesh, listening } from '../support/demo-mesh.js';

const mesh = new DemoMesh('handover');
const api = '10.244.2.10';
const cache = '10.244.1.12';
let testbed: Testbed;

before(async () => {
  await mesh.prepare();
  // One pod whose same-node connections are relayed by the agent.
  mesh.replace(
    'mesh.yaml',
    'annotations: { weft.dev/netns: weft-cache-2 }',
    'annotations: { weft.dev/netns: weft-cache-2, weft.dev/same-node: encrypted }',
  );
  testbed = mesh.create({ agentFlags: ['--drain-ms', '20000'] });
  for (const pod of ['api', 'cache', 'cache-2', 'web'])
    testbed.start(`echo-${pod}`, `weft-${pod}`, 'python3', ['-c', echo, '9000']);
  await testbed.up();
  for (const pod of ['api', 'cache', 'cache-2', 'web']) await listening(`weft-${pod}`, 9000);
});
after(() => mesh.remove());

/**
 * Requests from and to node-a: across nodes, as kernel flows, through the agent and through tunnels, with a connection per request and with
 * kept ones.
 */
function load(): Requests[] {
  return [
    requests('weft-web', api),
    requests('weft-api', '10.244.1.10'),
    requests('weft-web', cache),
    requests('weft-web', '10.244.1.13'),
    requests('weft-web', api, 9000, 100),
    requests('weft-api', '10.244.1.10', 9000, 100),
    requests('weft-web', '10.244.1.13', 9000, 100),
  ];
}
async function more(all: readonly Requests[], count = 100): Promise<void> {
  const from = await Promise.all(all.map((one) => one.counts()));
  await until('further requests', 30_000, async () => {
    const now = await Promise.all(all.map((one) => one.counts()));
    return now.every(
      ({ good, bad }, i) => good + Object.keys(bad).length >= (from[i] as Counts).good + count,
    );
  });
}
async function noneFailed(all: readonly Requests[]): Promise<void> {
  const ends = await Promise.all(all.map((one) => one.end()));
  assert.deepEqual(
    ends.map(({ bad }) => bad),
    all.map(() => ({})),
  );
}

test('an agent is replaced under load on its node: no request fails', async () => {
  const all = load();
  await more(all);
  for (let i = 0; i < 3; i++) {
    await replaceAgent(testbed, 'node-a', { onTaken: () => more(all) });
    await more(all);
  }
  await noneFailed(all);
});

test('the former agent relays its established connections and ends with the last; the new agent gets the new ones', async () => {
  const old = hold('weft-web', api);
  const back = hold('weft-api', '10.244.1.10');
  assert.equal(await old.ask(), 'hello');
  assert.equal(await back.ask(), 'hello');
  let ended = false;
  let taken = (): void => undefined;
  const isTaken = new Promise<void>((resolve) => (taken = resolve));
  const replaced = replaceAgent(testbed, 'node-a', { onTaken: taken }).then(() => (ended = true));
  await isTaken;
  const young = hold('weft-web', api);
  assert.equal(await young.ask(), 'hello');
  assert.equal(await old.ask(), 'hello');
  assert.equal(await back.ask(), 'hello');
  // A carrier keeps the connections, so the former agent has nothing to wait for.
  const isKept = testbed.relay === 'carrier';
  if (isKept) await replaced;
  assert.equal(ended, isKept);
  for (const held of isKept ? [old, back] : []) assert.equal(await held.ask(), 'hello');
  old.end();
  back.end();
  await until('the former agent ends', 30_000, () => ended);
  await replaced;
  assert.equal(await young.ask(), 'hello', 'relayed by the new agent');
  young.end();
});

test('each connection of a hand-over has one record at each node', async () => {
  const lines = (): ReturnType<typeof connectionRecords> =>
    withoutRepeats(connectionRecords(testbed.runDir('node-a')));
  const counted = async (): Promise<number> => (await sleep(500), lines().length);
  const before = await counted();
  const load = requests('weft-web', cache, 9000, 1, 2);
  const out = requests('weft-web', api, 9000, 1, 2);
  await more([load, out]);
  await replaceAgent(testbed, 'node-a', { onTaken: () => more([load, out]) });
  const [kernel, tunnels] = [await load.end(), await out.end()];
  assert.deepEqual([kernel.bad, tunnels.bad], [{}, {}]);
  const wanted = kernel.good + tunnels.good;
  await until('all connections are logged', 30_000, () => lines().length - before >= wanted);
  await sleep(500);
  const since = lines().slice(before);
  assert.equal(since.filter(({ direction }) => direction === 'outbound').length, wanted);
});

test('a build with other maps takes the node over, and this build takes it back: no request fails', async () => {
  const other = otherBuild(['weft_sock']);
  try {
    const all = load();
    await more(all);
    for (const program of [other.agent, undefined]) {
      await replaceAgent(testbed, 'node-a', { ...(program ? { program } : {}), onTaken: () => more(all) });
      await more(all);
    }
    await noneFailed(all);
  } finally {
    other.remove();
  }
});
