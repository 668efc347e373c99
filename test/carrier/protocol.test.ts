/**
 * The agent killed after each packet of a start, and an agent and a carrier that do not fit: no pod is open meanwhile, connections that
 * are open continue, and the next agent repairs everything.
 */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { AgentMessage, FromCarrier, ToCarrier } from '../../daemonset/carrier/gen/carrier.js';
import { protocolVersion } from '../../daemonset/carrier/protocol.js';
import { sleep, until } from '../../src/base/wait.js';
import { run } from '../../src/cli/run.js';
import { agentProcess, type Testbed } from '../../src/cli/standalone/testbed.js';
import { DemoMesh, listening } from '../support/demo-mesh.js';
import { echo } from '../support/echo.js';
import { hold } from '../support/held-connection.js';
import { connectionRecords, recordedTwice, withoutRepeats } from '../support/records.js';
import { randomOf } from '../support/random.js';
import { Between, packets } from './support/between.js';
import { closePorts } from './support/closed-ports.js';
import { dial as dialFrom } from './support/dial.js';
import { checkRelay, relayProcess, relays, useRelay } from './support/relays.js';

const api = '10.244.2.10';
const agent = agentProcess('node-a');
const carrier = relayProcess('carrier', 'node-a');
const mesh = new DemoMesh('protocol');
let testbed: Testbed;
let between: Between;
/** Packets of a start beyond these are leases, renewed each second. */
const packetsMax = 40;

const dial = (port = 9000): Promise<string> => dialFrom('weft-web', api, port);
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const say = async (...all: string[]): Promise<string> =>
  (
    await run('weft-node-a', 'python3', [packets, 'say', between.carrierSocket, ...all], 30_000)
  ).stdout.trim();
const helloOf = (version: number): string =>
  hex(
    ToCarrier.encode({
      messages: [
        AgentMessage.fromPartial({
          kind: { $case: 'hello', value: { version, build: 'test' } },
        }),
      ],
    }).finish(),
  );

