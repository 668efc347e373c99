/** Row 6 of docs/security.md: a stolen node credential cannot write state of pods on other nodes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Condition, PodObject } from '../../control/objects/objects.js';
import { podStatuses } from '../../control/status/pod.js';
import { statusWrite } from '../../control/status/write.js';

const pod = (name: string, nodeName: string, conditions: readonly Condition[] = []): PodObject => ({
  kind: 'Pod',
  metadata: { name, namespace: 'bank', uid: `uid-${name}` },
  spec: { nodeName },
  status: { conditions },
});
const captured: Condition = {
  type: 'weft.dev/captured',
  status: 'True',
  reason: 'Captured',
  message: 'by the agent of node n2',
};
const state = (podUid: string, more: object = {}) => ({
  uid: '',
  podUid,
  captured: true,
  sinceMs: 0,
  why: '',
  ...more,
});

test("from a report that names pods of other nodes, unknown pods and a pod twice, only status of the caller's pods is written", () => {
  const pods = [pod('own', 'n1'), pod('elsewhere', 'n2'), pod('held-elsewhere', 'n2', [captured])];
  const paths = (node: string, report: Parameters<typeof podStatuses>[2]): string[] =>
    [...podStatuses(pods, node, report)].map(({ pod, update }) => statusWrite(pod, update)?.path ?? '');
  const all = {
    pods: [
      state('uid-own'),
      state('uid-elsewhere'),
      state('uid-held-elsewhere', { captured: false, why: 'x' }),
      state(''),
      state('../../bank/pods/elsewhere'),
      state('uid-own'),
    ],
  };
  assert.deepEqual(paths('n1', all), ['/api/v1/namespaces/bank/pods/own/status']);
  // A report without a pod that is enrolled on another node does not mark that pod as unenrolled.
  assert.deepEqual(paths('n1', { pods: [] }), []);
  for (const caller of ['waypoint:bank/wp', '', 'N1', 'n1 ', 'n3'])
    assert.deepEqual(paths(caller, all), [], caller);
});

test("a node's statements about its own pods are truncated to what the API server accepts", () => {
  const [first] = podStatuses([pod('own', 'n1')], 'n1', {
    pods: [state('uid-own', { captured: false, why: 'x'.repeat(100_000) })],
  });
  const { status } = first?.update as { status: { conditions: Condition[] } };
  assert.equal(status.conditions[0]?.message?.length, 1_024);
  for (const sinceMs of [1e300, -1e300, Number.MAX_SAFE_INTEGER, Number.NaN]) {
    const [dated] = podStatuses([pod('own', 'n1')], 'n1', { pods: [state('uid-own', { sinceMs })] });
    const said = dated?.update as { status: { conditions: Condition[] } };
    assert.match(
      said.status.conditions[0]?.lastTransitionTime ?? '',
      /^\d{4}-\d\d-\d\dT[\d:]{8}Z$/,
      `${sinceMs}`,
    );
  }
});
