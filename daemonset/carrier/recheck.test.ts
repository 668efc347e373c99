import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIp, type SocketAddress } from '../../src/model/address.js';
import { ChangeTracker, touchedWorkloads } from '../../src/state/change.js';
import { MeshState } from '../../src/state/store.js';
import { behind, id, pod, policy, service, uid, workload } from '../../test/support/mesh.js';
import { dice, names, randomUpdate } from '../../test/support/random-mesh.js';
import { recheck } from '../../src/path/choose-path.js';
import { planCaptured, targetOf } from '../proxy/outbound-decision.js';
import type { LocalPod } from '../worker-ipc.js';
import type { RuleAbout } from './context.js';
import { draftContent, HeldRules, type HeldRule } from './held-rules.js';
import { concernedBy, recheckRules } from './recheck.js';
import { decideAgain, type DecisionView } from './rule.js';

const at = (ip: string, port: number): SocketAddress => ({ ip: parseIp(ip), port });
const locals: LocalPod[] = ['a', 'b', 'c'].map((name, i) => ({
  pod: pod(name, `10.0.0.${i}`),
  netns: { cookie: BigInt(i + 1), path: '' },
}));

function mesh() {
  const view = new MeshState();
  const changes = new ChangeTracker(view);
  const context: DecisionView = {
    node: 'node-1',
    view,
    localPod: (wanted) => locals.find(({ pod: { uid: own } }) => own === wanted),
  };
  const rules = new HeldRules(0);
  const podOf = (cookie: bigint): LocalPod | undefined => locals[Number(cookie) - 1];
  const permit = (local: LocalPod, about: RuleAbout): HeldRule | undefined => {
    const decision = decideAgain(context, local, about);
    return decision.kind === 'rule' ? rules.add(decision.draft, 0).rule : undefined;
  };
  const apply = (update: Parameters<MeshState['apply']>[0]) => {
    const change = changes.of(update);
    view.apply(update);
    const isTouched = touchedWorkloads(view, change);
    const found = recheckRules(
      context,
      rules.values(),
      podOf,
      concernedBy(context, podOf, change, isTouched),
    );
    for (const list of [...found.forbidden.values(), found.ended]) for (const rule of list) rules.end(rule);
    return found;
  };
  return { view, context, rules, podOf, permit, apply };
}
const [a, b] = locals as [LocalPod, LocalPod, LocalPod];

const tunnelOfX: RuleAbout = {
  kind: 'tunnel',
  peer: id('x'),
  remote: at('10.0.0.9', 0),
  local: parseIp('10.0.0.1'),
  authority: at('10.0.0.1', 80),
  forwarded: undefined,
  sourceIdentity: undefined,
};

test('a rule is authorized once, and cut if it is forbidden', () => {
  const { permit, apply } = mesh();
  apply({ workloads: [workload('b', '10.0.0.1', 'node-1')] });
  const rule = permit(b, tunnelOfX);
  assert.ok(rule?.matching);
  assert.equal(apply({ workloads: [workload('other', '10.0.0.7', 'n2')] }).ended.length, 0);
  const { forbidden, ended } = apply({
    policies: [policy('p', 'deny', { destinationPorts: [80] }, { scope: 'namespace' })],
  });
  assert.deepEqual([...forbidden], [['policy shop/p rule 0 denies it', [rule]]]);
  assert.equal(ended.length, 0);
});

test('a rule whose path differs now matches no more, and its flows continue', () => {
  const { permit, apply } = mesh();
  const endpoint = (healthy: boolean) => workload('s1', '10.0.1.1', 'n2', { ...behind('s'), healthy });
  apply({ services: [service('s', '10.1.0.1')], workloads: [endpoint(true)] });
  const rule = permit(a, {
    kind: 'captured',
    client: at('10.0.0.0', 0),
    dialed: at('10.1.0.1', 80),
    picked: undefined,
    avoid: [],
  });
  assert.ok(rule?.matching);
  const more = apply({ workloads: [workload('s2', '10.0.1.2', 'n2', behind('s'))] });
  assert.deepEqual([...more.forbidden.keys(), more.ended.length], [1]);
});

