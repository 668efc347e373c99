import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseCidr, parseIp } from '../../src/model/address.js';
import type { NodePod } from '../../src/model/node-pod.js';
import { pod } from '../../test/support/mesh.js';
import { BypassBlocks } from './bypass-ip.js';
import { BypassPorts } from './bypass-port.js';
import type { PinnedMaps } from './pinned.js';
import { ProbePorts } from './probe.js';
import { BypassIpKey, BypassPortKey, ProbeKey } from './rows.generated.js';

/** A map with room for `max` rows. */
class FakeMap {
  readonly rows = new Map<string, readonly [Uint8Array, Uint8Array]>();
  max = Infinity;
  keys(): Uint8Array[] {
    return [...this.rows.values()].map(([key]) => key);
  }
  lookup(key: Uint8Array): Uint8Array | undefined {
    return this.rows.get(String(key))?.[1];
  }
  update(key: Uint8Array, value: Uint8Array): void {
    if (!this.rows.has(String(key)) && this.rows.size >= this.max) throw new Error('full');
    this.rows.set(String(key), [key, value]);
  }
  remove(key: Uint8Array): boolean {
    return this.rows.delete(String(key));
  }
}
const mapsOf = (map: FakeMap): PinnedMaps => ({ get: () => map }) as unknown as PinnedMaps;
const excluding = (...ports: number[]): NodePod => pod('web', '10.0.0.1', { excludeOutboundPorts: ports });
const portsIn = (map: FakeMap): number[] => map.keys().map((key) => new BypassPortKey(key).port);
function write(rows: BypassPorts | BypassBlocks | ProbePorts, of: NodePod, cookie = 1n): void {
  const { put, prune } = rows.replace(of, cookie);
  put();
  prune();
}

test('outdated rows of a pod are removed, also those of a previous agent, and no other pod loses a row', () => {
  const map = new FakeMap();
  write(new BypassPorts(mapsOf(map)), excluding(80, 81));
  write(new BypassPorts(mapsOf(map)), excluding(90), 2n);
  const next = new BypassPorts(mapsOf(map));
  write(next, excluding(81, 82));
  assert.deepEqual(portsIn(map).sort(), [81, 82, 90]);
  next.remove(1n);
  assert.deepEqual(portsIn(map), [90]);
});

test('a row that was written before the map became full is removed once the pod no longer has it', () => {
  const map = new FakeMap();
  const rows = new BypassPorts(mapsOf(map));
  write(rows, excluding(80));
  map.max = 2;
  assert.throws(() => write(rows, excluding(80, 81, 82)), /full/);
  write(rows, excluding(80));
  assert.deepEqual(portsIn(map), [80]);
});

test('the prefix length of a block includes the cookie and the IPv4-mapped prefix', () => {
  const map = new FakeMap();
  const blocks = ['10.1.0.0/16', 'fd00::/8'].map(parseCidr);
  const rows = new BypassBlocks(mapsOf(map));
  write(rows, pod('web', '10.0.0.1', { excludeOutboundCidrs: blocks }), 7n);
  const found = map.keys().map((key) => new BypassIpKey(key));
  assert.deepEqual(
    found.map(({ prefixLength, ip }) => [prefixLength, ip]),
    [
      [64 + 96 + 16, '10.1.0.0'],
      [64 + 8, 'fd00::'],
    ],
  );
  rows.remove(7n);
  assert.equal(map.rows.size, 0);
});

test("rows of probes are keyed by address and found again by their pod's cookie", () => {
  const map = new FakeMap();
  const probed = pod('web', '10.0.0.1', { probePorts: [8080] });
  write(new ProbePorts(mapsOf(map)), probed, 1n);
  write(new ProbePorts(mapsOf(map)), { ...probed, addresses: [parseIp('10.0.0.2')] }, 2n);
  new ProbePorts(mapsOf(map)).remove(1n);
  assert.deepEqual(
    map.keys().map((key) => new ProbeKey(key).ip),
    ['10.0.0.2'],
  );
});
