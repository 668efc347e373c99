import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIp, type SocketAddress } from '../../src/model/address.js';
import { MeshState } from '../../src/state/store.js';
import { behind, id, pod, policy, service, workload } from '../../test/support/mesh.js';
import type { LocalPod } from '../worker-ipc.js';
import { Stage, type Failure, type Question } from './gen/carrier.js';
import { HeldRules, type HeldRule } from './held-rules.js';
import { encodeAddress } from './protocol.js';
import { replyTo, replyToFailure, type Reply } from './questions.js';
import type { DecisionView } from './rule.js';

const at = (ip: string, port: number): SocketAddress => ({ ip: parseIp(ip), port });
const source: LocalPod = { pod: pod('a', '10.0.0.1'), netns: { cookie: 1n, path: '' } };

function mesh() {
  const view = new MeshState();
  view.apply({
    services: [service('s', '10.1.0.1')],
    workloads: [
      workload('a', '10.0.0.1', 'n1'),
      ...[1, 2, 3].map((n) => workload(`s${n}`, `10.0.1.${n}`, 'n2', behind('s'))),
    ],
  });
  const context: DecisionView = { node: 'n1', view, localPod: () => undefined };
  const rules = new HeldRules(0);
  const hold = (reply: Reply): HeldRule => {
    assert.equal(reply.kind, 'rule');
    return rules.add((reply as Extract<Reply, { kind: 'rule' }>).draft, 0).rule;
  };
  return { view, context, hold };
}
const question = (about: Question['about']): Question => ({ flow: 1, pod: 1, about });
const captured = (dialed: SocketAddress | undefined, client = at('10.0.0.1', 40_000)): Question =>
  question({
    $case: 'captured',
    value: { client: encodeAddress(client), dialed: dialed && encodeAddress(dialed), picked: undefined },
  });
const failure = (rule: HeldRule, more: Partial<Failure>): Failure => ({
  rule: rule.id,
  target: 0,
  stage: Stage.STAGE_TUNNEL_CONNECT,
  error: 111,
  status: 0,
  why: 'no connection',
  client: encodeAddress(at('10.0.0.1', 40_000)),
  ...more,
});
const refusalOf = (reply: Reply) => {
  assert.equal(reply.kind, 'refuse');
  return reply as Extract<Reply, { kind: 'refuse' }>;
};

test('an endpoint that cannot be reached is avoided, two others are tried, and the last failure is the record', () => {
  const { context, hold } = mesh();
  let rule = hold(replyTo(context, source, captured(at('10.1.0.1', 80))));
  assert.equal(rule.targets.length, 3);
  const tried = new Set<string | undefined>();
  for (let n = 0; n < 2; n++) {
    tried.add(rule.context.targets[0]?.endpoint);
    rule = hold(replyToFailure(context, source, rule, failure(rule, {})));
    assert.equal(rule.matching, undefined);
  }
  tried.add(rule.context.targets[0]?.endpoint);
  assert.equal(tried.size, 3);
  const last = refusalOf(replyToFailure(context, source, rule, failure(rule, {})));
  assert.equal(last.record?.code, 'WEFT_TUNNEL_CONNECT');
  assert.equal(last.record?.source.address, '10.0.0.1:40000');
  assert.deepEqual(last.remember, at('10.1.0.1', 80));
});

test('a refusal by the peer, a reset and a fault of this machine are not tried elsewhere', () => {
  const { context, hold } = mesh();
  const rule = hold(replyTo(context, source, captured(at('10.1.0.1', 80))));
  for (const [more, code] of [
    [{ stage: Stage.STAGE_TUNNEL_REFUSED, status: 401 }, 'WEFT_TUNNEL_REFUSED'],
    [{ stage: Stage.STAGE_TUNNEL_RESET }, 'WEFT_TUNNEL_RESET'],
    [{ stage: Stage.STAGE_NO_CERTIFICATE }, 'WEFT_NO_CERTIFICATE'],
    [{ stage: Stage.STAGE_TUNNEL_CONNECT, error: 24 }, 'WEFT_TUNNEL_CONNECT'],
    [{ stage: Stage.STAGE_TUNNEL_TLS, why: 'ssl/tls alert bad certificate' }, 'WEFT_TUNNEL_TLS'],
    [{ stage: 99 as Stage }, 'WEFT_INTERNAL'],
    [{ target: 7 }, undefined],
  ] as [Partial<Failure>, string | undefined][]) {
    const reply = refusalOf(replyToFailure(context, source, rule, failure(rule, more)));
    assert.deepEqual([reply.record?.code, reply.remember], [code, undefined]);
  }
  assert.equal(
    replyToFailure(context, source, rule, failure(rule, { stage: Stage.STAGE_TUNNEL_REFUSED, status: 503 }))
      .kind,
    'rule',
  );
});

test('a pod that left is not served elsewhere', () => {
  const { context, hold } = mesh();
  const rule = hold(replyTo(context, source, captured(at('10.1.0.1', 80))));
  assert.equal(refusalOf(replyToFailure(context, undefined, rule, failure(rule, {}))).status, 503);
});

test('refusals have the TypeScript relay’s codes and statuses', () => {
  const { context, view } = mesh();
  assert.equal(refusalOf(replyTo(context, source, captured(undefined))).record?.code, 'WEFT_NO_NOTE');
  const family = refusalOf(replyTo(context, source, captured(at('fd00::1', 80), at('fd00::9', 1))));
  assert.deepEqual([family.record?.code, family.remember], ['WEFT_SOURCE_ADDRESS', undefined]);
  view.apply({ policies: [policy('p', 'deny', { destinationPorts: [80] }, { scope: 'namespace' })] });
  const denied = refusalOf(
    replyTo(
      context,
      source,
      question({
        $case: 'tunnel',
        value: {
          peer: id('x'),
          remote: encodeAddress(at('10.0.9.9', 5)),
          local: encodeAddress(at('10.0.0.1', 15008)),
          authority: encodeAddress(at('10.0.0.1', 80)),
          forwarded: 'for="10.0.9.9:77"',
          baggage: '',
          traceparent: '',
          sourceIdentity: '',
        },
      }),
    ),
  );
  assert.deepEqual([denied.status, denied.record?.code], [401, 'WEFT_DENIED']);
  assert.equal(denied.record?.source.address, '10.0.9.9:77');
});

test('a question that cannot be read ends the connection to the carrier', () => {
  const { context } = mesh();
  const code = { code: 'WEFT_CARRIER_MESSAGE' };
  assert.throws(() => replyTo(context, source, question(undefined)), code);
  assert.throws(
    () =>
      replyTo(
        context,
        source,
        question({ $case: 'plain', value: { remote: { ip: Buffer.alloc(3), port: 1 }, local: undefined } }),
      ),
    code,
  );
});
