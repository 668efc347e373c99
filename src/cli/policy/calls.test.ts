import assert from 'node:assert/strict';
import { test } from 'node:test';
import { noCounts, otherName, type Edge, type EdgeCounts } from '../../model/edge.js';
import type { SpiffeId } from '../../model/identity.js';
import { callsOf } from './calls.js';

const web = 'spiffe://cluster.local/ns/shop/sa/web' as SpiffeId;
const edge = (more: Partial<Edge>, counts: Partial<EdgeCounts>): Edge => ({
  reporter: 'source',
  source: { namespace: 'shop', workload: 'web', pod: 'web-0', identity: web },
  destination: { namespace: 'shop', workload: 'api', pod: 'api-0', identity: undefined },
  service: '',
  port: 8080,
  path: 'hbone',
  method: '',
  pathTemplate: '',
  policy: '',
  ...more,
  counts: { ...noCounts, ...counts },
});
const request = (more: Partial<Edge>, counts: Partial<EdgeCounts>): Edge =>
  edge({ reporter: 'waypoint', path: 'waypoint', method: 'GET', pathTemplate: '/a', ...more }, counts);

test('what both sides of a connection report is counted once, over all pods of a workload', () => {
  const calls = callsOf([
    edge({}, { connections: 3, lastSeenMs: 1 }),
    edge({ reporter: 'destination', path: 'inbound-hbone' }, { connections: 3, lastSeenMs: 2 }),
    edge({ source: { namespace: 'shop', workload: 'web', pod: 'web-1', identity: web } }, { connections: 2 }),
  ]);
  assert.equal(calls.length, 1);
  assert.deepEqual([calls[0]?.passed, calls[0]?.lastSeenMs], [5, 2]);
  assert.deepEqual([...(calls[0]?.source.pods ?? [])], ['web-0', 'web-1']);
});

test('a connection whose requests a waypoint reports is left out; other clients’ connections are not', () => {
  const stranger = { namespace: 'far', workload: 'x', pod: 'x-0', identity: undefined };
  const calls = callsOf([
    edge({}, { connections: 1 }),
    request({}, { requests: 5, refused: 2 }),
    edge({ source: stranger, reporter: 'destination' }, { connections: 1 }),
  ]);
  assert.deepEqual(
    calls.map(({ isRequest, passed, refused }) => [isRequest, passed, refused]),
    [
      [true, 3, 2],
      [false, 1, 0],
    ],
  );
});

test('a connection to a Service whose requests a waypoint reports is left out; one that was refused, and others, are not', () => {
  const service = 'api.shop.svc.cluster.local';
  const destination = { namespace: 'shop', workload: '', pod: '', identity: undefined };
  const toService = { destination, service, port: 80 };
  const stranger = { namespace: 'far', workload: 'x', pod: 'x-0', identity: undefined };
  const calls = callsOf([
    edge(toService, { connections: 1 }),
    request({ service }, { requests: 5 }),
    edge({ ...toService, port: 81, path: 'refused' }, { refused: 2 }),
    edge({ ...toService, service: 'db.shop.svc.cluster.local' }, { connections: 3 }),
    edge({ ...toService, source: stranger }, { connections: 4 }),
  ]);
  assert.deepEqual(
    calls.map(({ isRequest, port, passed, refused }) => [isRequest, port, passed, refused]),
    [
      [true, 8080, 5, 0],
      [false, 81, 0, 2],
      [false, 80, 3, 0],
      [false, 80, 4, 0],
    ],
  );
});

test('a connection that is open since long before is a call; one that only failed is none', () => {
  assert.deepEqual(
    callsOf([edge({ path: 'kernel' }, { lastSeenMs: 9 })]).map(({ passed }) => passed),
    [1],
  );
  assert.deepEqual(callsOf([edge({ path: 'refused' }, { failures: 4 })]), []);
});

test('who is beyond the limits is nobody in particular; a namespace of that name is one', () => {
  const other = { namespace: otherName, workload: otherName, pod: otherName, identity: undefined };
  const named = { namespace: otherName, workload: 'web', pod: 'web-0', identity: web };
  const calls = callsOf([
    edge({ source: other }, { connections: 1 }),
    edge({ source: named }, { connections: 1 }),
  ]);
  assert.deepEqual(
    calls.map(({ source }) => source.isOther),
    [true, false],
  );
});

test('a request that a waypoint itself ended because a rule is closed has not passed; one that an endpoint failed has', () => {
  const nowhere = { namespace: 'shop', workload: '', pod: '', identity: undefined };
  const service = 'api.shop.svc.cluster.local';
  const closed = request({ destination: nowhere, service }, { requests: 5, failures: 4, refused: 1 });
  const [call] = callsOf([closed]);
  assert.deepEqual([call?.passed, call?.refused], [0, 1]);
  assert.deepEqual(callsOf([request({ destination: nowhere, service }, { requests: 4, failures: 4 })]), []);
  assert.equal(callsOf([request({ service }, { requests: 4, failures: 4 })])[0]?.passed, 4);
});

test('a call has all policies that an edge names', () => {
  const [call] = callsOf([request({ policy: 'shop/a,shop/b' }, { requests: 1, audited: 1 })]);
  assert.deepEqual([...(call?.policies ?? [])], ['shop/a', 'shop/b']);
});
