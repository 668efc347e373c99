/** Packets that claim to come from a carrier: the agent understands them, or ends the connection. */
import assert from 'node:assert/strict';
import { randomBytes, randomInt } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import {
  Ended,
  FromCarrier,
  Stage,
  type CarrierHello,
  type Rule,
  type State,
  type ObservedRequests,
} from '../../daemonset/carrier/gen/carrier.js';
import { decodeContext } from '../../daemonset/carrier/context.js';
import {
  decodePacket,
  encodeAddress,
  type FromCarrierKind,
  type ToCarrierKind,
} from '../../daemonset/carrier/protocol.js';
import { CarrierSession } from '../../daemonset/carrier/session.js';
import type { LocalPod } from '../../daemonset/worker-ipc.js';
import { WeftError } from '../../src/base/errors.js';
import { parseIp, type SocketAddress } from '../../src/model/address.js';
import { MeshState } from '../../src/state/store.js';
import { ConnectionLog } from '../../src/telemetry/connection-log.js';
import { connectionTemplate } from '../../src/telemetry/connection-template.js';
import { MeshMetrics } from '../../src/telemetry/metrics.js';
import { fuzz } from '../support/fuzz.js';
import { behind, id, pod, service, workload } from '../support/mesh.js';

const at = (ip: string, port: number): SocketAddress => ({ ip: parseIp(ip), port });
const address = (ip: string, port: number) => encodeAddress(at(ip, port));
const local: LocalPod = { pod: pod('a', '10.0.0.1'), netns: { cookie: 1n, path: '' } };
const view = new MeshState();
view.apply({
  services: [service('s', '10.1.0.1')],
  workloads: [
    workload('a', '10.0.0.1', 'n1'),
    ...[1, 2, 3].map((n) => workload(`s${n}`, `10.0.1.${n}`, 'n2', behind('s'))),
  ],
});

const hello: CarrierHello = {
  version: 1,
  build: 'b',
  pid: 7,
  startedMs: 1,
  lastRule: 0,
  isDraining: false,
  ageMs: 5,
  observes: true,
};
const metrics = new MeshMetrics();
const dir = mkdtempSync(join(tmpdir(), 'weft-packets-'));
after(() => rmSync(dir, { recursive: true }));
// What does not fit while the loop is busy is dropped.
const log = new ConnectionLog({ path: join(dir, 'connections.log'), onDropped: () => undefined });
/** A session, and what it sent and could not handle. */
function newSession(states: readonly State[] = []) {
  const sent: ToCarrierKind[] = [];
  const bugs: object[] = [];
  const ignore = (): void => undefined;
  const session = new CarrierSession(
    'c',
    {
      node: 'n1',
      view,
      localPod: (uid) => (uid === local.pod.uid ? local : undefined),
      podOf: (cookie) => (cookie === 1n ? local : undefined),
      requestVerdict: ignore,
      rememberFailure: ignore,
      limitReached: ignore,
      record: (event) => void JSON.stringify(event),
      observed: (record, requests) => metrics.observedMany(record, requests),
      template: (opening) => connectionTemplate(metrics.relayed, log, opening),
      afterRecords: ignore,
      onKeyMade: ignore,
      log: {
        info: ignore,
        warn: ignore,
        // What has a code is a refusal; anything else that is thrown is a bug.
        error: (fields) =>
          void ('error' in fields && !/^WEFT_/.test(String(fields.error)) && bugs.push(fields)),
      },
    },
    { send: (message) => void sent.push(message) },
    hello,
    states,
  );
  return { session, sent, bugs };
}

const client = address('10.0.0.1', 40_000);
const questions: FromCarrierKind[] = [
  { $case: 'captured', value: { client, dialed: address('10.1.0.1', 80), picked: undefined } } as const,
  {
    $case: 'tunnel',
    value: {
      peer: id('x'),
      remote: address('10.0.0.9', 50_000),
      local: address('10.0.0.1', 15_008),
      authority: address('10.0.0.1', 80),
      forwarded: 'for="10.0.0.9:4000"',
      baggage: 'k8s.pod.name=x',
      traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
      sourceIdentity: '',
    },
  } as const,
  {
    $case: 'plain',
    value: { remote: address('10.9.0.1', 5_000), local: address('10.0.0.1', 80) },
  } as const,
].map((about, i) => ({ $case: 'question', value: { flow: i + 1, pod: 1, about } }));

