import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTrustDomain } from '../../src/model/identity.js';
import { compile } from './compile.js';
import {
  enrollingCondition,
  enrolledConditionNow,
  enrollMsMax,
  isEnrolling,
  mayBeginEnrolling,
  settleMs,
  startedBefore,
  unreported,
  type EnrollmentProgress,
} from './first-enrollment.js';
import type {
  Condition,
  MeshObject,
  MeshSettingsObject,
  NamespaceObject,
  PodObject,
} from '../objects/objects.js';

const settings = { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '1' };
const strict = { 'weft.dev/mesh': 'enabled', 'weft.dev/mode': 'strict' };
const done: Condition = { type: 'weft.dev/Enrolled', status: 'True', reason: 'Enrolled' };

const namespaceOf = (
  condition?: Condition,
  labels: Record<string, string> = strict,
  annotations: Record<string, string> = {},
  name = 'shop',
): NamespaceObject => ({
  kind: 'Namespace',
  metadata: { name, labels, annotations },
  ...(condition ? { status: { conditions: [condition] } } : {}),
});
const podOf = (
  name: string,
  captured?: 'True' | 'False',
  more: Partial<PodObject['metadata']> = {},
): PodObject => ({
  kind: 'Pod',
  metadata: { name, namespace: 'shop', ...more },
  spec: { nodeName: `node-${name}` },
  status: {
    phase: 'Running',
    podIPs: [{ ip: `10.0.0.${name.length}` }],
    ...(captured ? { conditions: [{ type: 'weft.dev/captured', status: captured }] } : {}),
  },
});
const meshStrict: MeshSettingsObject = {
  kind: 'MeshSettings',
  metadata: { name: 'mesh', namespace: 'weft-system' },
  spec: { mode: 'strict' },
};

/** The resources that nodes are sent: names of policies, and how each pod is dialed. */
function resourcesOf(...objects: readonly MeshObject[]): { policies: string[]; tunnels: Record<string, string> } {
  const resources = [...compile(objects, settings).all()];
  return {
    policies: resources.flatMap((one) => (one.kind === 'policy' ? [one.value.key as string] : [])).sort(),
    tunnels: Object.fromEntries(
      resources.flatMap((one) => (one.kind === 'workload' ? [[one.value.name, one.value.tunnel]] : [])),
    ),
  };
}
const policy: MeshObject = {
  kind: 'AccessPolicy',
  metadata: { name: 'p', namespace: 'shop' },
  spec: { action: 'ALLOW', rules: [{ from: [{ namespaces: ['shop'] }] }] },
};

test('in its first enrollment a namespace is permissive and its pods are dialed by tunnel once reported; policies are in force', () => {
  const pods = [podOf('a', 'True'), podOf('bb', 'False'), podOf('ccc')];
  const own = podOf('dddd', undefined, { labels: strict });
  assert.deepEqual(resourcesOf(namespaceOf(enrollingCondition()), ...pods, own, policy), {
    policies: ['shop/p'],
    tunnels: { a: 'hbone', bb: 'none', ccc: 'none', dddd: 'none' },
  });
  const all = {
    policies: ['shop/p', 'shop/weft-strict-namespace', 'shop/weft-strict-pod-dddd'],
    tunnels: { a: 'hbone', bb: 'hbone', ccc: 'hbone', dddd: 'hbone' },
  };
  assert.deepEqual(resourcesOf(namespaceOf(done), ...pods, own, policy), all);
});

test('a namespace with any other condition, or without one, follows its labels', () => {
  const open = enrollingCondition();
  for (const condition of [
    undefined,
    done,
    { ...open, status: 'Unknown' },
    { ...open, status: 'True' },
    { ...open, reason: 'Other' },
    { ...open, type: 'Other' },
  ]) {
    assert.ok(!isEnrolling(namespaceOf(condition)), JSON.stringify(condition));
    const { policies, tunnels } = resourcesOf(namespaceOf(condition), podOf('a'));
    assert.deepEqual([policies, tunnels], [['shop/weft-strict-namespace'], { a: 'hbone' }]);
  }
  // Pods that are in the mesh by their own labels have no first enrollment.
  const own = podOf('a', undefined, { labels: strict });
  assert.deepEqual(resourcesOf(namespaceOf(open, { 'weft.dev/mode': 'strict' }), own).tunnels, { a: 'hbone' });
});

test('the strict mode of the mesh waits at the first install, but not for later namespaces', () => {
  const first = namespaceOf(enrollingCondition());
  assert.deepEqual(resourcesOf(meshStrict, first).policies, []);
  const other = (condition?: Condition): NamespaceObject => namespaceOf(condition, strict, {}, 'bank');
  assert.deepEqual(resourcesOf(meshStrict, first, other(enrollingCondition())).policies, []);
  for (const condition of [done, undefined])
    assert.deepEqual(resourcesOf(meshStrict, first, other(condition)).policies, [
      'bank/weft-strict-namespace',
      'weft-system/weft-strict-mesh',
    ]);
});

