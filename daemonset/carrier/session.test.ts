import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { parseIp, type SocketAddress } from '../../src/model/address.js';
import { MeshState } from '../../src/state/store.js';
import { openRecord } from '../../src/telemetry/connection-record.js';
import type { MetricEvent } from '../../src/telemetry/metrics.js';
import { flowRecords } from '../../test/support/flow-records.js';
import { pod, policy, workload } from '../../test/support/mesh.js';
import type { LocalPod } from '../worker-ipc.js';
import {
  CarrierHello,
  Closed,
  Ended,
  Flow,
  State,
  type Answer,
  type Question,
  type Rule,
} from './gen/carrier.js';
import { encodeAddress, protocolVersion, type ToCarrierKind } from './protocol.js';
import { CarrierSession } from './session.js';

const at = (ip: string, port: number): SocketAddress => ({ ip: parseIp(ip), port });
const local: LocalPod = { pod: pod('b', '10.0.0.1'), netns: { cookie: 1n, path: '' } };
const remote = encodeAddress(at('10.9.0.1', 40_000));
const plain = (flow: number, port = 80): Question => ({
  flow,
  pod: 1,
  about: { $case: 'plain', value: { remote, local: encodeAddress(at('10.0.0.1', port)) } },
});
const hello = CarrierHello.fromPartial({
  version: protocolVersion,
  build: 'test',
  pid: 7,
  startedMs: 1000,
  ageMs: 5000,
});
const nothing = (): void => undefined;

function meshOf() {
  const view = new MeshState();
  view.apply({ workloads: [workload('b', '10.0.0.1', 'n1')] });
  const records: MetricEvent[] = [];
  /** Calls that wait until the records are written. */
  const written: (() => void)[] = [];
  const session = (states: readonly State[] = []) => {
    const sent: ToCarrierKind[] = [];
    const made = new CarrierSession(
      'one',
      {
        node: 'n1',
        view,
        localPod: () => local,
        podOf: (cookie) => (cookie === 1n ? local : undefined),
        requestVerdict: nothing,
        rememberFailure: nothing,
        limitReached: nothing,
        record: (event) => void records.push(event),
        template: (opening) => ({
          opened: () => void records.push({ kind: 'opened', record: openRecord(opening) }),
          closed: ({ clientPort: _port, ...values }) =>
            void records.push({ kind: 'closed', record: { ...opening, ...values } }),
          end: nothing,
        }),
        afterRecords: (call) => void written.push(call),
        onKeyMade: nothing,
        log: { info: nothing, warn: nothing, error: nothing },
      },
      { send: (message) => void sent.push(message) },
      hello,
      states,
    );
    const ask = (question: Question): Answer['decision'] => {
      made.onMessage({ $case: 'question', value: question });
      const last = sent.at(-1);
      assert.equal(last?.$case, 'answer');
      return last.value.decision;
    };
    return { sent, ask, made };
  };
  return { view, records, written, session };
}
const ruleOf = (decision: Answer['decision']): Rule => {
  assert.equal(decision?.$case, 'rule');
  return decision.value;
};
const stateOf = (rule: Rule, isMatched: boolean, flows: readonly Flow[] = []): State =>
  State.fromPartial({ rules: [{ rule, isMatched }], flows: [...flows], isLast: true });

test('a rule of a former agent is an answer only if it still matches in the carrier', () => {
  const { session } = meshOf();
  const rule = ruleOf(session().ask(plain(1)));
  const matched = session([stateOf(rule, true)]).ask(plain(2));
  assert.deepEqual(matched, { $case: 'ruleId', value: rule.id });
  const ended = ruleOf(session([stateOf(rule, false)]).ask(plain(3)));
  assert.ok(ended.id > rule.id);
});

test('a rule that replaces another one: the former is revoked before, because the carrier may not take the new one', () => {
  const { view, session } = meshOf();
  const { ask, sent } = session();
  const first = ruleOf(ask(plain(1)));
  // The session gets no update: its rules still hold the former decision.
  view.apply({ policies: [policy('p', 'allow', { destinationPorts: [80, 81] }, { scope: 'namespace' })] });
  const second = ruleOf(ask(plain(2)));
  assert.notEqual(second.id, first.id);
  const [, revoke, answer] = sent;
  assert.equal(revoke?.$case, 'revoke');
  assert.deepEqual([revoke.value.rules, revoke.value.cut], [[first.id], false]);
  assert.equal(answer?.$case, 'answer');
  // Another match: nothing is revoked.
  ruleOf(ask(plain(3, 81)));
  assert.equal(sent.filter(({ $case }) => $case === 'revoke').length, 1);
});

