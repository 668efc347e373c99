/**
 * Rows 4, 6 and 7 of docs/security.md: a stolen node credential and a compromised waypoint show readers of taps only what is theirs and was asked
 * for, read nothing, and cost others nothing.
 */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import { controlCaller } from '../../control/authentication/service-callers.js';
import { ReplicatedTaps } from '../../control/taps/tap-source.js';
import { readerEventsMax } from '../../control/taps/tap-queue.js';
import { tapReaderOf, type TapReader } from '../../control/taps/tap-reader.js';
import { until } from '../../src/base/wait.js';
import { encodeTapFilter } from '../../src/discovery/codec/tap.js';
import { TapBatch, TapWatch } from '../../src/discovery/gen/weft.js';
import { TapClient } from '../../src/discovery/tap-client.js';
import type { TapEvent } from '../../src/model/mesh-snapshot.js';
import type { TapFilter } from '../../src/model/tap.js';
import { TapBuffer, type TapSetting } from '../../src/telemetry/taps.js';
import { tapConnection, tapParty, tapRequest } from '../support/taps.js';
import { issueToken } from '../support/tokens.js';
import { startControl, twoReplicas, type Closers, type Control } from './support/control.js';
import { manifests, pod } from './support/two-nodes.js';

const closers: Closers = [];
after(() => closers.reverse().forEach((close) => close()));
const services = `${manifests}---
kind: Service
metadata: { name: ledger, namespace: bank, labels: { weft.dev/waypoint: wp, weft.dev/waypoint-namespace: bank } }
spec: { selector: { app: ledger }, clusterIP: 10.96.0.1, ports: [{ port: 80 }] }
---
kind: Service
metadata: { name: a, namespace: shop, labels: { weft.dev/waypoint: wp } }
spec: { selector: { app: a }, clusterIP: 10.96.0.3, ports: [{ port: 80 }] }
${pod('vault', 'n2', '10.0.0.4', 'bank')}`;

const a = tapParty('shop', 'a');
const b = tapParty('shop', 'b');
const vault = tapParty('bank', 'vault');
const to = (party: TapEvent['source'], service?: string): TapEvent['destination'] => ({
  ...party,
  port: 80,
  ...(service === undefined ? {} : { service }),
});

/** A program that sends what it is given to all taps. */
async function program(control: Control, caller: string) {
  const token = await issueToken(control.state, caller, 60);
  const buffer = new TapBuffer(400);
  let setting: TapSetting = { taps: [], leaseMs: 0 };
  const problems: string[] = [];
  const client = new TapClient({
    control: { target: control.target, rootPem: () => control.ca.roots, token: () => token },
    onTaps: (next) => (setting = next),
    take: () => buffer.take(),
    onProblem: (why) => problems.push(why),
  });
  client.start();
  closers.push(() => client.stop());
  await until(`${caller} is connected`, 30_000, () => control.taps.programs > 0 || problems.length > 0);
  return {
    problems,
    taps: () => setting.taps,
    send: (events: readonly TapEvent[], taps?: readonly number[]) => {
      for (const event of events)
        buffer.add({ taps: taps ?? setting.taps.map(({ number }) => number), event });
    },
    lose: (tap: number, events: number) => buffer.lose(tap, events),
  };
}

const alone = (user: string): TapReader => ({ user, group: user });

function open(control: Control, filter: TapFilter = {}) {
  const reading = control.taps.open({ filter, sampleOf: 1 }, alone('reader'));
  assert.ok(reading);
  const events: TapEvent[] = [];
  const seen = { lost: 0, isOver: false };
  void (async () => {
    for (;;) {
      const delivery = await reading.queue.next(1_000);
      if (!delivery) return void (seen.isOver = true);
      events.push(...delivery.events);
      seen.lost += delivery.lost;
    }
  })();
  closers.push(() => reading.close());
  return { events, seen, close: () => reading.close() };
}
const refused = (control: Control, why: string): number => control.refusedTapEvents.get(why) ?? 0;

test("an agent's events of other nodes' pods, of other identities and of waypoints are not shown", async () => {
  const control = await startControl(closers, services);
  const thief = await program(control, 'n1');
  const reader = open(control);
  await until('the tap is on', 30_000, () => thief.taps().length === 1);
  const forged = [
    tapConnection({ source: b, destination: to(a) }),
    tapConnection({ source: vault, destination: to(a) }),
    tapConnection({ seenBy: 'destination', source: a, destination: to(vault) }),
    tapConnection({ seenBy: 'waypoint', source: a, destination: to(a) }),
    tapConnection({ source: { ...a, identity: b.identity as string }, destination: to(b) }),
    tapConnection({ source: tapParty('', ''), destination: to(a) }),
  ];
  thief.send(forged);
  await until('the events were refused', 30_000, () => refused(control, 'not-its-own') === forged.length);
  thief.send([tapConnection({ source: a, destination: to(vault), reporter: 'n2' })]);
  await until('its own event is shown', 30_000, () => reader.events.length === 1);
  assert.equal(reader.events[0]?.reporter, 'n1', 'the program does not say who it is');
});

