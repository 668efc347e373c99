import assert from 'node:assert/strict';
import { test } from 'node:test';
import { key, policy, workload } from '../../test/support/mesh.js';
import { dice, randomUpdate } from '../../test/support/random-mesh.js';
import type { AuthorizationPolicy } from '../model/policy.js';
import type { Workload } from '../model/workload.js';
import { ChangeTracker, touchedWorkloads, touchesWorkload } from './change.js';
import { identitiesOf, waypointsOf } from './resolve.js';
import { MeshState, type MeshUpdate } from './store.js';

/** Everything that a decision about the workload's connections reads, as text. */
function restsOn(view: MeshState, { uid: name }: Workload): string {
  const one = view.workload(name);
  if (!one) return 'gone';
  const services = [...view.servicesOf(one).keys()].sort();
  return JSON.stringify([
    { ...one, services: [...one.services] },
    view.policiesFor(one),
    services,
    services.map((each) => [view.service(each), view.policiesForService(each)]),
    [80, 8080].map((port) => {
      const waypoints = waypointsOf(view, one, port);
      return [waypoints, waypoints.map((waypoint) => identitiesOf(view, waypoint).sort())];
    }),
  ]);
}

test('a change to anything that a decision about a workload depends on touches that workload', () => {
  let left = 0;
  let changed = 0;
  for (let seed = 1; seed <= 200; seed++) {
    const roll = dice(seed);
    const view = new MeshState();
    const tracker = new ChangeTracker(view);
    for (let step = 0; step < 40; step++) {
      const update = randomUpdate(roll);
      const workloads = [...(view.full().workloads ?? [])];
      const before = workloads.map((one) => restsOn(view, one));
      const change = tracker.of(update);
      view.apply(update);
      workloads.forEach((one, i) => {
        const touched = touchedWorkloads(view, change)(one.uid);
        if (!touched) left++;
        if (restsOn(view, one) === before[i]) return;
        changed++;
        assert.ok(touched, `seed ${seed} step ${step}: ${JSON.stringify(update)} changed ${one.uid}`);
      });
    }
  }
  // Otherwise the test above would pass for a rule that touches every workload, or for changes that change nothing.
  assert.ok(changed > 1000 && left > 5000, `${changed} changed, ${left} were left alone`);
});

test('a hand-written endpoint touches only workloads at its address in its own namespace', () => {
  const view = new MeshState();
  const tracker = new ChangeTracker(view);
  const one = workload('one', '10.0.0.1', 'node-1');
  const reference = (namespace: string): Workload =>
    workload('ref', '10.0.0.1', '', {
      uid: `Kubernetes/discovery.k8s.io/EndpointSlice/${namespace}/ref/10.0.0.1` as Workload['uid'],
      namespace,
    });
  const apply = (update: MeshUpdate): boolean => {
    const change = tracker.of(update);
    view.apply(update);
    return touchesWorkload(view, change, one);
  };
  apply({ workloads: [one] });
  assert.equal(apply({ workloads: [reference('evil')] }), false);
  assert.equal(apply({ removed: [reference('evil').uid] }), false);
  assert.equal(apply({ workloads: [reference('shop')] }), true);
  assert.equal(apply({ removed: [reference('shop').uid] }), true);
});

test('a policy whose scope changed touches both its former and its new scope', () => {
  const view = new MeshState();
  const tracker = new ChangeTracker(view);
  const one = workload('one', '10.0.0.1', 'node-1', { policies: ['shop/p'] });
  const far = workload('far', '10.0.0.2', 'node-1', { namespace: 'far' });
  const apply = (update: MeshUpdate): boolean[] => {
    const change = tracker.of(update);
    view.apply(update);
    return [one, far].map((each) => touchesWorkload(view, change, each));
  };
  apply({ workloads: [one, far] });
  const as = (more: Partial<AuthorizationPolicy>): MeshUpdate => ({
    policies: [policy('p', 'deny', {}, more)],
  });
  assert.deepEqual(apply(as({ scope: 'workload' })), [true, false]);
  assert.deepEqual(apply(as({ scope: 'namespace', namespace: 'far' })), [true, true]);
  assert.deepEqual(apply(as({ scope: 'global' })), [true, true]);
  assert.deepEqual(apply(as({ services: [key('api')] })), [true, true]);
  assert.deepEqual(apply(as({ services: [key('other')] })), [false, false]);
  assert.deepEqual(apply({ removedPolicies: ['shop/p'] }), [false, false]);
});