test('ends are acknowledged once their records are written, the last batch of each thread', async () => {
  const { records, written, session } = meshOf();
  const { ask, sent, made } = session();
  const rule = ruleOf(ask(plain(1)));
  const client = at('10.9.0.1', 40_000);
  for (const kind of [1, 2] as const) {
    const bytes = flowRecords([{ flow: 1, rule: rule.id, kind, client, timeMs: 9 }]);
    made.onMessage({ $case: 'records', value: { records: bytes } });
  }
  made.acknowledge(0, 1);
  made.acknowledge(1, 7);
  made.acknowledge(0, 2);
  const acknowledged = () => sent.flatMap((one) => (one.$case === 'acknowledge' ? [one.value] : []));
  assert.deepEqual(acknowledged(), []);
  while (written.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.deepEqual(acknowledged(), [], 'the records are not written yet');
  assert.deepEqual(
    records.map(({ kind }) => kind),
    ['opened', 'closed'],
  );
  written.splice(0).forEach((call) => call());
  assert.deepEqual(acknowledged(), [
    { worker: 0, batch: 2 },
    { worker: 1, batch: 7 },
  ]);
  // Before another agent takes over, at once.
  made.acknowledge(0, 3);
  made.release();
  written.splice(0).forEach((call) => call());
  assert.deepEqual(acknowledged().at(-1), { worker: 0, batch: 3 });
});

test('two agents that record one end give it one id; its duration is the carrier’s', () => {
  const { records, session } = meshOf();
  const rule = ruleOf(session().ask(plain(1)));
  const closed = Closed.fromPartial({
    flow: 5,
    rule: rule.id,
    client: remote,
    durationMs: 1234,
    ended: Ended.ENDED_FINISHED,
  });
  const flow = Flow.fromPartial({ id: 5, rule: rule.id, client: remote, ageMs: 1234 });
  for (let i = 0; i < 2; i++)
    session([stateOf(rule, false, [flow])]).made.onMessage({ $case: 'closed', value: closed });
  const ends = records.flatMap(({ kind, record }) => (kind === 'closed' ? [record] : []));
  assert.equal(ends.length, 2);
  assert.equal(ends[0]?.durationMs, 1234);
  assert.match(ends[0]?.id ?? '', /^one-\w+\/5$/);
  assert.equal(ends[0]?.id, ends[1]?.id);
});

test('a carrier that died: the durations of its flows are their ages, whatever the clock of the wall says', () => {
  const { records, session } = meshOf();
  const rule = ruleOf(session().ask(plain(1)));
  const flow = Flow.fromPartial({ id: 5, rule: rule.id, client: remote, ageMs: 60_000 });
  const { made } = session([stateOf(rule, true, [flow])]);
  const now = Date.now;
  Date.now = () => now() - 3_600_000;
  try {
    made.onDied();
  } finally {
    Date.now = now;
  }
  const durationMs = records.at(-1)?.record.durationMs ?? 0;
  assert.ok(durationMs >= 60_000 && durationMs < 120_000, String(durationMs));
});

test('open flows are listed; a carrier that does not respond is named before the caller of the agent gives up', async () => {
  const { session } = meshOf();
  const rule = ruleOf(session().ask(plain(1)));
  const flow = Flow.fromPartial({ id: 5, rule: rule.id, client: remote, ageMs: 10 });
  const { made, sent } = session([stateOf(rule, true, [flow])]);
  const call = (): number => {
    const last = sent.at(-1);
    assert.equal(last?.$case, 'listFlows');
    return last.value.call;
  };
  const listed = made.describe();
  made.onMessage({ $case: 'flows', value: { call: call(), flows: [flow], isLast: true } });
  assert.equal((await listed).length, 1);
  mock.timers.enable({ apis: ['setTimeout'] });
  try {
    const missing = made.describe();
    mock.timers.tick(2_500);
    assert.deepEqual(await missing, [
      { missing: 'connections of carrier one: it did not list them within 2 s' },
    ]);
    // Too late.
    made.onMessage({ $case: 'flows', value: { call: call(), flows: [flow], isLast: true } });
  } finally {
    mock.timers.reset();
  }
});