test('a waypoint shows only what uses it', async () => {
  const control = await startControl(closers, services);
  const waypoint = await program(control, 'waypoint:shop/wp');
  const reader = open(control);
  await until('the tap is on', 30_000, () => waypoint.taps().length === 1);
  waypoint.send([
    tapRequest({ source: a, destination: to(vault, 'ledger.bank.svc.cluster.local') }),
    tapRequest({ source: a, destination: to(vault) }),
    tapConnection({ source: a, destination: to(b) }),
  ]);
  await until('the events were refused', 30_000, () => refused(control, 'not-its-own') === 3);
  waypoint.send([tapRequest({ source: vault, destination: to(a, 'a.shop.svc.cluster.local') })]);
  await until('its own event is shown', 30_000, () => reader.events.length === 1);
  assert.equal(reader.events[0]?.reporter, 'shop/wp');
});

test('forbidden: a waypoint shows traffic of a pod elsewhere whose address a tenant has written by hand', async () => {
  const byHand = `---
kind: Service
metadata: { name: byhand, namespace: shop, labels: { weft.dev/waypoint: wp } }
spec: { clusterIP: 10.96.0.9, ports: [{ port: 80 }] }
---
kind: EndpointSlice
metadata: { name: byhand-1, namespace: shop, labels: { kubernetes.io/service-name: byhand } }
addressType: IPv4
ports: [{ port: 8080 }]
endpoints: [{ addresses: [10.0.0.4] }]
`;
  const control = await startControl(closers, `${services}${byHand}`);
  const waypoint = await program(control, 'waypoint:shop/wp');
  const [all, bank] = [open(control), open(control, { namespace: 'bank' })];
  await until('the taps are on', 30_000, () => waypoint.taps().length === 2);
  const service = 'byhand.shop.svc.cluster.local';
  waypoint.send([tapRequest({ source: a, destination: to(vault, service) })]);
  await until('the event is shown', 30_000, () => all.events.length === 1);
  assert.deepEqual(all.events[0]?.destination, {
    namespace: 'shop',
    workload: '',
    pod: '',
    service,
    port: 80,
  });
  assert.deepEqual(bank.events, []);
});

test('an event that no tap has asked for is not shown, in whatever taps the program puts it', async () => {
  const control = await startControl(closers, services);
  const thief = await program(control, 'n1');
  const other = open(control, { namespace: 'bank' });
  const mine = open(control, { ways: ['kernel'] });
  await until('the taps are on', 30_000, () => thief.taps().length === 2);
  thief.send([tapConnection({ source: a, destination: to(b) })]);
  await until('the event was refused', 30_000, () => refused(control, 'not-asked-for') === 1);
  assert.deepEqual([other.events, mine.events], [[], []]);
});

test('a tap ends with its reader: programs are told, and hold nothing', async () => {
  const control = await startControl(closers, services);
  const agent = await program(control, 'n1');
  const first = open(control);
  const second = open(control, { namespace: 'shop' });
  await until('the taps are on', 30_000, () => agent.taps().length === 2);
  first.close();
  await until('one tap is left', 30_000, () => agent.taps().length === 1);
  second.close();
  await until('no tap is left', 30_000, () => agent.taps().length === 0);
  assert.equal(control.taps.size, 0);
});

test('a flood of events makes a reader lose some, and it is told how many: memory does not grow', async () => {
  const control = await startControl(closers, services);
  const agent = await program(control, 'n1');
  const reading = control.taps.open({ filter: {}, sampleOf: 1 }, alone('slow'));
  assert.ok(reading);
  closers.push(() => reading.close());
  await until('the tap is on', 30_000, () => agent.taps().length === 1);
  const event = tapConnection({ source: a, destination: to(b) });
  const number = agent.taps()[0]?.number ?? 0;
  let sent = 0;
  for (let round = 1; round <= 5; round++) {
    agent.send(Array.from({ length: 390 }, () => event));
    agent.lose(number, 10);
    sent += 400;
    const waiting = Math.min(readerEventsMax, round * 390);
    await until('the events have arrived', 30_000, () => reading.queue.size === waiting);
  }
  let seen = 0;
  let lost = 0;
  await until('all are accounted for', 30_000, async () => {
    const delivery = await reading.queue.next(100);
    seen += delivery?.events.length ?? 0;
    lost += delivery?.lost ?? 0;
    return seen + lost === sent;
  });
  assert.ok(seen >= readerEventsMax);
  assert.ok(lost >= 50);
});

test('one user cannot open all taps', async () => {
  const control = await startControl(closers, services);
  const query = { filter: {}, sampleOf: 1 };
  const opened = Array.from({ length: 100 }, () => control.taps.open(query, alone('greedy'))).filter(Boolean);
  assert.ok(opened.length <= 16);
  assert.ok(control.limits.includes('control-taps'));
  assert.ok(control.taps.open(query, alone('other')));
});

