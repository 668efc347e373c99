import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { ipTo16, parseIp, type SocketAddress } from '../../src/model/address.js';
import { until } from '../../src/base/wait.js';
import { MeshState } from '../../src/state/store.js';
import { ConnectionLog } from '../../src/telemetry/connection-log.js';
import { openRecord, type ConnectionRecord } from '../../src/telemetry/connection-record.js';
import { connectionTemplate } from '../../src/telemetry/connection-template.js';
import { MeshMetrics, type MetricEvent } from '../../src/telemetry/metrics.js';
import { flowRecords, type FlowRecord } from '../../test/support/flow-records.js';
import { id, pod, uid, workload } from '../../test/support/mesh.js';
import { dice } from '../../test/support/random-mesh.js';
import type { LocalPod } from '../worker-ipc.js';
import type { RuleAbout } from './context.js';
import { Flows } from './flows.js';
import { Ended } from './gen/carrier.js';
import { HeldRules, openingOfFlow, type HeldRule } from './held-rules.js';
import { decideAgain, type DecisionView } from './rule.js';

const at = (ip: string, port: number): SocketAddress => ({ ip: parseIp(ip), port });
const [a, b] = ['a', 'b'].map((name, i): LocalPod => ({
  pod: pod(name, `10.0.0.${i}`),
  netns: { cookie: BigInt(i + 1), path: '' },
})) as [LocalPod, LocalPod];

/** Rules about pod b, and the flows of a carrier with the agent's log and metrics. */
function agent(t: TestContext, network = 'n1') {
  const view = new MeshState();
  view.apply({ workloads: [workload('b', '10.0.0.1', network), workload('a', '10.0.0.0', network)] });
  const context: DecisionView = {
    node: network,
    view,
    localPod: (wanted) => [a, b].find(({ pod: { uid: own } }) => own === wanted),
  };
  const rules = new HeldRules(0);
  const dir = mkdtempSync(join(tmpdir(), 'weft-flows-'));
  let isOver = false;
  t.after(() => {
    isOver = true;
    rmSync(dir, { recursive: true });
  });
  const path = join(dir, 'connections.log');
  // A test without lines ends before the file is open.
  const log = new ConnectionLog({ path, onDropped: () => assert.ok(isOver, 'dropped') });
  const metrics = new MeshMetrics();
  const record = (event: MetricEvent): void => {
    metrics.apply(event);
    if (event.kind === 'closed') log.write(event.record);
  };
  const verdicts: string[] = [];
  const connect = (former?: Flows, openMax?: number) =>
    new Flows(
      {
        ...(openMax === undefined ? {} : { openMax }),
        ruleOf: (rule) => rules.get(rule),
        record,
        template: (opening) => connectionTemplate(metrics.relayed, log, opening),
        requestVerdict: (source, destination, port) => verdicts.push(`${source} ${destination} ${port}`),
      },
      (flow) => `carrier/${flow}`,
      former,
    );
  const flows = connect();
  const permit = (local: LocalPod, about: RuleAbout): HeldRule => {
    const decision = decideAgain(context, local, about);
    assert.equal(decision.kind, 'rule');
    return rules.add((decision as Extract<typeof decision, { kind: 'rule' }>).draft, 0).rule;
  };
  const seen = async (lines: number) => {
    const text = await metrics.text();
    await until(
      'the lines',
      30_000,
      () => existsSync(path) && readFileSync(path, 'utf8').split('\n').length > lines,
    );
    log.close();
    return {
      metrics: text
        .split('\n')
        .filter((line) => /^(istio_tcp|weft_connection_duration|weft_refused)/.test(line)),
      lines: readFileSync(path, 'utf8')
        .trim()
        .split('\n')
        .map((line) => {
          const { time, ...rest } = JSON.parse(line) as ConnectionRecord & { time: string };
          assert.ok(Math.abs(Date.parse(time) - Date.now()) < 60_000);
          return rest;
        }),
    };
  };
  return { flows, connect, rules, record, permit, seen, verdicts, metrics };
}

const tunnelFrom = (peer: string, ip: string): RuleAbout => ({
  kind: 'tunnel',
  peer: id(peer),
  remote: at(ip, 0),
  local: parseIp('10.0.0.1'),
  authority: at('10.0.0.1', 80),
  forwarded: undefined,
  sourceIdentity: undefined,
});

