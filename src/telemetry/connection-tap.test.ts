/** Connections as taps show them: by what the client dialed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TapEvent } from '../model/mesh-snapshot.js';
import { subjectOfEvent, type TapFilter } from '../model/tap.js';
import type { ConnectionRecord, Party } from './connection-record.js';
import { ConnectionTap } from './connection-tap.js';
import { Taps } from './taps.js';

const party = (name: string, address: string): Party => ({
  address,
  identity: `spiffe://cluster.local/ns/shop/sa/${name}`,
  namespace: 'shop',
  workload: name,
  canonicalName: name,
  canonicalRevision: 'latest',
  pod: `${name}-1`,
});
const record = (more: Partial<ConnectionRecord> = {}): ConnectionRecord => ({
  direction: 'outbound',
  path: 'hbone',
  why: 'other-node',
  source: party('web', '10.0.0.1:4711'),
  destination: party('api', '10.0.0.2:8080'),
  dialled: '10.96.0.10:80',
  service: 'api.shop.svc.cluster.local',
  bytesSent: 1,
  bytesReceived: 2,
  durationMs: 3,
  ended: 'finished',
  ...more,
});
function seen(of: ConnectionRecord, filter: TapFilter = {}): TapEvent | undefined {
  const taps = new Taps();
  taps.set({ taps: [{ number: 1, query: { filter, sampleOf: 1 } }], leaseMs: 10_000 });
  new ConnectionTap(taps).ended(of);
  return taps.take()?.events[0]?.event;
}

const throughWaypoint = record({
  why: 'destination-has-waypoint',
  destination: party('api', '10.96.0.10:80'),
  waypoint: '10.0.0.9:15008',
});

test('a connection to a waypoint has the Service and port that were dialed, and the waypoint as its path', () => {
  const event = seen(throughWaypoint);
  assert.deepEqual(event?.destination, {
    namespace: 'shop',
    workload: '',
    pod: '',
    service: 'api.shop.svc.cluster.local',
    port: 80,
  });
  assert.deepEqual([event.path, event.outcome], ['waypoint', 'allowed']);
  assert.doesNotMatch(JSON.stringify(event), /15008/);
});

test("a pod's own address that leads through a waypoint keeps the pod and its port; a refused connection is refused", () => {
  const { service: _service, ...own } = record({
    destination: party('api', '10.0.0.2:8080'),
    dialled: '10.0.0.2:8080',
    waypoint: '10.0.0.9:15008',
  });
  const event = seen(own);
  assert.deepEqual(
    [event?.destination.workload, event?.destination.port, event?.path],
    ['api', 8080, 'waypoint'],
  );
  const refused = seen({ ...throughWaypoint, path: 'refused', code: 'WEFT_TUNNEL_CONNECT', why: 'timeout' });
  assert.deepEqual(
    [refused?.path, refused?.outcome, refused?.destination.service, refused?.destination.port],
    ['refused', 'failed', 'api.shop.svc.cluster.local', 80],
  );
});

test('a filter sees of a connection to a waypoint what its event has', () => {
  for (const [filter, isSeen] of [
    [{ ways: ['waypoint'] }, true],
    [{ ways: ['hbone'] }, false],
    [{ namespace: 'shop' }, true],
    [{ workloads: ['shop/web'] }, true],
    [{ workloads: ['shop/api'] }, false],
    [{ identities: ['*/sa/api'] }, false],
  ] as const)
    assert.equal(seen(throughWaypoint, filter) !== undefined, isSeen, JSON.stringify(filter));
  for (const one of [throughWaypoint, record()]) {
    const event = seen(one);
    assert.ok(event);
    const { destinationNamespace, destinationWorkload, destinationIdentity, way } = subjectOfEvent(event);
    const filter: TapFilter = {
      namespace: destinationNamespace,
      ways: [way],
      ...(destinationWorkload === ''
        ? {}
        : { workloads: [`${destinationNamespace}/${destinationWorkload}`] }),
      ...(destinationIdentity === undefined ? {} : { identities: [destinationIdentity] }),
    };
    assert.deepEqual(seen(one, filter)?.destination, event.destination);
  }
});