const account = (namespace: string, name: string): TapReader =>
  tapReaderOf(`system:serviceaccount:${namespace}:${name}`, 'shop');

test("a namespace's accounts, however many, do not keep others from opening a tap, at their replica and at the others", async () => {
  const control = await startControl(closers, services);
  for (const kind of ['reader', 'watcher'] as const) {
    const opened = (reader: TapReader) => control.taps.open({ filter: {}, sampleOf: 1 }, reader, kind);
    for (let round = 0; round < 50; round++) for (let i = 0; i < 50; i++) opened(account('evil', `a${i}`));
    assert.equal(opened(account('evil', 'one-more')), undefined);
    for (const reader of [
      account('bank', 'dashboard'),
      tapReaderOf('alice', 'evil'),
      tapReaderOf('alice', undefined),
      tapReaderOf('bob', 'shop'),
    ])
      assert.ok(opened(reader), JSON.stringify(reader));
  }
});

test('users of one namespace do not keep those of others from opening a tap', async () => {
  const control = await startControl(closers, services);
  const query = { filter: {}, sampleOf: 1 };
  for (let i = 0; i < 100; i++) control.taps.open(query, tapReaderOf(`user-${i}`, 'evil'));
  assert.equal(control.taps.open(query, tapReaderOf('one-more', 'evil')), undefined);
  assert.ok(control.taps.open(query, tapReaderOf('alice', 'bank')));
  assert.ok(control.taps.open(query, account('evil', 'a')), 'its service accounts are a group of their own');
});

/** Undefined: the watch is open, and ends with the test, or at once if no reader is named. */
async function watchStatus(
  control: Control,
  caller: string,
  reader?: TapReader,
): Promise<number | undefined> {
  const token = await issueToken(control.state, caller, 60);
  const client = new Client(control.target, credentials.createSsl(Buffer.from(control.ca.roots)), {});
  closers.push(() => client.close());
  const metadata = new Metadata();
  metadata.set('authorization', `Bearer ${token}`);
  const stream = client.makeBidiStreamRequest(
    '/weft.v1.Taps/Watch',
    (message: TapWatch) => Buffer.from(TapWatch.encode(message).finish()),
    (bytes) => TapBatch.decode(bytes),
    metadata,
  );
  stream.write({ filter: encodeTapFilter({}), sampleOf: 1, user: '', group: '', ...reader });
  return new Promise((resolve) => {
    stream.once('data', () => {
      if (!reader) stream.cancel();
      resolve(undefined);
    });
    stream.on('error', (error) => resolve((error as { readonly code?: number }).code));
  });
}

test('no node and no waypoint reads taps; another replica of the control plane reads them and reports nothing', async () => {
  const control = await startControl(closers, services);
  assert.equal(await watchStatus(control, 'n1'), 7);
  assert.equal(await watchStatus(control, 'waypoint:shop/wp'), 7);
  assert.equal(await watchStatus(control, controlCaller), undefined);
  await until('the watch has ended', 30_000, () => control.taps.size === 0);
  const replica = await program(control, controlCaller);
  await until('the report is refused', 30_000, () => replica.problems.length > 0);
  assert.match(replica.problems[0] ?? '', /only node agents and waypoints/);
});

test('at another replica a tap uses the share of its reader, not that of the replica', async () => {
  const control = await startControl(closers, services);
  const statuses: (number | undefined)[] = [];
  for (let i = 0; i < 50; i++)
    statuses.push(await watchStatus(control, controlCaller, account('evil', `a${i}`)));
  assert.equal(statuses[0], undefined);
  assert.equal(statuses.at(-1), 8);
  assert.equal(await watchStatus(control, controlCaller, account('bank', 'dashboard')), undefined);
});

test('a reader of one replica sees what programs connected to another see, and is told of replicas that do not answer', async () => {
  const [own, other] = [await startControl(closers, services), await startControl(closers, services)];
  const agent = await program(other, 'n1');
  const token = await issueToken(other.state, controlCaller, 60);
  const taps = new ReplicatedTaps(own.taps, twoReplicas('other', other, token));
  const reading = taps.open({ filter: { namespace: 'shop' }, sampleOf: 1 }, account('shop', 'reader'));
  assert.ok(reading);
  closers.push(() => reading.close());
  await until('the tap is on', 30_000, () => agent.taps().length === 1);
  agent.send([tapConnection({ source: a, destination: to(b) })]);
  const events: TapEvent[] = [];
  let missing: readonly string[] = [];
  await until('the event is shown', 30_000, async () => {
    const delivery = await reading.queue.next(100);
    events.push(...(delivery?.events ?? []));
    missing = delivery?.missing ?? missing;
    return events.length === 1 && missing.length > 0;
  });
  assert.deepEqual([events[0]?.reporter, missing], ['n1', ['gone']]);
  reading.close();
  await until('the tap is off', 30_000, () => agent.taps().length === 0);
});
