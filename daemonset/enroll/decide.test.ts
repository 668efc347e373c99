import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NodePod } from '../../src/model/node-pod.js';
import type { WorkloadUid } from '../../src/model/workload.js';
import { pod as podOf } from '../../test/support/mesh.js';
import type { LocalPod } from '../worker-ipc.js';
import type { Observation } from '../pod/netns.js';
import { decideSteps, type Hooks, type Intent, type Steps } from './decide.js';

const pod = (name: string, more: Partial<NodePod> = {}): NodePod =>
  podOf(name, '10.0.0.1', { netns: `/run/netns/${name}`, ...more });
const enrolled = (p: NodePod, cookie: bigint): [WorkloadUid, LocalPod] => [
  p.uid,
  { pod: p, netns: { cookie, path: p.netns } },
];

const at = (cookie: bigint): Observation => ({ kind: 'present', cookie });
const absent: Observation = { kind: 'absent', why: 'it is not there' };
const unknown: Observation = { kind: 'unknown', why: 'Too many open files' };
const of = (p: NodePod, seen: Observation): Intent => ({ pod: p, seen });
const workloadOf = (name: string): NodePod =>
  pod(name, { uid: `Kubernetes/weft.dev/Workload/evil/${name}` as WorkloadUid });
const hooks = (
  attached: readonly bigint[],
  more: { dead?: readonly bigint[]; owners?: Readonly<Record<string, string>> } = {},
): Hooks => ({
  attached,
  namespaceOf: (cookie) => (more.dead?.includes(cookie) ? 'dead' : 'alive'),
  isDeserted: (cookie) => more.dead?.includes(cookie) ?? false,
  ownerOf: (cookie) => more.owners?.[String(cookie)],
  ownerKey: ({ uid, podUid }) => `${uid} ${podUid}`,
  isOfKubernetes: (key) => !key.endsWith(' '),
});
const keyOf = (p: NodePod): string => `${p.uid} ${p.podUid}`;
const none: Steps = { enroll: [], change: [], release: [], orphans: [], kept: [], waiting: [] };
const cookiesOf = (locals: readonly LocalPod[]): bigint[] => locals.map(({ netns }) => netns.cookie);

test('enrolls a wanted pod and adopts its hook of a previous agent process', () => {
  const steps = decideSteps([of(pod('a'), at(5n))], new Map(), hooks([5n]));
  assert.deepEqual(cookiesOf(steps.enroll), [5n]);
  assert.deepEqual(steps.orphans, []);
});

test('does nothing if the actual state is the desired one', () => {
  assert.deepEqual(decideSteps([of(pod('a'), at(5n))], new Map([enrolled(pod('a'), 5n)]), hooks([5n])), none);
});

test('releases a pod that is no longer wanted, and orphaned hooks if no wanted pod is missing', () => {
  const steps = decideSteps([], new Map([enrolled(pod('a'), 5n)]), hooks([5n, 6n]));
  assert.deepEqual(cookiesOf(steps.release), [5n]);
  assert.deepEqual(steps.orphans, [6n]);
});

test('a Kubernetes pod that discovery no longer lists stays captured until its processes have ended; an uncaptured pod is released', () => {
  const zombie = pod('a', { podUid: '1' });
  const left = new Map([enrolled(zombie, 5n)]);
  assert.deepEqual(decideSteps([], left, hooks([5n])), none);
  assert.deepEqual(cookiesOf(decideSteps([], left, hooks([5n], { dead: [5n] })).release), [5n]);
  const unmeant = new Map([[zombie.uid, zombie]]);
  assert.deepEqual(cookiesOf(decideSteps([], left, hooks([5n]), unmeant).release), [5n]);
  // An uncaptured pod of the same name does not affect this one.
  const other = new Map([[zombie.uid, { ...zombie, podUid: '2' }]]);
  assert.deepEqual(decideSteps([], left, hooks([5n]), other), none);
  // The same after a restart of the agent.
  const owners = { 5: keyOf(zombie) };
  assert.deepEqual(decideSteps([], new Map(), hooks([5n], { owners })), { ...none, kept: [5n] });
  assert.deepEqual(decideSteps([], new Map(), hooks([5n], { owners, dead: [5n] })).orphans, [5n]);
  assert.deepEqual(decideSteps([], new Map(), hooks([5n], { owners }), unmeant).orphans, [5n]);
});

test('a pod of the same name in a new network namespace is enrolled from the start', () => {
  const steps = decideSteps([of(pod('a'), at(7n))], new Map([enrolled(pod('a'), 5n)]), hooks([5n]));
  assert.deepEqual(cookiesOf(steps.release), [5n]);
  assert.deepEqual(cookiesOf(steps.enroll), [7n]);
});

test('changes settings in place without a release of the pod', () => {
  const steps = decideSteps(
    [of(pod('a', { excludeOutboundPorts: [53] }), at(5n))],
    new Map([enrolled(pod('a'), 5n)]),
    hooks([5n]),
  );
  assert.equal(steps.change.length, 1);
  assert.equal(steps.release.length + steps.enroll.length, 0);
});

