import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { adminGet, adminPort } from '../../src/cli/admin.js';
import { until } from '../../src/base/wait.js';
import { formatSocketAddress, type IpAddress } from '../../src/model/address.js';
import type { Testbed } from '../../src/cli/standalone/testbed.js';
import type { ConnectionRecord } from '../../src/telemetry/connection-record.js';
import { connectionRecords } from '../support/records.js';
import { DemoMesh } from '../support/demo-mesh.js';
import { buildSoak, connections, driveSoak, seconds, soakPort } from '../support/soak.js';

/** Small, so that readers exceed it again and again, and their connections are handed to TCP and back. */
const spliceBytesMax = 128 << 10;
const mesh = new DemoMesh('soak');
let program: string;
let testbed: Testbed;

before(async () => {
  await mesh.prepare();
  mesh.namespace('weft.dev/mesh: enabled, weft.dev/mode: strict', 'weft.dev/splice: "on"');
  program = buildSoak(mesh.manifests);
  testbed = mesh.create({
    agentFlags: ['--splice-bytes-max', String(spliceBytesMax)],
  });
  for (const pod of ['cache', 'api'])
    testbed.start(`soak-${pod}`, `weft-${pod}`, program, ['serve', String(soakPort)]);
  await testbed.up();
});
after(() => mesh.remove());

const cases: [path: string, name: string, ip: string, pod: string][] = [
  ['kernel', 'the kernel', '10.244.1.12', 'cache'],
  ['kernel', 'the kernel, by IPv6', 'fd00:244:1::12', 'cache'],
  ['hbone', 'a tunnel', '10.244.2.10', 'api'],
];
for (const [path, name, ip, pod] of cases) {
  test(`hundreds of connections of every shape by ${name}: no byte is lost, duplicated or out of order`, async () => {
    const seed = Date.now() % 1_000_000_000;
    const server = formatSocketAddress({ ip: ip as IpAddress, port: soakPort });
    const opened = (): ConnectionRecord[] =>
      connectionRecords(testbed.runDir('node-a')).filter(
        ({ source, destination, direction }) =>
          source.pod === 'web' && destination.address === server && direction === 'outbound',
      );
    // The first connection of a pair requests its verdict, so it may go by way of the agent. A slow machine logs it later than it ends.
    const first = await driveSoak(program, 'weft-web', ip, { count: 1, forSeconds: 1, seed });
    await until('the first are logged', 60_000, () => opened().length >= first.opened);
    const at = opened().length;
    const outcome = await driveSoak(program, 'weft-web', ip, {
      count: connections,
      forSeconds: Math.max(1, Math.floor(seconds / cases.length)),
      seed,
    });
    assert.equal(outcome.wrong, 0, `seed ${seed}`);
    assert.equal(outcome.stuck, 0, `seed ${seed}: some connections did not end`);
    assert.equal(outcome.refused, 0, `seed ${seed}`);
    assert.equal(outcome.finished, outcome.opened);
    assert.ok(outcome.opened > connections && outcome.bytes > 1 << 20, JSON.stringify(outcome));
    assert.ok(
      outcome.resets < outcome.opened / 4,
      `seed ${seed}: ${outcome.resets} of ${outcome.opened} were reset`,
    );
    assert.equal(testbed.log(`soak-${pod}`), '', `seed ${seed}: the server saw wrong bytes`);
    const mine = await until('all are logged', 20_000, () => {
      const found = opened().slice(at);
      return (found.length >= outcome.opened || seconds > 60) && found;
    });
    assert.deepEqual(
      mine.filter((record) => record.path !== path),
      [],
      `seed ${seed}`,
    );
    if (path === 'kernel') {
      const spliced = mine.reduce((sum, { bytesSpliced = 0 }) => sum + bytesSpliced, 0);
      const all = mine.reduce((sum, { bytesSent, bytesReceived }) => sum + bytesSent + bytesReceived, 0);
      assert.ok(spliced > all / 50, `${spliced} of ${all} bytes spliced past TCP`);
      assert.ok(spliced < all, 'some bytes went over TCP, so connections switched between the two');
      const { kernel } = JSON.parse(await adminGet('weft-node-a', adminPort, '/dump')) as {
        kernel: Record<string, number>;
      };
      assert.ok((kernel['splice-overflowed'] ?? 0) > 0, 'no reader fell behind');
    }
  });
}