/** A rule of each kind, as a former agent installed it. */
const rules: Rule[] = (() => {
  const { session, sent } = newSession();
  for (const question of questions) session.onMessage(question);
  return sent.flatMap((message) =>
    message.$case === 'answer' && message.value.decision?.$case === 'rule'
      ? [message.value.decision.value]
      : [],
  );
})();
const flow = {
  id: 9,
  rule: rules[0]?.id ?? 0,
  target: 0,
  client,
  ageMs: 1,
  bytesSent: 2,
  bytesReceived: 3,
  isOpening: false,
};
/** An opening (1) or an end (2), as FlowRecords of carrier.proto has them. */
function recordOf(id: number, kind: 1 | 2): Buffer {
  const bytes = Buffer.alloc(64);
  bytes.writeBigUInt64LE(BigInt(id), 0);
  bytes.writeBigUInt64LE(BigInt(flow.rule), 8);
  client.ip.copy(bytes, 40);
  bytes.writeUInt16LE(client.port, 56);
  bytes.writeUInt8(kind, 60);
  return bytes;
}
const state: State = {
  pods: [],
  rules: rules.map((rule) => ({ rule, isMatched: true })),
  flows: [flow],
  isLast: true,
};
const messages: FromCarrierKind[] = [
  { $case: 'hello', value: hello },
  { $case: 'state', value: state },
  ...questions,
  {
    $case: 'question',
    value: {
      flow: 9,
      pod: 1,
      about: {
        $case: 'failure',
        value: {
          rule: flow.rule,
          target: 0,
          stage: Stage.STAGE_TUNNEL_CONNECT,
          error: 111,
          status: 0,
          why: 'x',
          client,
        },
      },
    },
  },
  { $case: 'records', value: { records: Buffer.concat([recordOf(10, 1), recordOf(9, 2)]) } },
  {
    $case: 'closed',
    value: {
      flow: 9,
      rule: flow.rule,
      target: 0,
      client,
      bytesSent: 1,
      bytesReceived: 2,
      durationMs: 3,
      ended: Ended.ENDED_CUT,
      reason: 'x',
    },
  },
  {
    $case: 'refused',
    value: { pod: 1, code: 'WEFT_HBONE_TLS', reason: 'x', remote: address('10.0.0.9', 5), peer: id('x') },
  },
  { $case: 'canceled', value: { flow: 1 } },
  { $case: 'ruleEnded', value: { rule: flow.rule } },
  { $case: 'done', value: { call: 1, cut: 2 } },
  { $case: 'limit', value: { name: 'carrier-flows', times: 1 } },
  { $case: 'flows', value: { call: 1, flows: [flow], isLast: true } },
  { $case: 'keyMade', value: { identity: id('x'), turn: 1, csrPem: 'x' } },
  { $case: 'log', value: { level: 'info', text: 'x' } },
];
const observed: ObservedRequests = {
  rule: flow.rule,
  target: 0,
  method: 'GET',
  pathTemplate: '/orders/*',
  status: 200,
  durationsUs: [1, 1_000_000],
};
const packetOf = (list: readonly FromCarrierKind[]): Uint8Array =>
  FromCarrier.encode({
    messages: list.map((kind) => ({ kind })),
    worker: 0,
    batch: 1,
    observed: [observed],
    observedCalls: [{ ...observed, method: 'POST', grpc: 14 }],
  }).finish();

/** Throws what is no WEFT_CARRIER_MESSAGE: the connection's end is the only error that a carrier may cause. */
function understood(action: () => void): boolean {
  try {
    action();
    return true;
  } catch (error) {
    if (error instanceof WeftError && error.code === 'WEFT_CARRIER_MESSAGE') return false;
    throw error;
  }
}

test('a packet of any bytes is a list of messages or ends the connection, and no message does anything else', () => {
  assert.ok(rules.length >= 2, 'the questions were answered with rules');
  const seeds = [...messages.map((message) => packetOf([message])), packetOf(messages)];
  const counts = { read: 0, refused: 0, handled: 0 };
  const rounds = fuzz(seeds, (bytes) => {
    let decoded: readonly FromCarrierKind[] = [];
    let requests: readonly ObservedRequests[] = [];
    const isRead = understood(() => ({ messages: decoded, observed: requests } = decodePacket(bytes)));
    if (!isRead) return void counts.refused++;
    counts.read++;
    const { session, bugs } = newSession([state]);
    for (const one of requests) if (!understood(() => session.onObserved(one))) break;
    for (const message of decoded) {
      if (!understood(() => session.onMessage(message))) break;
      counts.handled++;
    }
    session.tick();
    session.onDied();
    assert.deepEqual(bugs, [], Buffer.from(bytes).toString('hex'));
  });
  assert.ok(
    Object.values(counts).every((count) => count > rounds / 20),
    JSON.stringify(counts),
  );
});

test('a state of any content is adopted, with the rules that can be read, or ends the connection', () => {
  const mutate = (bytes: Uint8Array): Buffer => {
    const changed = Buffer.from(bytes);
    for (let i = randomInt(3); i >= 0; i--) changed[randomInt(changed.length)] = randomInt(256);
    return changed;
  };
  let unreadable = 0;
  const rounds = fuzz([packetOf([{ $case: 'state', value: state }])], (bytes) => {
    const [rule] = rules;
    assert.ok(rule);
    const context = randomInt(2) === 0 ? mutate(rule.context) : randomBytes(randomInt(99));
    if (!decodeContext(context, rule.targets.length)) unreadable++;
    const states: State[] = [{ ...state, rules: [{ rule: { ...rule, context }, isMatched: true }] }];
    understood(() => {
      for (const message of decodePacket(bytes).messages)
        if (message.$case === 'state') states.push(message.value);
    });
    for (const one of states)
      understood(() => {
        const { session } = newSession([one]);
        session.renewLease(1_000);
        session.onDied();
      });
  });
  assert.ok(unreadable > rounds / 20, `${unreadable} of ${rounds}`);
});