test('records and metrics of many connections are those of each of them', async (t) => {
  const given = agent(t),
    expected = agent(t);
  const random = dice(7);
  const sources = [
    ['x', '10.0.0.9'],
    ['y', '10.0.0.8'],
    ['x', 'fd00::9'],
  ] as const;
  const all = sources.map(([peer, ip]) => ({ ip, rule: given.permit(b, tunnelFrom(peer, ip)) }));
  const open: { flow: number; of: (typeof all)[number]; client: SocketAddress }[] = [];
  let batch: FlowRecord[] = [];
  for (let flow = 1; flow <= 500; flow++) {
    const of = all[random(all.length)] ?? assert.fail();
    const client = at(of.ip, 1 + random(65_535));
    const opening = openingOfFlow(of.rule, 0, client) ?? assert.fail();
    expected.record({ kind: 'opened', record: openRecord(opening) });
    // Some are short: only their end is reported.
    if (random(2) === 0) batch.push({ flow, rule: of.rule.id, kind: 1, client, timeMs: 3 });
    open.push({ flow, of, client });
    while (open.length > 0 && random(3) > 0) {
      const [ending] = open.splice(random(open.length), 1);
      if (!ending) break;
      const [sent, received, timeMs] = [random(1e6) * 5000, random(1e6), 125 * random(800)];
      const { rule } = ending.of;
      const isReset = random(4) === 0;
      batch.push({
        ...ending,
        rule: rule.id,
        kind: 2,
        sent,
        received,
        timeMs,
        ended: isReset ? Ended.ENDED_PEER_RESET : Ended.ENDED_FINISHED,
      });
      expected.record({
        kind: 'closed',
        record: {
          id: `carrier/${ending.flow}`,
          ...(openingOfFlow(rule, 0, ending.client) ?? assert.fail()),
          bytesSent: sent,
          bytesReceived: received,
          durationMs: timeMs,
          ended: isReset ? 'peer-reset' : 'finished',
        },
      });
    }
    if (random(5) > 0) continue;
    given.flows.onRecords(flowRecords(batch));
    batch = [];
  }
  // Those that are left are cut.
  given.flows.onRecords(flowRecords(batch));
  const late = flowRecords(open.map(({ flow, of, client }) => ({ flow, rule: of.rule.id, kind: 1, client })));
  given.flows.onRecords(late);
  assert.equal(given.flows.size, open.length);
  for (const { flow, of, client } of open) {
    const counts = { bytesSent: 1, bytesReceived: 2, durationMs: 3 };
    given.flows.onClosed({
      flow,
      rule: of.rule.id,
      target: 0,
      client: { ip: Buffer.from(ipTo16(client.ip)), port: client.port },
      ...counts,
      ended: Ended.ENDED_CUT,
      reason: 'policy "p"',
    });
    const opening = openingOfFlow(of.rule, 0, client) ?? assert.fail();
    expected.record({
      kind: 'closed',
      record: { id: `carrier/${flow}`, ...opening, ...counts, ended: 'cut: policy "p"' },
    });
  }
  assert.equal(given.flows.size, 0);
  // A rule's sums stay when it ends.
  given.flows.endRule(all[0]?.rule.id ?? 0);
  assert.equal(given.metrics.relayed.size, 2);
  assert.deepEqual(await given.seen(500), await expected.seen(500));
});

test('a rule that matches one connection keeps nothing for others', async (t) => {
  const { flows, rules, permit, metrics, seen } = agent(t);
  const rule = permit(b, tunnelFrom('x', '10.0.0.9'));
  rules.adopt(
    { id: 99, pod: 2, match: undefined, targets: rule.targets, context: Buffer.alloc(0), observe: false },
    rule.context,
    false,
  );
  flows.onRecords(flowRecords([{ flow: 1, rule: 99, kind: 2, client: at('10.0.0.9', 5), timeMs: 1 }]));
  assert.equal(metrics.relayed.size, 0);
  const { lines } = await seen(1);
  assert.equal(lines[0]?.source.address, '10.0.0.9:5');
});

test('flows of a former agent, and flows of a carrier that died', async (t) => {
  const { flows, permit, seen } = agent(t);
  const rule = permit(b, tunnelFrom('x', '10.0.0.9'));
  const client = { ip: Buffer.from(ipTo16(parseIp('10.0.0.9'))), port: 0 };
  const flow = { rule: rule.id, target: 0, ageMs: 5, bytesSent: 0, bytesReceived: 0 };
  for (const n of [1, 2, 3])
    flows.adopt({ ...flow, id: n, client: { ...client, port: n }, isOpening: n === 3 });
  assert.equal(flows.size, 2);
  flows.onRecords(flowRecords([{ flow: 1, rule: rule.id, kind: 2, client: at('10.0.0.9', 1), timeMs: 7 }]));
  flows.lost();
  assert.equal(flows.size, 0);
  const { lines, metrics } = await seen(2);
  assert.deepEqual(
    lines.map(({ source, ended }) => `${source.address} ${ended}`),
    ['10.0.0.9:1 finished', '10.0.0.9:2 cut: the carrier died'],
  );
  for (const what of ['opened', 'closed'])
    assert.match(
      metrics.find((line) => line.startsWith(`istio_tcp_connections_${what}_total{`)) ?? '',
      / 2$/,
    );
});

