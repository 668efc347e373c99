import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Datapath, instances, removeInstance } from '../../daemonset/datapath/loader.js';
import { readCounters } from '../../daemonset/maps/count.js';
import { encodeU32, encodeU64 } from '../../daemonset/maps/row.js';
import { BpfMap, BpfRing, NativeError, chargesReader, closeFd, detach, listenIn, load, netnsCookie, projectRoot, socketIn } from '../../native/index.js';

const instance = 'test-addon';
const datapath = new Datapath(instance);
after(() => {
  datapath.close();
  removeInstance(instance);
});
const code = (expected: string) => (error: unknown) => error instanceof NativeError && error.code === expected;
const descriptors = (): number => readdirSync('/proc/self/fd').length;

test('loads, attaches and pins; a second start adopts the pinned maps and links', async () => {
  await datapath.start();
  const before = datapath.maps.get('weft_pods').info.id;
  datapath.maps.get('weft_node').update(encodeU32(0), encodeU64(42n));
  await datapath.start();
  const again = new BpfMap(join(datapath.dir, 'weft_pods'));
  assert.equal(again.info.id, before);
  again.close();
  assert.deepEqual([...(datapath.maps.get('weft_node').lookup(encodeU32(0)) ?? [])], [...encodeU64(42n)]);
  assert.ok(instances().includes(instance));
  assert.equal(readCounters(datapath.maps)['captured'], 0);
});

test('this kernel charges bytes that sk_msg redirects to the reading socket', () => {
  assert.equal(chargesReader(join(projectRoot, 'bpf', 'build', 'probe.bpf.o')), true);
  assert.throws(() => chargesReader('/none.o'), code('NATIVE_NOT_FOUND'));
});

test('maps read, write, remove and list keys, and a full map is an error', () => {
  const map = datapath.maps.get('weft_negative');
  const key = (n: number): Uint8Array => Uint8Array.from({ length: 32 }, (_, i) => (i === 0 ? n : 0));
  map.updateBatch([1, 2, 3].map((n) => [key(n), encodeU64(BigInt(n))] as const));
  assert.equal(map.keys().length, 3);
  assert.equal(map.keys(2).length, 2);
  assert.equal(map.remove(key(1)), true);
  assert.equal(map.remove(key(1)), false);
  assert.equal(map.lookup(key(1)), undefined);
  const pods = datapath.maps.get('weft_pods');
  const pod = new Uint8Array(40);
  assert.throws(() => {
    for (let i = 0n; i <= 1024n; i++) pods.update(encodeU64(1_000_000n + i), pod);
  }, code('NATIVE_FULL'));
  for (const one of pods.keys()) pods.remove(one);
  assert.equal(pods.keys().length, 0);
});

test('wrong arguments of every kind are errors and break nothing', async () => {
  const map = datapath.maps.get('weft_pods');
  const wrong: unknown[] = [undefined, null, 1, 'x', {}, [], -1, 1e99, Number.NaN, () => 0, Symbol('x'), new Uint8Array(3)];
  for (const value of wrong) {
    assert.throws(() => map.lookup(value as Uint8Array), NativeError);
    assert.throws(() => map.update(new Uint8Array(8), value as Uint8Array), NativeError);
    assert.throws(() => map.keys(typeof value === 'number' ? -1 : (value as number) ?? Number.NaN), NativeError);
    assert.throws(() => new BpfMap(value as string), NativeError);
    assert.throws(() => listenIn(value as string, 'no address', 1), NativeError);
    await assert.rejects(load(value as string, '', new Uint8Array(), []), NativeError);
  }
  assert.throws(() => socketIn('/run/netns/none', 4), code('NATIVE_NOT_FOUND'));
  assert.throws(() => new BpfMap('/sys/fs/bpf/none'), code('NATIVE_NOT_FOUND'));
  assert.equal(detach('/sys/fs/bpf/none'), false);
  await assert.rejects(load('/none.o', datapath.dir, new Uint8Array(), []), code('NATIVE_NOT_FOUND'));
});

test('use of a closed map or ring is an error', () => {
  const map = new BpfMap(join(datapath.dir, 'weft_pods'));
  map.close();
  map.close();
  assert.throws(() => map.lookup(new Uint8Array(8)), NativeError);
  const ring = new BpfRing(join(datapath.dir, 'weft_events'));
  assert.deepEqual(ring.drain(10), []);
  ring.close();
  assert.throws(() => ring.drain(1), NativeError);
});

test('10 000 rounds of open and close, including failures, leak no descriptor', () => {
  const round = (): void => {
    const map = new BpfMap(join(datapath.dir, 'weft_pods'));
    map.close();
    closeFd(socketIn('', 4));
    closeFd(listenIn('', '127.0.0.1', 0));
    netnsCookie('');
    assert.throws(() => new BpfMap('/sys/fs/bpf/none'));
    assert.throws(() => socketIn('/proc/self/status', 6));
  };
  round();
  const before = descriptors();
  const rss = process.memoryUsage().rss;
  for (let i = 0; i < 10_000; i++) round();
  assert.equal(descriptors(), before);
  assert.ok(process.memoryUsage().rss - rss < 64 << 20, 'memory grew');
});

test('cleanup removes every trace of an instance', () => {
  datapath.close();
  assert.equal(removeInstance(instance), true);
  assert.equal(instances().includes(instance), false);
  assert.equal(removeInstance(instance), false);
});
