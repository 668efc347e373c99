import assert from 'node:assert/strict';
import { test } from 'node:test';
import { acceptedFindings, enrollmentFindings, routeFindings } from './configuration.js';

const metadata = { name: 'p', namespace: 'shop', generation: 2 };
const accepted = (status: string, observedGeneration: number) => ({
  conditions: [
    { type: 'Accepted', status, observedGeneration, message: 'cidrs: x; what it selects is closed' },
  ],
});

test('an object that is not in force as written is a failure with its reason', () => {
  const of = (status: string, generation: number) =>
    acceptedFindings('AccessPolicy', [{ metadata, status: accepted(status, generation) }]);
  assert.deepEqual(of('True', 2), []);
  assert.equal(of('True', 1)[0]?.level, 'warn');
  const [found] = of('False', 2);
  assert.equal(found?.level, 'fail');
  assert.equal(found?.what, 'AccessPolicy shop/p: cidrs: x; what it selects is closed');
});

test('an object of another mesh of which a part is closed is a warning', () => {
  const of = (message: string) =>
    acceptedFindings('VirtualService', [
      {
        metadata,
        status: { conditions: [{ type: 'Accepted', status: 'True', observedGeneration: 2, message }] },
      },
    ]);
  assert.deepEqual(of('in force'), []);
  assert.deepEqual(of('in force, except: http[].match[].name: no effect: it is a name'), []);
  const [found] = of('in force, except: http[0].route[0]: closed: no DestinationRule defines subset v3');
  assert.equal(found?.level, 'warn');
  assert.match(found?.what ?? '', /^VirtualService shop\/p: .*subset v3$/);
});

test('a route is a failure if a condition of Weft says that it is invalid, wholly or in part', () => {
  const of = (controllerName: string, type: string, status: string) =>
    routeFindings('HTTPRoute', [
      { metadata, status: { parents: [{ controllerName, conditions: [{ type, status, message: 'm' }] }] } },
    ]).length;
  assert.equal(of('weft.dev/waypoint', 'Accepted', 'False'), 1);
  assert.equal(of('weft.dev/waypoint', 'PartiallyInvalid', 'True'), 1);
  assert.equal(of('weft.dev/waypoint', 'ResolvedRefs', 'False'), 1);
  assert.equal(of('weft.dev/waypoint', 'weft.dev/Enforced', 'False'), 1);
  assert.equal(of('weft.dev/waypoint', 'Accepted', 'True'), 0);
  assert.equal(of('other.test/x', 'Accepted', 'False'), 0);
});

test('a policy that no waypoint enforces is a warning: its closed form is in force', () => {
  const conditions = [
    { type: 'Accepted', status: 'True', observedGeneration: 2 },
    {
      type: 'weft.dev/Enforced',
      status: 'False',
      observedGeneration: 2,
      message: 'Service shop/api has no waypoint',
    },
  ];
  const [found, ...others] = acceptedFindings('AccessPolicy', [{ metadata, status: { conditions } }]);
  assert.deepEqual(
    [found?.level, found?.what, others.length],
    ['warn', 'AccessPolicy shop/p: Service shop/api has no waypoint', 0],
  );
});

test('a namespace in its first enrollment is a warning that names the pods it waits for', () => {
  const namespace = (status: string) => ({
    metadata: { name: 'shop' },
    status: { conditions: [{ type: 'weft.dev/Enrolled', status, message: 'waits for 1 pod (1 on n1)' }] },
  });
  assert.deepEqual(
    enrollmentFindings([namespace('False'), namespace('True'), { metadata: { name: 'other' } }]).map(
      ({ level, what }) => [level, what],
    ),
    [['warn', 'Namespace shop: waits for 1 pod (1 on n1)']],
  );
});
