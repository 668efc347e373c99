import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { parseIp, type SocketAddress } from '../../src/model/address.js';
import { MeshState } from '../../src/state/store.js';
import { openRecord } from '../../src/telemetry/connection-record.js';
import type { MetricEvent } from '../../src/telemetry/metrics.js';
import type { RequestSum } from '../../src/telemetry/request-sums.js';
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
/** The same, and its namespace has opted in. */
const counted: LocalPod = { ...local, pod: pod('b', '10.0.0.1', { goldenSignals: true }) };
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
  const mesh = { isCounted: false };
  const records: MetricEvent[] = [];
  const observed: RequestSum[] = [];
  /** Calls that wait until the records are written. */
  const written: (() => void)[] = [];
  const session = (states: readonly State[] = [], of: CarrierHello = hello) => {
    const sent: ToCarrierKind[] = [];
    const made = new CarrierSession(
      'one',
      {
        node: 'n1',
        view,
        localPod: () => (mesh.isCounted ? counted : local),
        podOf: (cookie) => (cookie === 1n ? (mesh.isCounted ? counted : local) : undefined),
        requestVerdict: nothing,
        rememberFailure: nothing,
        limitReached: nothing,
        record: (event) => void records.push(event),
        observed: (record, requests) => void observed.push({ record, requests }),
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
      of,
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
  return { mesh, view, records, observed, written, session };
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

test('requests are counted by the record of their rule, and not after its namespace has opted out', () => {
  const { mesh, observed, session } = meshOf();
  mesh.isCounted = true;
  const { ask, made } = session([], { ...hello, observes: true });
  const rule = ruleOf(ask(plain(1)));
  assert.equal(rule.observe, true);
  const requests = { method: 'GET', pathTemplate: '/orders/*', status: 200, durationsUs: [4_000, 6_000] };
  const message = { ...requests, rule: rule.id, target: 0 };
  made.onObserved(message);
  assert.equal(observed.length, 1);
  const [sum] = observed;
  assert.deepEqual(
    [sum?.record.path, sum?.record.direction, sum?.record.destination.workload],
    ['inbound-plain', 'inbound', 'b'],
  );
  assert.deepEqual([sum?.requests.count, sum?.requests.durationSumMs, sum?.requests.status], [2, 10, 200]);
  // Of a rule that is not there, and of a target that the rule does not have.
  made.onObserved({ ...message, rule: 999 });
  made.onObserved({ ...message, target: 7 });
  mesh.isCounted = false;
  made.onObserved(message);
  assert.equal(observed.length, 1);
});

test('a gRPC call has its status, none, one that is not valid, or was cut', () => {
  const { mesh, observed, session } = meshOf();
  mesh.isCounted = true;
  const { ask, made } = session([], { ...hello, observes: true });
  const { id } = ruleOf(ask(plain(1)));
  const call = { rule: id, target: 0, method: 'POST', pathTemplate: '/a.B/C', status: 200, durationsUs: [1] };
  for (const grpc of [0, 16, 17, 18, 19]) made.onObserved({ ...call, grpc });
  made.onObserved(call);
  assert.deepEqual(
    observed.map(({ requests }) => requests.grpc && [requests.grpc.status, requests.grpc.isCut]),
    [['0', false], ['16', false], ['invalid', false], ['', false], ['', true], undefined],
  );
});

test('what a carrier reports as a path template is one, or its connection ends', () => {
  const { mesh, session } = meshOf();
  mesh.isCounted = true;
  const { ask, made } = session([], { ...hello, observes: true });
  const { id } = ruleOf(ask(plain(1)));
  const requests = { rule: id, target: 0, method: 'GET', pathTemplate: '/a', status: 200, durationsUs: [1] };
  for (const pathTemplate of ['**', '/', '/a/*/**', `/${'a'.repeat(402)}`])
    made.onObserved({ ...requests, pathTemplate });
  for (const bad of [
    { pathTemplate: '/a?token=secret' },
    { pathTemplate: '' },
    { pathTemplate: 'a' },
    { pathTemplate: '/a b' },
    { pathTemplate: `/${'a'.repeat(403)}` },
    { method: 'A'.repeat(17) },
    { status: 1000 },
    { grpc: 20 },
  ])
    assert.throws(() => made.onObserved({ ...requests, ...bad }), { code: 'WEFT_CARRIER_MESSAGE' });
});

test('a carrier that does not know how to observe gets rules that it knows, and keeps the rule that is the same without', () => {
  const { mesh, session } = meshOf();
  const former = ruleOf(session().ask(plain(1)));
  assert.equal(former.observe, false, 'the namespace has not opted in');
  mesh.isCounted = true;
  assert.equal(ruleOf(session().ask(plain(1))).observe, false);
});
