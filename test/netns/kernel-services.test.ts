/** Services that the kernel balances at connect(). */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { until } from '../../src/base/wait.js';
import { formatSocketAddress, parseIp, type SocketAddress } from '../../src/model/address.js';
import { bucketOf, preferredOf } from '../../src/state/affinity.js';
import { KernelTestbed, cacheVip, client, exchange, dial } from '../support/kernel-testbed.js';

const mesh = new KernelTestbed('/run/weft/test-kernel-services');
before(() => mesh.up());
after(() => mesh.down());

/** The endpoints of twelve connections to the service; undefined unless all of them are kernel flows. */
async function spread(): Promise<string[] | undefined> {
  const at = mesh.records().length;
  await client('weft-web', `for _ in range(12): ${dial(cacheVip, 6379)}; ${exchange}`);
  const found = await until('all are logged', 30_000, () => {
    const mine = mesh
      .records()
      .slice(at)
      .filter(({ dialled }) => dialled === `${cacheVip}:6379`);
    return mine.length >= 12 && mine;
  });
  return found.every(({ path }) => path === 'kernel')
    ? [...new Set(found.map(({ destination }) => destination.pod))].sort()
    : undefined;
}

test('a service is balanced at connect(), and an endpoint that is not ready gets no new connections', async () => {
  await until('both endpoints get connections', 30_000, async () => (await spread())?.length === 2);
  const original = readFileSync(join(mesh.manifests, 'mesh.yaml'), 'utf8');
  const podIps = "podIPs: [{ ip: 10.244.1.13 }, { ip: 'fd00:244:1::13' }]";
  assert.ok(original.includes(podIps));
  mesh.write(
    'mesh.yaml',
    original.replace(podIps, `${podIps}, conditions: [{ type: Ready, status: 'False' }]`),
  );
  try {
    await until('the agent knows', 30_000, async () => {
      const { workloads } = await mesh.dump<{ workloads: { name: string; healthy: boolean }[] }>();
      return workloads.some(({ name, healthy }) => name === 'cache-2' && !healthy);
    });
    for (let i = 0; i < 2; i++)
      assert.deepEqual(await until('all connections are kernel flows', 30_000, spread), ['cache']);
  } finally {
    mesh.write('mesh.yaml', original);
  }
});

test('with session affinity all connections of a pod go to one endpoint, through the agent and as kernel flows, over IPv4 and IPv6', async () => {
  const original = readFileSync(join(mesh.manifests, 'mesh.yaml'), 'utf8');
  const clusterIps = "clusterIPs: [10.96.0.12, 'fd00:96::12']";
  assert.ok(original.includes(clusterIps));
  mesh.write('mesh.yaml', original.replace(clusterIps, `${clusterIps}\n  sessionAffinity: ClientIP`));
  const endpoints = {
    [cacheVip]: ['10.244.1.12', '10.244.1.13'],
    'fd00:96::12': ['fd00:244:1::12', 'fd00:244:1::13'],
  };
  const clients = {
    'weft-web': ['10.244.1.10', 'fd00:244:1::10'],
    'weft-intruder': ['10.244.1.11', 'fd00:244:1::11'],
  };
  const socketAddress = (ip: string): SocketAddress => ({ ip: parseIp(ip), port: 6379 });
  try {
    await until('the agent knows', 30_000, async () => {
      const { services } = await mesh.dump<{ services: { name: string; sessionAffinity?: string }[] }>();
      return services.some(
        ({ name, sessionAffinity }) => name === 'cache' && sessionAffinity === 'client-ip',
      );
    });
    for (const [netns, [ip4 = '', ip6 = '']] of Object.entries(clients)) {
      for (const [vip, from] of Object.entries(endpoints)) {
        const bucket = bucketOf(parseIp(vip.includes(':') ? ip6 : ip4));
        const expected = preferredOf(from, socketAddress, bucket) ?? '';
        const at = mesh.records().length;
        await client(netns, `for _ in range(8): ${dial(vip, 6379)}; ${exchange}; time.sleep(0.1)`);
        const mine = await until('all are logged', 30_000, () => {
          const found = mesh.records().slice(at);
          return found.length >= 8 && found;
        });
        assert.ok(
          mine.some(({ path }) => path === 'kernel'),
          `${netns} to ${vip}`,
        );
        for (const { destination } of mine)
          assert.equal(
            destination.address,
            formatSocketAddress(socketAddress(expected)),
            `${netns} to ${vip}`,
          );
      }
    }
  } finally {
    mesh.write('mesh.yaml', original);
  }
});