test('a second connection to the same carrier counts and logs no flow twice', async (t) => {
  const { flows, connect, permit, seen } = agent(t);
  const rule = permit(b, tunnelFrom('x', '10.0.0.9'));
  const end = (flow: number): FlowRecord => ({
    flow,
    rule: rule.id,
    kind: 2,
    client: at('10.0.0.9', flow),
    timeMs: 7,
  });
  const open = (flow: number): FlowRecord => ({ ...end(flow), kind: 1 });
  flows.onRecords(flowRecords([open(1), open(2), open(3), end(2), end(4)]));
  let last = flows;
  // The carrier has read no acknowledgment. Flow 5 has opened meanwhile, flow 3 has ended.
  for (let round = 0; round < 2; round++) {
    const again = connect(last);
    for (const id of [1, 2, 3, 4, 5])
      again.adopt({
        id,
        rule: rule.id,
        target: 0,
        client: { ip: Buffer.from(ipTo16(parseIp('10.0.0.9'))), port: id },
        ageMs: 5,
        bytesSent: 0,
        bytesReceived: 0,
        isOpening: false,
      });
    again.onAdopted();
    last.endRules();
    again.onRecords(flowRecords(round === 0 ? [end(2)] : [end(2), end(4), end(3)]));
    last = again;
  }
  last.onRecords(flowRecords([end(1), end(5)]));
  assert.equal(last.size, 0);
  last.endRules();
  const { lines, metrics } = await seen(5);
  assert.deepEqual(
    lines.map(({ id }) => id).sort(),
    [1, 2, 3, 4, 5].map((flow) => `carrier/${flow}`),
  );
  for (const what of ['opened', 'closed'])
    assert.match(
      metrics.find((line) => line.startsWith(`istio_tcp_connections_${what}_total{`)) ?? '',
      / 5$/,
    );
});

test('the verdict of a pod on this node is requested once for a batch', (t) => {
  const { flows, permit, verdicts } = agent(t, 'node-1');
  const rule = permit(a, {
    kind: 'captured',
    client: at('10.0.0.0', 5),
    dialed: at('10.0.0.1', 80),
    picked: undefined,
    avoid: [],
  });
  assert.equal(rule.context.targets[0]?.opening.path, 'local');
  const records = [1, 2, 3].map((flow) => ({
    flow,
    rule: rule.id,
    kind: 1 as const,
    client: at('10.0.0.0', flow),
  }));
  flows.onRecords(flowRecords(records));
  assert.deepEqual(verdicts, [`${uid('a')} ${uid('b')} 80`]);
  flows.onRecords(flowRecords([{ flow: 4, rule: rule.id, kind: 2, client: at('10.0.0.0', 4) }]));
  assert.equal(verdicts.length, 2);
  flows.onFailure(rule.id, 0);
  assert.equal(verdicts.length, 3, 'also if the pod did not accept the connection');
  flows.onFailure(rule.id + 1, 0);
  flows.onFailure(rule.id, 1);
  assert.equal(verdicts.length, 3);
});

test('records of another form end the connection', (t) => {
  const { flows } = agent(t);
  const good: FlowRecord = { flow: 1, rule: 1, kind: 2, client: at('10.0.0.9', 1) };
  flows.onRecords(flowRecords([good]));
  const wrong = (change: (bytes: Buffer) => Buffer): void =>
    assert.throws(() => flows.onRecords(change(flowRecords([good, good]))), { code: 'WEFT_CARRIER_MESSAGE' });
  wrong((bytes) => bytes.subarray(0, 127));
  for (const [offset, value] of [
    [60, 0],
    [60, 3],
    [61, 6],
    [56, 0],
  ] as const)
    wrong((bytes) => {
      bytes[64 + offset] = value;
      return bytes;
    });
});

test('a carrier that reports more open flows than it can have is not believed', async (t) => {
  const { connect, permit, seen } = agent(t);
  const flows = connect(undefined, 3);
  const { id: rule } = permit(b, tunnelFrom('x', '10.0.0.9'));
  const opened = (flow: number): FlowRecord => ({ flow, rule, kind: 1, client: at('10.0.0.9', flow) });
  flows.onRecords(flowRecords([1, 2, 3].map(opened)));
  assert.throws(() => flows.onRecords(flowRecords([opened(4)])), { code: 'WEFT_CARRIER_MESSAGE' });
  assert.equal(flows.size, 3);
  flows.lost();
  assert.equal((await seen(3)).lines.length, 3);
});

test('a connection that a policy forbids while it is being opened has a line that names the policy', async (t) => {
  const { flows, permit, seen } = agent(t);
  const { id: rule } = permit(b, tunnelFrom('x', '10.0.0.9'));
  flows.onClosed({
    flow: 1,
    rule,
    target: 0,
    client: { ip: Buffer.from(ipTo16(parseIp('10.0.0.9'))), port: 7 },
    bytesSent: 0,
    bytesReceived: 0,
    durationMs: 3,
    ended: Ended.ENDED_CUT,
    reason: 'policy shop/p rule 0 denies it',
  });
  const [line] = (await seen(1)).lines;
  assert.equal(line?.code, 'WEFT_DENIED');
  assert.match(line.why, /forbidden while it was being opened: policy shop\/p rule 0 denies it$/);
});
