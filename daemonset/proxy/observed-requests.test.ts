import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pod } from '../../test/support/mesh.js';
import type { LocalPod } from '../worker-ipc.js';
import { observedSides, type Observable } from './observed-requests.js';

const local = (goldenSignals: boolean): LocalPod => ({
  pod: pod('a', '10.0.0.1', { goldenSignals }),
  netns: { cookie: 1n, path: '' },
});
const [counted, quiet] = [local(true), local(false)];
const across: Observable = { direction: 'outbound', path: 'hbone', why: 'other-node' };
const inbound: Observable = { direction: 'inbound', path: 'inbound-hbone', why: 'tunnel' };
const sameNode: Observable = { direction: 'outbound', path: 'local', why: 'same-node' };

test('each side counts if its own namespace has opted in', () => {
  assert.deepEqual(observedSides(across, counted, undefined), ['outbound']);
  assert.deepEqual(observedSides(across, quiet, undefined), []);
  assert.deepEqual(observedSides(inbound, counted, undefined), ['inbound']);
  assert.deepEqual(observedSides(inbound, quiet, undefined), []);
  assert.deepEqual(observedSides(inbound, undefined, undefined), [], 'the pod has left');
});

test('within a node one relay serves both sides, each counts by its own namespace', () => {
  assert.deepEqual(observedSides(sameNode, counted, counted), ['outbound', 'inbound']);
  assert.deepEqual(observedSides(sameNode, counted, quiet), ['outbound']);
  assert.deepEqual(observedSides(sameNode, quiet, counted), ['inbound']);
  assert.deepEqual(observedSides(sameNode, quiet, quiet), []);
  // The destination's node counts its side.
  assert.deepEqual(observedSides(across, quiet, counted), []);
});

test('the requests of a waypoint are its own to report', () => {
  assert.deepEqual(observedSides({ ...across, why: 'destination-has-waypoint' }, counted, undefined), []);
  assert.deepEqual(observedSides({ ...inbound, why: 'waypoint' }, counted, undefined), []);
});
