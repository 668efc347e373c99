import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { projectRoot } from '../../native/index.js';
import { adminGet, adminPort } from '../../src/cli/admin.js';
import { until } from '../../src/base/wait.js';
import { run, sh } from '../../src/cli/run.js';
import { formatSocketAddress, type IpAddress } from '../../src/model/address.js';
import type { Testbed } from '../../src/cli/standalone/testbed.js';
import type { ConnectionRecord } from '../../src/telemetry/connection-record.js';
import { connectionRecords } from '../support/records.js';
import { DemoMesh } from '../support/demo-mesh.js';

/** `npm run test:soak` sets 600. */
const seconds = Number(process.env['SOAK_SECONDS'] ?? '20');
/** Use fewer on a slow machine. */
const connections = Number(process.env['SOAK_CONNECTIONS'] ?? '300');
/** Small, so that readers exceed it again and again, and their connections are handed to TCP and back. */
const spliceBytesMax = 128 << 10;
const mesh = new DemoMesh('soak');
const program = join(mesh.manifests, 'soak');
const port = 9100;
let testbed: Testbed;

before(async () => {
  await mesh.prepare();
  mesh.namespace('weft.dev/mesh: enabled, weft.dev/mode: strict', 'weft.dev/splice: "on"');
  sh('cc', [
    '-O2',
    '-Wall',
    '-Wextra',
    '-Werror',
    '-o',
    program,
    join(projectRoot, 'test', 'soak', 'soak.c'),
  ]);
  testbed = mesh.create({
    agentFlags: ['--splice-bytes-max', String(spliceBytesMax)],
  });
  for (const pod of ['cache', 'api'])
    testbed.start(`soak-${pod}`, `weft-${pod}`, program, ['serve', String(port)]);
  await testbed.up();
});
after(() => mesh.remove());

interface Outcome {
  readonly opened: number;
  readonly finished: number;
  readonly resets: number;
  readonly refused: number;
  readonly bytes: number;
  readonly wrong: number;
  readonly stuck: number;
}

async function drive(ip: string, connections: number, forSeconds: number, seed: number): Promise<Outcome> {
  const { stdout, stderr } = await run(
    'weft-web',
    program,
    ['drive', ip, String(port), String(connections), String(forSeconds), String(seed)],
    (forSeconds + 90) * 1000,
  );
  try {
    return JSON.parse(stdout) as Outcome;
  } catch {
    throw new Error(`seed ${seed}: ${stderr || stdout}`);
  }
}

const cases: [path: string, name: string, ip: string, pod: string][] = [
  ['kernel', 'the kernel', '10.244.1.12', 'cache'],
  ['kernel', 'the kernel, by IPv6', 'fd00:244:1::12', 'cache'],
  ['hbone', 'a tunnel', '10.244.2.10', 'api'],
];
for (const [path, name, ip, pod] of cases) {
  test(`hundreds of connections of every shape by ${name}: no byte is lost, duplicated or out of order`, async () => {
    const seed = Date.now() % 1_000_000_000;
    const server = formatSocketAddress({ ip: ip as IpAddress, port });
    const opened = (): ConnectionRecord[] =>
      connectionRecords(testbed.runDir('node-a')).filter(
        ({ source, destination, direction }) =>
          source.pod === 'web' && destination.address === server && direction === 'outbound',
      );
    // The first connection of a pair requests its verdict, so it may go by way of the agent. A slow machine logs it later than it ends.
    const first = await drive(ip, 1, 1, seed);
    await until('the first are logged', 60_000, () => opened().length >= first.opened);
    const at = opened().length;
    const outcome = await drive(ip, connections, Math.max(1, Math.floor(seconds / cases.length)), seed);
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