test('the first enrollment begins only if no pod of the namespace was in the mesh before', () => {
  const may = (namespace: NamespaceObject, pods: readonly PodObject[] = [], mesh = false): boolean =>
    mayBeginEnrolling(namespace, {
      namespaces: [namespace, namespaceOf(done, strict, {}, 'bank')],
      pods,
      settings: mesh ? [meshStrict] : [],
    });
  assert.ok(may(namespaceOf()));
  assert.ok(
    may(namespaceOf(undefined, { 'weft.dev/mesh': 'enabled' })),
    'its pods are enrolled one by one as well',
  );
  assert.ok(may(namespaceOf(), [podOf('a', 'False'), podOf('b')]));
  const elsewhere = podOf('a', 'True', { namespace: 'bank' });
  assert.ok(may(namespaceOf(), [elsewhere]));
  assert.ok(
    !may(namespaceOf(), [podOf('a', 'True')]),
    'a namespace enrolled by an earlier version has no condition',
  );
  assert.ok(!may(namespaceOf(done)));
  assert.ok(!may(namespaceOf(enrollingCondition())));
  assert.ok(!may(namespaceOf(undefined, {})));
  assert.ok(!may(namespaceOf(), [], true), 'the mesh is strict already');
  for (const value of ['closed', 'Available', ''])
    assert.ok(!may(namespaceOf(undefined, strict, { 'weft.dev/first-enrollment': value })), value);
  assert.ok(may(namespaceOf(undefined, strict, { 'weft.dev/first-enrollment': 'available' })));
});

test('strict mode waits for running, unreported pods of the mesh that are older than the first enrollment', () => {
  const namespace = namespaceOf(enrollingCondition());
  const pods = [
    podOf('waits'),
    podOf('failed', 'False'),
    podOf('in', 'True'),
    podOf('going', undefined, { deletionTimestamp: '2026-01-01T00:00:00Z' }),
    podOf('meantElsewhere', undefined, { labels: { 'weft.dev/mesh': 'disabled' } }),
    podOf('elsewhere', undefined, { namespace: 'other' }),
    { ...podOf('new'), status: { phase: 'Pending' } },
    { ...podOf('ended'), status: { ...podOf('ended').status, phase: 'Succeeded' } },
    { ...podOf('host'), spec: { nodeName: 'n', hostNetwork: true } },
  ];
  const found = unreported(pods, (name) => (name === 'shop' ? namespace : undefined));
  assert.deepEqual(
    found.map(({ metadata }) => metadata.name),
    ['waits', 'failed'],
  );
  const sinceMs = Date.parse('2026-01-01T00:00:00Z');
  const at = (creationTimestamp: string): PodObject => podOf('a', undefined, { creationTimestamp });
  assert.equal(startedBefore([at('2025-12-31T23:59:59Z'), at('2026-01-01T00:00:01Z')], sinceMs).length, 1);
  assert.equal(startedBefore([podOf('unknown')], sinceMs).length, 1);
});

test('the first enrollment ends after all pods are reported, or at its deadline; its condition names the pods it waits for', () => {
  const progress = { unreported: [], settledMs: undefined, elapsedMs: 0 };
  const conditionWith = (
    more: Partial<EnrollmentProgress>,
    namespace = namespaceOf(enrollingCondition()),
  ): string[] => {
    const {
      status = '',
      reason = '',
      message = '',
    } = enrolledConditionNow(namespace, { ...progress, ...more }) ?? {};
    return [status, reason, message];
  };
  const waiting = [podOf('a'), podOf('bb'), { ...podOf('c'), spec: { nodeName: 'node-a' } }];
  assert.deepEqual(conditionWith({ unreported: waiting }), [
    'False',
    'Enrolling',
    'strict mode is pending: it waits for 3 pods (2 on node-a, 1 on node-bb), for 60 s at most; until then plaintext is accepted',
  ]);
  assert.equal(conditionWith({ settledMs: settleMs - 1 })[0], 'False');
  const inForce = 'in the mesh: strict mode is in force';
  assert.deepEqual(conditionWith({ settledMs: settleMs }), ['True', 'Enrolled', inForce]);
  assert.deepEqual(conditionWith({ unreported: waiting, elapsedMs: enrollMsMax }), [
    'True',
    'DeadlineExceeded',
    inForce,
  ]);
  assert.deepEqual(conditionWith({ unreported: waiting }, namespaceOf(done)), ['True', 'Enrolled', inForce]);
  assert.deepEqual(conditionWith({ unreported: waiting }, namespaceOf()), ['True', 'Enrolled', inForce]);
  assert.equal(enrolledConditionNow(namespaceOf(done, {}), progress), undefined);
});