if (relays.includes('carrier')) {
  before(async () => {
    useRelay('carrier');
    await mesh.prepare();
    mesh.namespace('weft.dev/mesh: enabled, weft.dev/mode: strict');
    closePorts(mesh, 9001);
    // The rules of the carrier that no agent can reach admit connections until it is over.
    testbed = mesh.create({ agentFlags: ['--verdict-lease-ms', '3000'] });
    for (const port of [9000, 9001])
      testbed.start(`echo-${port}`, 'weft-api', 'python3', ['-c', echo, String(port)]);
    for (const port of [9000, 9001]) await listening('weft-api', port);
    // The agent finds this program in the place of its carrier.
    between = new Between(testbed, 'node-a');
    await between.start();
    await testbed.up();
    await checkRelay('weft-node-a', 'carrier');
  });
  after(() => mesh.remove());

  test('the agent is killed after each packet of a start: connections continue, and nothing is open that policy forbids', async () => {
    const seen = [...between.log.matchAll(/^passed (\d+)/gm)].length;
    console.log(`the first start: ${seen} packets`);
    const held = hold('weft-web', api);
    assert.equal(await held.ask(), 'hello');
    let last = 0;
    for (let n = 1; n <= packetsMax; n++) {
      await testbed.stop(agent, 'SIGKILL');
      between.kill(String(n));
      const from = between.log.length;
      testbed.startAgent('node-a');
      const killed = await until(`packet ${n}`, 30_000, () => {
        const text = between.log.slice(from);
        // A start that is over without that many packets: the rest are leases.
        return text.includes(`killed after ${n}`)
          ? 'killed'
          : testbed.readyState('node-a').ready && n > 25 && 'over';
      });
      last = n;
      assert.equal(await held.ask(), 'hello', `an open connection, after packet ${n}`);
      if (n % 5 === 0) assert.notEqual(await dial(9001), 'ping', `what is forbidden, after packet ${n}`);
      if (killed === 'over') break;
    }
    console.log(`killed after each of ${last} packets`);
    await testbed.stop(agent, 'SIGKILL');
    between.kill('0');
    testbed.startAgent('node-a');
    await testbed.waitReady();
    await until('connections work', 30_000, async () => (await dial()) === 'ping');
    assert.notEqual(await dial(9001), 'ping');
    assert.equal(await held.ask(), 'hello');
    held.end();
    testbed.died(carrier);
    await sleep(1_500);
    const records = withoutRepeats(connectionRecords(testbed.runDir('node-a'))).filter(
      ({ path }) => path === 'hbone',
    );
    assert.deepEqual(recordedTwice(records), []);
    assert.ok(!connectionRecords(testbed.runDir('node-b')).some(({ path }) => path === 'inbound-plain'));
  });

  test('packets that are no messages, and an agent of another version, end their connection and nothing else', async () => {
    const random = randomOf(Date.now() % 1_000_000);
    for (const version of [0, protocolVersion - 1, protocolVersion + 1, 99])
      assert.match(await say(helloOf(version)), /end$/);
    const said = testbed.log(carrier);
    assert.match(said, /the agent is newer than this carrier: it speaks version 99 .*Upgrade the carrier/);
    assert.match(said, /the agent is older than this carrier: .*Upgrade the agent/);
    assert.match(await say('ffffffff'), /end$/);
    // Before any hello.
    const lease = hex(
      ToCarrier.encode({
        messages: [AgentMessage.fromPartial({ kind: { $case: 'lease', value: { forMs: 4_000_000_000 } } })],
      }).finish(),
    );
    assert.match(await say(lease), /end$/);
    for (let i = 0; i < 20; i++) {
      const bytes = Buffer.from(Array.from({ length: 1 + random(3000) }, () => random(256)));
      assert.match(await say(bytes.toString('hex')), /end$/);
    }
    testbed.died(carrier);
    await until('connections work', 30_000, async () => (await dial()) === 'ping');
    assert.notEqual(await dial(9001), 'ping');
  });

  test('a carrier of another version is not used: the agent says why, and capture refuses until one fits', async () => {
    const hello = (version: number): string =>
      hex(
        FromCarrier.encode(
          FromCarrier.fromPartial({
            messages: [
              {
                kind: {
                  $case: 'hello',
                  value: {
                    version,
                    build: 'other',
                    pid: 1,
                    startedMs: Date.now(),
                    lastRule: 0,
                    isDraining: false,
                  },
                },
              },
              { kind: { $case: 'state', value: { isLast: true } } },
            ],
          }),
        ).finish(),
      );
    const path = between.socket;
    for (const [name, packet, why] of [
      ['newer', hello(99), /newer than this agent: it speaks version 99 .*Upgrade the agent/],
      ['older', hello(protocolVersion - 1), /older than this agent: .*Upgrade the carrier/],
    ] as const) {
      await testbed.stop(agent, 'SIGKILL');
      await testbed.stop('between', 'SIGKILL');
      rmSync(path, { force: true });
      testbed.start(name, 'weft-node-a', 'python3', [packets, 'carrier', path, packet]);
      await until('the other carrier listens', 30_000, () => testbed.log(name).includes('listening'));
      const from = testbed.log(agent).length;
      testbed.startAgent('node-a');
      await until(`the agent says why: ${name}`, 30_000, () => why.test(testbed.log(agent).slice(from)));
      await until('connections are refused', 30_000, async () => (await dial()) !== 'ping');
      assert.notEqual(await dial(), 'ping', name);
      await testbed.stop(name, 'SIGKILL');
      rmSync(path, { force: true });
      between.pass();
      await until('connections work again', 30_000, async () => (await dial()) === 'ping');
    }
    await testbed.waitReady();
  });
} else test('the messages between agent and carrier', { skip: 'of the carrier only' });