test('reports why a pod waits, and does not delay others', () => {
  const steps = decideSteps([of(pod('a'), absent), of(pod('b'), at(8n))], new Map(), hooks([]));
  assert.deepEqual(steps.waiting, [{ uid: pod('a').uid, why: absent.why, state: 'coming' }]);
  assert.equal(steps.enroll.length, 1);
});

test('a pod whose network namespace could not be inspected stays as it is and reports the reason', () => {
  const steps = decideSteps([of(pod('a'), unknown)], new Map([enrolled(pod('a'), 5n)]), hooks([5n]));
  assert.deepEqual(steps, { ...none, waiting: [{ uid: pod('a').uid, why: unknown.why, state: 'unknown' }] });
});

test('a missing path does not release a wanted pod: only the end of its network namespace does', () => {
  const of5 = new Map([enrolled(pod('a'), 5n)]);
  assert.deepEqual(decideSteps([of(pod('a'), absent)], of5, hooks([5n])).release, []);
  assert.deepEqual(cookiesOf(decideSteps([of(pod('a'), absent)], of5, hooks([5n], { dead: [5n] })).release), [
    5n,
  ]);
  const another = { ...pod('a'), podUid: 'another' };
  assert.deepEqual(cookiesOf(decideSteps([of(another, absent)], of5, hooks([5n])).release), [5n]);
});

test('an adopted hook is kept for a wanted pod that was not found, and for no other pod', () => {
  const owners = { 5: keyOf(pod('a')), 6: keyOf(pod('gone')), 7: keyOf(pod('b')) };
  for (const seen of [absent, unknown]) {
    const intents = [of(pod('a'), seen), of(pod('b'), at(8n))];
    const steps = decideSteps(intents, new Map(), hooks([5n, 6n, 7n], { owners }));
    assert.deepEqual(steps.kept, [5n], 'the hook may belong to the pod');
    assert.deepEqual(
      steps.orphans,
      [6n, 7n],
      'hooks of an unwanted pod and of a pod in another network namespace',
    );
    assert.deepEqual(decideSteps(intents, new Map(), hooks([5n], { owners, dead: [5n] })).orphans, [5n]);
    // A former build did not record owners: each hook may belong to the pod that was not found.
    assert.deepEqual(decideSteps(intents, new Map(), hooks([5n, 6n])).kept, [5n, 6n]);
  }
});

test('one network namespace belongs to one pod: the holder, then a Pod before a Workload, then the lower UID', () => {
  const [a, b, w] = [pod('a'), pod('b'), workloadOf('w')];
  const claim = (
    enrolled_: Map<WorkloadUid, LocalPod>,
    owners: Record<string, string>,
    ...claims: NodePod[]
  ) =>
    decideSteps(
      claims.map((one) => of(one, at(5n))),
      enrolled_,
      hooks([5n], { owners }),
    );
  const winner = (steps: Steps): unknown => steps.enroll.map((one) => one.pod.name);
  assert.deepEqual(winner(claim(new Map(), {}, w, a)), ['a']);
  assert.deepEqual(winner(claim(new Map(), {}, b, a)), ['a']);
  assert.deepEqual(
    winner(claim(new Map(), { 5: keyOf(b) }, w, a, b)),
    ['b'],
    'attached by a previous agent process',
  );
  const steps = claim(new Map([enrolled(b, 5n)]), { 5: keyOf(a) }, w, a, b);
  assert.deepEqual(steps.enroll, []);
  assert.deepEqual(steps.release, []);
  assert.deepEqual(
    steps.waiting.map(({ uid, why }) => [uid, why.includes(b.uid)]),
    [
      [w.uid, true],
      [a.uid, true],
    ],
  );
});

test('an enrolled pod that has lost its hook is enrolled again', () => {
  const steps = decideSteps([of(pod('a'), at(5n))], new Map([enrolled(pod('a'), 5n)]), hooks([]));
  assert.deepEqual(cookiesOf(steps.enroll), [5n]);
});

test('an address of this machine belongs to one pod: the holder keeps it, a Pod wins over a Workload, a refused pod does not count', () => {
  const [a, b] = [workloadOf('a'), workloadOf('b')];
  const refused = { kind: 'refused', why: 'its namespace is not taken' } as const;
  const uidsOf = (steps: Steps) => steps.enroll.map(({ pod: { uid } }) => uid);
  assert.deepEqual(uidsOf(decideSteps([{ pod: a, seen: refused }, of(b, at(2n))], new Map(), hooks([]))), [
    b.uid,
  ]);
  const both = [of(b, at(2n)), of(a, at(1n))];
  const first = decideSteps(both, new Map(), hooks([]));
  assert.deepEqual(uidsOf(first), [a.uid]);
  assert.deepEqual(first.waiting, [
    { uid: b.uid, why: `its address 10.0.0.1 belongs to ${a.uid}`, state: 'refused' },
  ]);
  assert.deepEqual(uidsOf(decideSteps(both, new Map([enrolled(b, 2n)]), hooks([2n]))), []);
  assert.deepEqual(uidsOf(decideSteps([...both, of(pod('p'), at(3n))], new Map(), hooks([]))), [
    pod('p').uid,
  ]);
});
