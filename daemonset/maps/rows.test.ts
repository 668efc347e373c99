import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIp } from '../../src/model/address.js';
import { decodeEvent } from './events.js';
import { little } from './row.js';
import {
  EventRow,
  FlowRow,
  LiveRow,
  LocalRow,
  PodRow,
  ProbeKey,
  VerdictKey,
  structs,
} from './rows.generated.js';

const live = {
  source: 1n,
  destination: 2n,
  saddr: parseIp('10.0.0.1'),
  daddr: parseIp('fd00::2'),
  dialled: parseIp('10.96.0.1'),
  dport: 80,
  dialledPort: 8080,
  sport: 40_000,
  flags: 3,
  epoch: 2n ** 63n,
  started: 5n,
  bytes: [6n, 7n],
  spliced: [8n, 9n],
  sock: [10n, 11n],
  cookie: [12n, 13n],
  base: [0xffff_ffff, 15],
} as const;
const fieldsOf = (row: LiveRow): object =>
  Object.fromEntries(Object.keys(live).map((name) => [name, row[name as keyof typeof live]]));

test('a decoded row equals the encoded one: numbers, addresses, arrays, a nested struct', () => {
  const bytes = LiveRow.encode(live);
  assert.equal(bytes.length, structs.weft_live[0]);
  assert.deepEqual(fieldsOf(new LiveRow(bytes)), live);
  const flow = new FlowRow(FlowRow.encode({ time: 99n, live }));
  assert.equal(flow.time, 99n);
  assert.deepEqual(fieldsOf(flow.live), live);
});

test('a row is read from the middle of a buffer', () => {
  const bytes = Buffer.concat([Buffer.alloc(7, 0xff), LocalRow.encode({ cookie: 1n, epoch: 2n, flags: 3 })]);
  const { cookie, epoch, flags } = new LocalRow(bytes.subarray(7));
  assert.deepEqual([cookie, epoch, flags], [1n, 2n, 3]);
});

test('ports of sockets are in network byte order, all other numbers in host byte order', () => {
  const [port] = structs.weft_verdict_key[1].port;
  const key = VerdictKey.encode({ source: 1n, destination: 2n, port: 0x1234 });
  assert.deepEqual([...key.subarray(port, port + 2)], [0x12, 0x34]);
  const [probed] = structs.weft_probe_key[1].port;
  const probe = ProbeKey.encode({ ip: parseIp('10.0.0.1'), port: 0x1234 });
  assert.deepEqual([...probe.subarray(probed, probed + 2)], little ? [0x34, 0x12] : [0x12, 0x34]);
});

test('a missing address of a pod is all zero', () => {
  const bytes = PodRow.encode({ ip4: parseIp('10.0.0.1'), ip6: undefined, flags: 0, generation: 0 });
  assert.deepEqual([...bytes.subarray(16, 32)], Array(16).fill(0));
});

test('too few bytes for a field are an error; an unknown reason is decoded as unknown', () => {
  assert.throws(() => new LiveRow(new Uint8Array(10)).epoch, RangeError);
  const event = EventRow.encode({
    time: 1n,
    cookie: 2n,
    saddr: parseIp('10.0.0.1'),
    daddr: parseIp('10.0.0.2'),
    sport: 1,
    dport: 2,
    reason: 1000,
  });
  assert.equal(decodeEvent(event).reason, 'unknown');
});
