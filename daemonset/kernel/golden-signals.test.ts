import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pod as nodePod } from '../../test/support/mesh.js';
import { parseIp } from '../../src/model/address.js';
import type { Opening } from '../../src/telemetry/connection-record.js';
import type { ObservedRequests } from '../../src/telemetry/observed-requests.js';
import { decodeRequests, type KernelRequests } from '../maps/requests.js';
import { RequestKey, RequestsRow } from '../maps/rows.generated.js';
import type { LocalPod } from '../worker-ipc.js';
import { GoldenSignals } from './golden-signals.js';

const local = (name: string, cookie: bigint, goldenSignals: boolean): LocalPod =>
  ({ pod: nodePod(name, '10.0.0.1', { goldenSignals }), netns: { path: '', cookie } }) as unknown as LocalPod;

const counted = (source: bigint, destination: bigint, template: string): KernelRequests =>
  decodeRequests(
    RequestKey.encode({
      ...{
        source,
        destination,
        dialled: parseIp('10.96.0.1'),
        dport: 8080,
        dialledPort: 80,
        method: 3,
        status: 201,
      },
      template: Buffer.concat([Buffer.from(template), Buffer.alloc(64)]).subarray(0, 64),
    }),
    RequestsRow.encode({
      ...{ count: 3n, sum: 6_000_000n },
      latency: [0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    }),
  );

function bench(pods: readonly LocalPod[], attach: (isWanted: boolean) => Promise<void>) {
  let rows: KernelRequests[] = [];
  const reported: { readonly direction: string; readonly requests: ObservedRequests }[] = [];
  const errors: unknown[] = [];
  const signals = new GoldenSignals({
    attach,
    take: () => rows.splice(0),
    pods: () => pods,
    podOf: (cookie) => pods.find(({ netns }) => netns.cookie === cookie),
    openingOf: () => ({ direction: 'outbound' }) as Opening,
    metrics: { observedMany: ({ direction }, requests) => void reported.push({ direction, requests }) },
    onError: (error) => errors.push(error),
  });
  const tick = async (...seen: KernelRequests[]): Promise<void> => {
    rows = seen;
    signals.tick();
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { tick, reported, errors };
}

test('a row of the kernel is decoded: method, template, status, latencies', () => {
  const { requests } = counted(1n, 2n, '/orders/*');
  assert.deepEqual(
    [requests.method, requests.pathTemplate, requests.status, requests.count, requests.durationSumMs],
    ['POST', '/orders/*', 201, 3, 6],
  );
  assert.equal(requests.latencyCounts[2], 3);
  assert.equal(counted(1n, 2n, '').requests.pathTemplate, '/other');
  assert.equal(counted(1n, 2n, 'x'.repeat(64)).requests.pathTemplate.length, 64);
});

test('each side reports by the label of its own namespace, and what neither asks for is dropped', async () => {
  const [golden, other] = [local('golden', 1n, true), local('other', 2n, false)];
  const { tick, reported } = bench([golden, other], () => Promise.resolve());
  await tick(
    counted(1n, 2n, '/a'),
    counted(2n, 1n, '/b'),
    counted(2n, 2n, '/c'),
    counted(1n, 1n, '/d'),
    counted(9n, 8n, '/e'),
  );
  assert.deepEqual(
    reported.map(({ direction, requests }) => [direction, requests.pathTemplate]),
    [
      ['outbound', '/a'],
      ['inbound', '/b'],
      ['outbound', '/d'],
      ['inbound', '/d'],
    ],
  );
});

test('what was counted while nobody wanted it is never reported', async () => {
  const pods = [local('other', 1n, false)];
  const { tick, reported } = bench(pods, () => Promise.resolve());
  await tick();
  await tick(counted(1n, 1n, '/while-out'));
  pods[0] = local('other', 1n, true);
  await tick();
  assert.deepEqual(reported, []);
});

test('the program is attached while a pod wants it, and an attachment that failed is tried again later', async () => {
  const calls: boolean[] = [];
  const pods = [local('other', 2n, false)];
  let isBroken = false;
  const { tick, errors } = bench(pods, (isWanted) => {
    calls.push(isWanted);
    return isBroken ? Promise.reject(new Error('no')) : Promise.resolve();
  });
  await tick();
  await tick();
  assert.deepEqual(calls, [false], 'one that a former agent left is detached, once');
  pods.push(local('golden', 1n, true));
  isBroken = true;
  await tick();
  await tick();
  assert.deepEqual([calls, errors.length], [[false, true], 1]);
  isBroken = false;
  for (let i = 0; i < 60; i++) await tick();
  assert.deepEqual(calls, [false, true, true]);
  pods.pop();
  await tick();
  assert.deepEqual(calls, [false, true, true, false]);
});
