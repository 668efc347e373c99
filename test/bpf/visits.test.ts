/** How often the addon enters network namespaces, and that what it keeps neither keeps a namespace alive nor is taken for another one. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, symlinkSync, unlinkSync } from 'node:fs';
import { once } from 'node:events';
import type net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Datapath, removeInstance } from '../../daemonset/datapath/loader.js';
import type { ListenerKind } from '../../daemonset/maps/listeners.js';
import { PodSockets } from '../../daemonset/pod/sockets.js';
import {
  NativeError,
  closeFd,
  isStaleNetns,
  listenIn,
  listenersIn,
  netnsCookie,
  setnsCalls,
  socketsIn,
  tcpConnectionsIn,
} from '../../native/index.js';
import { sh } from '../../src/cli/run.js';
import { parseIp } from '../../src/model/address.js';
import { eventually } from '../support/eventually.js';
import { Namespaces } from '../support/netns.js';

const instance = 'test-visits';
const datapath = new Datapath(instance);
const namespaces = new Namespaces();
const dir = mkdtempSync(join(tmpdir(), 'weft-visits-'));
after(() => {
  datapath.close();
  removeInstance(instance);
  namespaces.remove();
  rmSync(dir, { recursive: true });
});
const pathOf = (name: string): string => join('/run/netns', name);
const descriptors = (): number => readdirSync('/proc/self/fd').length;

/** Calls of setns() that `work` makes. */
async function calls(work: () => unknown): Promise<number> {
  const before = setnsCalls();
  await work();
  return setnsCalls() - before;
}

test('each batch enters a namespace once, whatever it does there', async () => {
  const netns = pathOf(namespaces.make());
  const fds: number[] = [];
  assert.equal(await calls(() => fds.push(...socketsIn(netns, 4, 32))), 2);
  assert.equal(fds.length, 32);
  const port = (number: number) => [{ ip: '::', port: number }, { ip: '::', port: 0 }];
  assert.equal(await calls(() => fds.push(...listenersIn(netns, [port(15001), port(15006), port(15001)]))), 2);
  assert.equal(await calls(() => netnsCookie(netns)), 2);
  assert.equal(await calls(() => netnsCookie(netns)), 0, 'a cookie is known as long as the namespace is');
  assert.equal(await calls(() => tcpConnectionsIn(netns, 100)), 2);
  assert.equal(await calls(() => netnsCookie('')), 0);
  assert.equal(await calls(() => assert.throws(() => listenIn(netns, '::', 15001), NativeError)), 2);
  for (const fd of fds) closeFd(fd);
});

test('a batch of listeners is made whole or not at all', async () => {
  const netns = pathOf(namespaces.make());
  const taken = listenIn(netns, '::', 15006);
  const before = descriptors();
  assert.throws(() => listenersIn(netns, [[{ ip: '::', port: 15001 }], [{ ip: '::', port: 15006 }]]), NativeError);
  assert.equal(descriptors(), before);
  closeFd(listenIn(netns, '::', 15001));
  closeFd(taken);
});

test('a connection costs a fraction of a visit, and a pod its three listeners one', async (t) => {
  await datapath.start();
  const pair = namespaces.pair();
  const [from, to] = [pair.a, pair.b].map((name) => ({ path: pathOf(name), cookie: netnsCookie(pathOf(name)) })) as [
    { path: string; cookie: bigint },
    { path: string; cookie: bigint },
  ];
  const sockets = new PodSockets(datapath.dir);
  t.after(() => sockets.close());
  const accepted: net.Socket[] = [];
  const onConnection = (socket: net.Socket): void => void accepted.push(socket.resume());
  const kinds: ListenerKind[] = ['hbone', 'inbound', 'outbound'];
  let servers = new Map<ListenerKind, net.Server>();
  assert.equal(
    await calls(async () => {
      servers = await sockets.listen(to, new Map(kinds.map((kind) => [kind, onConnection])));
    }),
    2,
  );
  t.after(() => servers.forEach((server) => server.close()));
  const { port } = servers.get('hbone')!.address() as net.AddressInfo;
  const connections = 200;
  const made: net.Socket[] = [];
  const visits = await calls(async () => {
    for (let i = 0; i < connections; i++) made.push(await sockets.dial(from, { ip: parseIp(pair.b4), port }));
  });
  t.diagnostic(`${visits} calls of setns for ${connections} connections`);
  assert.ok(visits <= 40, `${visits} calls for ${connections} connections`);
  await eventually(() => accepted.length === connections, 'all connections');
  for (const socket of [...made, ...accepted]) socket.destroy();
  await Promise.all(made.map((socket) => socket.closed || once(socket, 'close')));
});

test('what is kept does not keep a dead namespace alive', async (t) => {
  await datapath.start();
  const { a, b, b4 } = namespaces.pair();
  const netns = { path: pathOf(a), cookie: netnsCookie(pathOf(a)) };
  const sockets = new PodSockets(datapath.dir);
  t.after(() => sockets.close());
  for (let i = 0; i < 5; i++) await assert.rejects(sockets.dial(netns, { ip: parseIp(b4), port: 9 }), /cannot connect/);
  sockets.forget(netns);
  const link = (): string => sh('ip', ['-n', b, 'link']);
  assert.match(link(), /eth0/);
  sh('ip', ['netns', 'del', a]);
  // The end of a veth pair goes with the namespace of the other.
  await eventually(() => !link().includes('eth0'), 'the end of the namespace');
  assert.throws(() => netnsCookie(netns.path), (error: unknown) => error instanceof NativeError && error.code === 'NATIVE_NOT_FOUND');
  sh('ip', ['netns', 'add', a]);
});

test('another namespace under the same path is never taken for the former one', () => {
  const [one, two] = [pathOf(namespaces.make()), pathOf(namespaces.make())];
  const path = join(dir, 'pod');
  symlinkSync(one, path);
  const [first, second] = [netnsCookie(one), netnsCookie(two)];
  assert.equal(netnsCookie(path), first);
  closeFd(socketsIn(path, 4, 1, first)[0]!);
  unlinkSync(path);
  symlinkSync(two, path);
  assert.throws(() => socketsIn(path, 4, 1, first), isStaleNetns);
  assert.throws(() => listenersIn(path, [[{ ip: '::', port: 0 }]], 10, first), isStaleNetns);
  assert.equal(netnsCookie(path), second);
  closeFd(socketsIn(path, 4, 1, second)[0]!);
  unlinkSync(path);
  assert.throws(() => socketsIn(path, 4, 1), NativeError);
  assert.throws(() => socketsIn(two, 4, 1, 0n), NativeError);
  assert.throws(() => socketsIn(two, 4, 0), NativeError);
});

test('many namespaces leave no descriptor behind', async () => {
  const names = Array.from({ length: 80 }, () => pathOf(namespaces.make()));
  const before = descriptors();
  for (let round = 0; round < 20; round++) for (const netns of names) netnsCookie(netns);
  assert.ok(descriptors() - before <= 64, `${descriptors() - before} descriptors`);
  await eventually(() => descriptors() <= before, 'descriptors are closed');
});
