/** What goes wrong around a relay while it relays: no descriptors are left, certificates are renewed, pods disappear. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { sleep, until } from '../../src/base/wait.js';
import { run, sh } from '../../src/cli/run.js';
import type { Testbed } from '../../src/cli/standalone/testbed.js';
import { DemoMesh, listening } from '../support/demo-mesh.js';
import { echo } from '../support/echo.js';
import { hold, type HeldConnection } from '../support/held-connection.js';
import { connectionRecords } from '../support/records.js';
import { requests } from '../support/requests.js';
import { checkRelay, relayProcess, relays, useRelay } from './support/relays.js';

const api = '10.244.2.10';
const echoV1 = '10.244.2.60';
/** Certificates are renewed at half of it. */
const certTtlS = 10;

/** A limit of descriptors that leaves a process this many: each new one is the lowest free number. */
function limitWithFree(pid: number, free: number): number {
  const open = new Set(readdirSync(`/proc/${pid}/fd`).map(Number));
  let limit = 0;
  for (let left = free; left > 0; limit++) if (!open.has(limit)) left--;
  return limit;
}

for (const relay of relays)
  describe(relay, () => {
    const mesh = new DemoMesh(`faults-${relay}`);
    let testbed: Testbed;
    const relayPid = (node: string): number => {
      testbed.died(relayProcess(relay, node));
      return testbed.mark(relayProcess(relay, node))?.pid ?? 0;
    };
    const ping = async (ip = api): Promise<string> => {
      const code = `import socket\ns = socket.create_connection(('${ip}', 9000), 5); s.sendall(b'ping'); print(s.recv(10).decode())`;
      const { stdout, stderr } = await run('weft-web', 'python3', ['-c', code], 20_000);
      return stdout.trim() || (stderr.trim().split('\n').at(-1) ?? '');
    };

    before(async () => {
      useRelay(relay);
      await mesh.prepare();
      testbed = mesh.create({ certTtlS });
      for (const pod of ['api', 'echo-v1', 'web'])
        testbed.start(`echo-${pod}`, `weft-${pod}`, 'python3', ['-c', echo, '9000']);
      await testbed.up();
      await checkRelay('weft-node-a', relay);
      for (const pod of ['api', 'echo-v1', 'web']) await listening(`weft-${pod}`, 9000);
    });
    after(() => mesh.remove());

    const other = { held: undefined as HeldConnection | undefined };
    const lost: HeldConnection[] = [];
    let goneMs = 0;
    const recordsOfGone = (node: string): number =>
      connectionRecords(testbed.runDir(node)).filter(({ destination }) =>
        destination.address.startsWith(echoV1),
      ).length;

    test(`${relay}: a pod disappears in the middle of its connections: others continue`, async () => {
      const load = requests('weft-web', api, 9000, 100);
      other.held = hold('weft-web', api);
      lost.push(hold('weft-web', echoV1), hold('weft-web', echoV1));
      for (const one of [other.held, ...lost]) assert.equal(await one.ask(), 'hello');
      // Its network disappears first, as when a machine kills a pod.
      sh('ip', ['-n', 'weft-echo-v1', 'link', 'del', 'eth0']);
      await testbed.stop('echo-echo-v1', 'SIGKILL');
      sh('ip', ['netns', 'del', 'weft-echo-v1']);
      goneMs = Date.now();
      await until(
        'the agent has let go',
        30_000,
        () => !testbed.readyState('node-b').pods.some(({ uid }) => uid.endsWith('/echo-v1')),
      );
      assert.equal(await other.held.ask(), 'hello');
      assert.equal(await ping(), 'ping');
      await sleep(1_000);
      assert.deepEqual((await load.end()).bad, {});
    });

    test(`${relay}: certificates are renewed again and again under load: no request fails, and open connections continue`, async () => {
      const held = [hold('weft-web', api), hold('weft-api', '10.244.1.10')];
      for (const one of held) assert.equal(await one.ask(), 'hello');
      const load = [
        requests('weft-web', api),
        requests('weft-api', '10.244.1.10'),
        requests('weft-web', api, 9000, 100),
      ];
      await sleep(certTtlS * 1_300);
      const counts = await Promise.all(load.map((one) => one.end()));
      assert.deepEqual(
        counts.map(({ bad }) => bad),
        [{}, {}, {}],
      );
      assert.ok(
        counts.every(({ good }) => good > 100),
        JSON.stringify(counts),
      );
      for (const one of held) {
        assert.equal(await one.ask(), 'hello', 'a connection from before the renewals');
        one.end();
      }
    });

    test(`${relay}: without free descriptors connections are refused, open ones continue, and all is well again afterwards`, async () => {
      const held = hold('weft-web', api);
      assert.equal(await held.ask(), 'hello');
      for (const node of ['node-a', 'node-b']) {
        const pid = relayPid(node);
        const usual = sh('prlimit', ['--pid', String(pid), '--nofile', '-o', 'SOFT', '--noheadings']).trim();
        sh('prlimit', ['--pid', String(pid), `--nofile=${limitWithFree(pid, 6)}:`]);
        // Refused at once: none waits for a descriptor.
        const burst = `import socket, threading
bad = []
def one():
    try:
        s = socket.create_connection(('${api}', 9000), 8); s.settimeout(8); s.sendall(b'x')
        if s.recv(1) != b'x': bad.append('refused')
        import time; time.sleep(3)
    except TimeoutError: bad.append('late')
    except OSError: bad.append('refused')
ts = [threading.Thread(target=one) for _ in range(60)]
[t.start() for t in ts]; [t.join() for t in ts]
print(*sorted(set(bad)))`;
        const { stdout } = await run('weft-web', 'python3', ['-c', burst], 60_000);
        assert.equal(stdout.trim(), 'refused', node);
        assert.equal(await held.ask(), 'hello', `an open connection, while ${node} has no descriptor`);
        sh('prlimit', ['--pid', String(pid), `--nofile=${usual}:`]);
        await until(`served again by ${node}`, 30_000, async () => (await ping()) === 'ping');
        assert.equal(relayPid(node), pid);
      }
      held.end();
    });

    test(`${relay}: the connections of the pod that disappeared have ended, each with its record`, async () => {
      // Keepalive of the tunnel ends them at the client's node: PING every 10 s, 20 s for its answer.
      await sleep(Math.max(0, goneMs + 33_000 - Date.now()));
      for (const one of lost) {
        assert.match(await one.ask(), /^E|^end$/);
        one.end();
      }
      await until('the records', 30_000, () =>
        ['node-a', 'node-b'].every((node) => recordsOfGone(node) >= 2),
      );
      for (const node of ['node-a', 'node-b']) assert.equal(recordsOfGone(node), 2, node);
      assert.equal(await other.held?.ask(), 'hello');
      other.held?.end();
    });
  });
