/**
 * Rows 3 and 5 of docs/security.md, against rules that admit later connections without a question: what a peer or a pod says about itself
 * never makes a rule match, and no process without the agent's rights speaks to a carrier. Node-b gets its agent late: until then its
 * pods' network namespaces are peers that write their own tunnels.
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { until } from '../../src/base/wait.js';
import { run, sh } from '../../src/cli/run.js';
import type { Testbed } from '../../src/cli/standalone/testbed.js';
import { DemoMesh, listening } from '../support/demo-mesh.js';
import { echo } from '../support/echo.js';
import { connectionRecords } from '../support/records.js';
import { openTunnel, svidOfTestbed, type RawTunnel } from './support/raw-tunnel.js';
import { checkRelay, relays, useRelay } from './support/relays.js';

const web = '10.244.1.10';
const app = `${web}:9000`;
const apiIp = '10.244.2.10';
const ids = (name: string): string => `spiffe://cluster.local/ns/shop/sa/${name}`;
/** By which a peer claims to be `api`. */
const claims = [
  ['weft-source-identity', ids('api')],
  ['forwarded', `for="${apiIp}:1234"`],
  ['baggage', 'k8s.namespace.name=shop,k8s.pod.name=api'],
] as const;
const policy = (name: string, action: string, from: string): string => `apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: ${name}, namespace: shop }
spec: { action: ${action}, rules: [{ from: [{ ${from} }] }] }
`;

