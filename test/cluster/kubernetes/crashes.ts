/** Crashes of parts of Kubernetes and of Weft, up to a whole node. */
import assert from 'node:assert/strict';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { sleep, until } from '../../../src/base/wait.js';
import { applyText, connectionRecords, given, here, run, state, system } from '../../support/cluster.js';
import { denyWeb, ofWeb, shop, since, traffic } from './shop.js';

/** Kills a process that test/cluster/up started, as a crash would. */
function crash(name: string): void {
  const pid = Number(readFileSync(join(state, 'pid', name), 'utf8').split(' ')[0]);
  process.kill(pid, 'SIGKILL');
}

test('an API server crash and restart: no request fails, and later changes are applied', async (t) => {
  if (given !== undefined) return t.diagnostic('skipped on the cluster of KUBECONFIG');
  const before = await traffic();
  crash('kube-apiserver');
  await sleep(5_000);
  await run(join(here, 'up'), '--nodes', '2');
  const { bad, errors } = await since(before);
  assert.equal(bad, 0, errors.join('\n'));
  await until('a new policy is in force', 60_000, async () => {
    await applyText(denyWeb).catch(() => undefined);
    const then = await traffic();
    await sleep(500);
    return (await traffic()).good === then.good;
  });
  await shop('delete', 'accesspolicy', 'no-web');
  await until('the policy is no longer in force', 60_000, async () => {
    const then = await traffic();
    await sleep(500);
    return (await traffic()).good > then.good;
  });
});

test('killed agents: no connection is in plaintext meanwhile, and the mesh recovers', async () => {
  const began = Date.now();
  const agents = async (): Promise<{ name: string; ready: boolean }[]> => {
    const found = JSON.parse(await system('get', 'pod', '-l', 'app=weft-agent', '-o', 'json')) as {
      items: { metadata: { name: string }; status: { conditions?: { type: string; status: string }[] } }[];
    };
    return found.items.map(({ metadata, status }) => ({
      name: metadata.name,
      ready: status.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True') === true,
    }));
  };
  const killed = await agents();
  await system('delete', 'pod', ...killed.map(({ name }) => name), '--force', '--grace-period=0');
  await until('the new agents are ready', 120_000, async () => {
    const now = await agents();
    return (
      now.length === killed.length &&
      now.every(({ name, ready }) => ready && !killed.some((former) => former.name === name))
    );
  });
  await until('requests are answered again', 30_000, async () => {
    const then = await traffic();
    await sleep(300);
    return (await traffic()).good > then.good;
  });
  const before = await traffic();
  const { bad, errors } = await since(before, 200);
  assert.equal(bad, 0, errors.join('\n'));
  const seconds = Math.ceil((Date.now() - began) / 1000);
  const plain = (await connectionRecords(seconds)).filter((line) => ofWeb(line) && line.path === 'plain');
  assert.deepEqual(plain, []);
});

test('a node that loses all state at once, as in a reboot: its pods come back in the mesh and are never outside of it', async (t) => {
  if (given !== undefined) return t.diagnostic('skipped on the cluster of KUBECONFIG');
  const socket = join(state, 'node2', 'containerd.sock');
  const ctr = (...args: string[]): Promise<string> => run('ctr', '-a', socket, '-n', 'k8s.io', ...args);
  const began = Date.now();
  crash('kubelet-2');
  const tasks = (await ctr('tasks', 'ls', '-q')).split('\n').filter(Boolean);
  await Promise.all(tasks.map((task) => ctr('tasks', 'delete', '-f', task).catch(() => '')));
  crash('containerd-2');
  rmSync(socket);
  const inNode = (...args: string[]): Promise<string> =>
    run('nsenter', `--mount=${join(state, 'mnt', 'node2')}`, ...args);
  await inNode('rm', '-rf', '/sys/fs/bpf/weft', '/run/weft');
  const uids = JSON.parse(
    await shop('get', 'pod', '-o', 'json', '--field-selector', 'spec.nodeName=node2'),
  ) as {
    items: { metadata: { name: string }; status: { podIPs: { ip: string }[] } }[];
  };
  const addressesBefore = new Map(
    uids.items.map(({ metadata, status }) => [metadata.name, status.podIPs[0]?.ip]),
  );
  await run(join(here, 'up'), '--nodes', '2');
  await system('rollout', 'status', 'ds/weft-agent', '--timeout=120s');
  await until("new containers of the node's pods are captured and ready", 120_000, async () => {
    const { items } = JSON.parse(
      await shop('get', 'pod', '-o', 'json', '--field-selector', 'spec.nodeName=node2'),
    ) as {
      items: {
        metadata: { name: string };
        status: { podIPs?: { ip: string }[]; conditions: { type: string; status: string }[] };
      }[];
    };
    return items.every(
      ({ metadata, status }) =>
        status.podIPs?.[0]?.ip !== addressesBefore.get(metadata.name) &&
        ['Ready', 'weft.dev/captured'].every((type) =>
          status.conditions.some((one) => one.type === type && one.status === 'True'),
        ),
    );
  });
  // The other agents' ejection of the failed destination has ended by then.
  await sleep(1_500);
  const before = await traffic();
  const { bad, errors } = await since(before, 100);
  assert.equal(bad, 0, errors.join('\n'));
  const seconds = Math.ceil((Date.now() - began) / 1000);
  const plain = (await connectionRecords(seconds)).filter(
    ({ path, source }) => path === 'plain' && source.namespace === 'shop',
  );
  assert.deepEqual(plain, []);
});