test('for random meshes: a rule does what the plan for its attributes says, until a change ends it', () => {
  for (let seed = 1; seed <= 60; seed++) {
    const roll = dice(seed);
    const { view, context, rules, podOf, permit, apply } = mesh();
    for (let step = 0; step < 60; step++) {
      apply(randomUpdate(roll, roll(3) === 0 ? 'f' : undefined));
      const ip = `10.0.0.${roll(8)}`;
      const local = locals[roll(3)]!;
      const own = local.pod.addresses[0]!;
      const kind = roll(3);
      if (kind === 0)
        permit(local, {
          kind: 'captured',
          client: { ip: own, port: 0 },
          dialed: at(ip, [80, 8080][roll(2)]!),
          picked: roll(2) ? at(`10.0.0.${roll(6)}`, 8080) : undefined,
          avoid: [],
        });
      else if (kind === 1)
        permit(local, {
          kind: 'tunnel',
          peer: id(names[roll(names.length)]!),
          remote: at(ip, 0),
          local: own,
          authority: { ip: own, port: [80, 8080, roll(9)][roll(3)]! || 80 },
          forwarded: undefined,
          sourceIdentity: undefined,
        });
      else permit(local, { kind: 'plain', remote: at(ip, 0), local: { ip: own, port: roll(9) + 1 } });
      for (const rule of rules.values()) {
        if (rule.isEnded || !rule.matching) continue;
        const { about, check, targets } = rule.context;
        const { netns, pod: own } = podOf(rule.pod)!;
        const said = `seed ${seed}, step ${step}: ${JSON.stringify(about)}`;
        const again = decideAgain(context, { netns, pod: own }, about);
        assert.equal(again.kind, 'rule', said);
        if (again.kind !== 'rule') continue;
        assert.ok(draftContent(again.draft).equals(rule.matching.content), said);
        if (check) assert.equal(recheck(view, check.uid, check.attributes, check.peer), undefined, said);
        if (about.kind !== 'captured') continue;
        const captured = { ...about, local: { netns, pod: own }, avoid: new Set<string>() };
        const plan = planCaptured(context, captured, roll(1000) / 1000);
        assert.notEqual(plan.kind, 'refuse', said);
        if (plan.kind === 'refuse') continue;
        const { ip: endpointIp, port } = targetOf(plan);
        assert.ok(
          targets.some(({ endpoint }) => endpoint === `${endpointIp}:${port}`),
          `${said}: ${endpointIp}:${port}`,
        );
      }
    }
  }
});

test('the workload of a rule is unknown to the view: nothing is cut', () => {
  const { permit, apply } = mesh();
  apply({ workloads: [workload('b', '10.0.0.1', 'node-1')] });
  permit(b, { kind: 'plain', remote: at('10.9.0.1', 0), local: at('10.0.0.1', 80) });
  const { forbidden, ended } = apply({ removed: [uid('b')] });
  assert.deepEqual([forbidden.size, ended.length], [0, 1]);
});

test('of two rules with one match that a carrier lists, the one that matches there is decided again, in whatever order they come', () => {
  const { context, apply, podOf } = mesh();
  apply({ workloads: [workload('b', '10.0.0.1', 'node-1')] });
  const decision = decideAgain(context, b, tunnelOfX);
  assert.equal(decision.kind, 'rule');
  const { match, targets, context: held, bytes, observe } = decision.draft;
  for (const order of [
    [1, 2],
    [2, 1],
  ]) {
    const rules = new HeldRules(2);
    for (const rule of order)
      rules.adopt(
        { id: rule, pod: 2, match, targets: [...targets], context: bytes, observe },
        held,
        rule === 2,
      );
    assert.deepEqual([rules.get(1)?.isEnded, rules.get(2)?.isEnded], [true, false]);
    // Another view knows nothing of the workload, so the decision differs.
    const { view } = mesh();
    const everything = { isTouched: () => true, isRelated: () => true };
    const { ended } = recheckRules({ ...context, view }, rules.values(), podOf, everything);
    assert.deepEqual(
      ended.map((rule) => rule.id),
      [2],
    );
  }
});
