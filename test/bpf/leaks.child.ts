/** Run under AddressSanitizer by leaks.test.ts: argv is the instrumented addon and a directory of pins. */
import { mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { projectRoot } from '../../native/index.js';

interface Addon {
  load(path: string, pins: string, rodata: Uint8Array, attachments: object[]): Promise<void>;
  sockets(netns: string, family: number, count: number, cookie: bigint): number[];
  listeners(netns: string, addresses: [ip: string, port: number][][], backlog: number, cookie: bigint): number[];
  sweepNetns(idleMs: number): number;
  cookie(netns: string): bigint;
  closeFd(fd: number): void;
  resetOnClose(fd: number, on: boolean): void;
  sendBuffer(fd: number, bytes: number): void;
  tcpConnections(netns: string, max: number): unknown[];
  destroyTcp(netns: string, ends: [string, number, string, number, bigint][]): number;
  Channel: new (path: string, onPackets: () => void, onWritable: () => void, onEnd: () => void) => object;
  Map: new (pin: string) => {
    lookup(key: Uint8Array): Uint8Array | undefined;
    update(key: Uint8Array, value: Uint8Array, flags: number): void;
    keys(max: number): Uint8Array;
    close(): void;
  };
  Ring: new (pin: string) => {
    drain(max: number): Uint8Array[];
    drainPacked(max: number, size: number): Uint8Array;
    close(): void;
  };
}

const [path = '', pins = ''] = process.argv.slice(2);
const addon = createRequire(import.meta.url)(path) as Addon;
const fails = (call: () => unknown): void => {
  try {
    call();
  } catch {
    return;
  }
  throw new Error('what has to fail did not');
};

mkdirSync(pins, { recursive: true });
const object = (name: string): string => join(projectRoot, 'bpf', 'build', `${name}.bpf.o`);
for (let i = 0; i < 20; i++) await addon.load(object('sockops'), pins, new Uint8Array(), []);
for (let i = 0; i < 20; i++)
  await addon.load('/nowhere.o', pins, new Uint8Array(), []).then(
    () => Promise.reject(new Error('nothing was loaded')),
    () => undefined,
  );

const key = new Uint8Array(8);
const own = '/proc/self/ns/net';
const noop = (): void => undefined;
const rounds = 10_000;
for (let i = 0; i < rounds; i++) {
  const map = new addon.Map(join(pins, 'weft_pods'));
  map.update(key, new Uint8Array(40), 0);
  map.lookup(key);
  map.keys(10);
  fails(() => map.lookup(new Uint8Array(3)));
  map.close();
  fails(() => new addon.Map(join(pins, 'nothing')));
  for (const fd of addon.sockets(own, 4, 2, 0n)) {
    addon.resetOnClose(fd, true);
    addon.sendBuffer(fd, 1 << 20);
    addon.closeFd(fd);
  }
  const listeners: [string, number][][] = [[['127.0.0.1', 0]], [['no address', 0], ['127.0.0.1', 0]]];
  for (const fd of addon.listeners('', listeners, 1, 0n)) addon.closeFd(fd);
  fails(() => addon.sockets('/nowhere', 4, 1, 0n));
  fails(() => addon.sockets(own, 4, 1, 1n));
  fails(() => addon.listeners('', [[['127.0.0.1', 0]], [['no address', 0]]], 1, 0n));
  fails(() => new addon.Channel('/nowhere', noop, noop, noop));
  addon.cookie(own);
  addon.sweepNetns(0);
  if (i % 100 === 0) {
    const ring = new addon.Ring(join(pins, 'weft_events'));
    ring.drain(10);
    ring.drainPacked(10, 56);
    ring.close();
    addon.tcpConnections('', 100);
    addon.destroyTcp('', [['127.0.0.1', 1, '127.0.0.1', 1, 1n]]);
    fails(() => addon.destroyTcp('', [['x', 1, '127.0.0.1', 1, 1n]]));
  }
}
console.log(`${rounds} rounds`);
// A normal exit would unload the addon first, and the report could not attribute the memory.
(process as NodeJS.Process & { reallyExit(code: number): never }).reallyExit(0);