for (const relay of relays)
  describe(relay, () => {
    const mesh = new DemoMesh(`threats-${relay}`);
    let testbed: Testbed;
    const tunnels: RawTunnel[] = [];
    const records = (): ReturnType<typeof connectionRecords> => connectionRecords(testbed.runDir('node-a'));
    const peer = async (netns: string, account: string): Promise<RawTunnel> => {
      const tunnel = await openTunnel(netns, web, svidOfTestbed(testbed, account));
      tunnels.push(tunnel);
      return tunnel;
    };
    /** Statuses of some requests on a connection, one after the other. */
    const statuses = async (
      tunnel: RawTunnel,
      requests: readonly (readonly (readonly [string, string])[])[],
      first = 1,
    ): Promise<number[]> => {
      const seen: number[] = [];
      for (const [i, headers] of requests.entries()) {
        tunnel.connect(first + 2 * i, app, ...headers);
        seen.push(await tunnel.status(first + 2 * i));
      }
      return seen;
    };
    /** Until the agent enforces it: a request that it decides differently has another status. */
    const becomes = async (netns: string, account: string, status: number): Promise<void> => {
      await until(`${account} gets ${status}`, 30_000, async () => {
        const tunnel = await openTunnel(netns, web, svidOfTestbed(testbed, account));
        tunnel.connect(1, app);
        const seen = await tunnel.status(1);
        tunnel.close();
        return seen === status;
      });
    };

    before(async () => {
      useRelay(relay);
      await mesh.prepare();
      testbed = mesh.create();
      testbed.start('echo', 'weft-web', 'python3', ['-c', echo, '9000']);
      testbed.start('echo-api', 'weft-api', 'python3', ['-c', echo, '9000']);
      await testbed.up(['node-a']);
      await checkRelay('weft-node-a', relay);
      await listening('weft-web', 9000);
      await listening('weft-api', 9000);
    });
    after(async () => {
      for (const tunnel of tunnels) tunnel.close();
      await mesh.remove();
    });

    test(`${relay}: the identity, address and names that a peer states neither match a rule nor appear in a record`, async () => {
      mesh.write('policy.yaml', policy('callers', 'ALLOW', 'serviceAccounts: [shop/api]'));
      await becomes('weft-echo-v1', 'intruder', 401);
      const good = await peer('weft-api', 'api');
      // A rule for the holder of the certificate exists from the first request on.
      assert.deepEqual(await statuses(good, [[], [], claims, []]), [200, 200, 200, 200]);
      const evil = await peer('weft-echo-v1', 'intruder');
      assert.deepEqual(
        await statuses(evil, [claims, [], claims.slice(0, 1), claims.slice(1, 2)]),
        [401, 401, 401, 401],
      );
      // From the address of the pod that is allowed, too.
      const near = await peer('weft-api', 'intruder');
      assert.deepEqual(await statuses(near, [claims, []]), [401, 401]);
      const refused = await until('the records', 30_000, () => {
        const all = records().filter(
          ({ code, source }) => code === 'WEFT_DENIED' && source.identity === ids('intruder'),
        );
        return all.length >= 6 && all;
      });
      for (const { source } of refused) assert.notEqual(source.pod, 'api');
      assert.ok(refused.filter(({ source }) => source.address.startsWith('10.244.2.60:')).length >= 4);
      for (const tunnel of [good, evil, near]) tunnel.close();
    });

    test(`${relay}: an address that a peer states opens nothing, and one that is its own is not lost`, async () => {
      mesh.write('policy.yaml', policy('callers', 'ALLOW', `cidrs: [${apiIp}/32]`));
      await becomes('weft-echo-v1', 'api', 401);
      const good = await peer('weft-api', 'api');
      assert.deepEqual(
        await statuses(good, [[], claims, [['forwarded', 'for="192.0.2.1:5"']], []]),
        [200, 200, 200, 200],
      );
      const far = await peer('weft-echo-v1', 'api');
      assert.deepEqual(await statuses(far, [claims, claims.slice(1, 2), []]), [401, 401, 401]);
      good.close();
      const clients = await until('the records', 30_000, () => {
        const all = records().filter(
          ({ path, source }) => path === 'inbound-hbone' && source.address.startsWith(apiIp),
        );
        return all.some(({ source }) => source.address === `${apiIp}:1234`) && all;
      });
      assert.ok(clients.every(({ source }) => source.identity === ids('api')));
      assert.ok(!records().some(({ source }) => source.address.startsWith('192.0.2.1')));
    });

    test(`${relay}: another authority, and a path or a protocol, match no rule`, async () => {
      mesh.write('policy.yaml', policy('callers', 'DENY', 'serviceAccounts: [shop/nobody]'));
      await becomes('weft-echo-v1', 'intruder', 200);
      const tunnel = await peer('weft-api', 'api');
      assert.deepEqual(await statuses(tunnel, [[]]), [200]);
      tunnel.connect(3, '10.244.1.12:9000');
      tunnel.connect(5, app, [':protocol', 'websocket']);
      tunnel.connect(7, app, [':path', '/'], [':scheme', 'http']);
      for (const stream of [3, 5, 7]) {
        const end = await until(
          `the end of request ${stream}`,
          30_000,
          () => tunnel.has(3, stream) || tunnel.heads.has(stream) || tunnel.isClosed,
        );
        assert.ok(end);
        assert.ok(!tunnel.heads.get(stream)?.includes('200'), `request ${stream}`);
        if (tunnel.isClosed) break;
      }
      tunnel.close();
    });

    test(`${relay}: a pod that takes another address is the pod that it is`, async () => {
      testbed.startAgent('node-b');
      await testbed.waitReady();
      // A rule for this destination exists; web's own address is denied by the next policy, the taken one is not.
      const dial = async (bind: string): Promise<string> => {
        const code = `import socket
s = socket.socket(); s.settimeout(5); s.bind(('${bind}', 0)); s.connect(('${apiIp}', 9000)); s.sendall(b'ping'); print(s.recv(10).decode() or 'closed')`;
        const { stdout, stderr } = await run('weft-web', 'python3', ['-c', code], 20_000);
        return stdout.trim() || (stderr.trim().split('\n').at(-1) ?? '');
      };
      sh('ip', ['-n', 'weft-web', 'addr', 'add', '10.244.1.99/32', 'dev', 'eth0']);
      assert.equal(await dial(web), 'ping');
      assert.equal(await dial('10.244.1.99'), 'ping');
      const seen = await until('the records', 30_000, () => {
        const all = connectionRecords(testbed.runDir('node-b')).filter(
          ({ path }) => path === 'inbound-hbone',
        );
        return all.length >= 2 && all;
      });
      assert.ok(
        seen.every(({ source }) => source.address.startsWith(`${web}:`) && source.identity === ids('web')),
      );
      mesh.write('policy.yaml', policy('callers', 'DENY', `cidrs: [${web}/32]`));
      await until('the policy is enforced', 30_000, async () => (await dial(web)) !== 'ping');
      for (let i = 0; i < 3; i++) assert.notEqual(await dial('10.244.1.99'), 'ping');
      rmSync(join(mesh.manifests, 'policy.yaml'));
      await until('the policy is gone', 30_000, async () => (await dial(web)) === 'ping');
    });

    test(`${relay}: a pod reaches the listeners only by a connection that was captured`, async () => {
      for (const netns of ['weft-web', 'weft-api', 'weft-intruder']) {
        for (const port of [15001, 15006]) {
          const code = `import socket
s = socket.socket(); s.settimeout(5)
try: s.connect(('${web}', ${port})); s.sendall(b'x'); print('got', s.recv(1))
except OSError as e: print(type(e).__name__)`;
          const { stdout } = await run(netns, 'python3', ['-c', code], 20_000);
          assert.match(stdout, /^Connection(Refused|Reset)Error|^got b''/, `${netns} ${port}`);
        }
      }
    });

    if (relay === 'carrier') {
      test('carrier: only the agent reaches its socket, and nothing that connects without its messages changes anything', async () => {
        const dir = join(testbed.runDir('node-a'), 'carrier');
        const socket = join(dir, 'carrier.sock');
        assert.ok(existsSync(socket));
        assert.equal(statSync(dir).mode & 0o077, 0);
        assert.equal(statSync(socket).mode & 0o077, 0);
        const connect = `import socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
try: s.connect('${socket}'); print('connected')
except OSError as e: print(type(e).__name__)`;
        const nobody = ['--reuid', '65534', '--regid', '65534', '--clear-groups'];
        const { stdout, stderr } = await run(
          'weft-web',
          'setpriv',
          [...nobody, '/usr/bin/python3', '-c', connect],
          20_000,
        );
        assert.match(stdout, /^PermissionError|^FileNotFoundError/, stderr);
        // The abstract namespace has no permissions.
        const pid = testbed.mark('carrier-node-a')?.pid ?? 0;
        assert.doesNotMatch(readFileSync(`/proc/${pid}/net/unix`, 'utf8'), / @.*weft/);
      });

      test('carrier: it keeps no capability, may not be traced, and its broker has one', () => {
        const pid = testbed.mark('carrier-node-a')?.pid ?? 0;
        const of = (id: number, name: string): string =>
          new RegExp(`^${name}:\\s+(\\S+)`, 'm').exec(readFileSync(`/proc/${id}/status`, 'utf8'))?.[1] ?? '';
        assert.equal(BigInt(`0x${of(pid, 'CapEff')}`), 0n);
        assert.equal(BigInt(`0x${of(pid, 'CapPrm')}`), 0n);
        assert.equal(of(pid, 'Seccomp'), '2');
        assert.equal(of(pid, 'NoNewPrivs'), '1');
        const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
          .trim()
          .split(' ')
          .map(Number);
        assert.equal(children.length, 1);
        // CAP_SYS_ADMIN is 21.
        assert.equal(BigInt(`0x${of(children[0] ?? 0, 'CapEff')}`), 1n << 21n);
        assert.equal(of(children[0] ?? 0, 'Seccomp'), '2');
      });
    }
  });
