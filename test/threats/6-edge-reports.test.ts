/**
 * Rows 6 and 7 of docs/security.md: a stolen node credential and a compromised waypoint report edges only of what is theirs, take no memory
 * from others, and read nothing.
 */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { controlCaller } from '../../control/authentication/service-callers.js';
import { edgesMax } from '../../control/edges/edge-store.js';
import { mayReceive } from '../../control/compile/rate-limiter.js';
import { createCsr } from '../../src/tls/csr.js';
import { typeUrls } from '../../src/discovery/types.js';
import { encodeEdge } from '../../src/discovery/codec/edge.js';
import { EdgeReportClient } from '../../src/discovery/edge-report-client.js';
import {
  EdgeQuery,
  EdgeResponse,
  type Edge as EdgeMessage,
  type EdgeReport,
} from '../../src/discovery/gen/weft.js';
import { unaryCall } from '../../src/discovery/unary-call.js';
import type { Edge } from '../../src/model/edge.js';
import { edge, party } from '../support/edges.js';
import { issueToken } from '../support/tokens.js';
import { startControl, type Closers, type Control } from './support/control.js';
import { id, issuerOf, manifests, pod } from './support/two-nodes.js';

const closers: Closers = [];
after(() => closers.reverse().forEach((close) => close()));

const services = `${manifests}---
kind: Service
metadata: { name: ledger, namespace: bank, labels: { weft.dev/waypoint: wp, weft.dev/waypoint-namespace: bank } }
spec: { selector: { app: ledger }, clusterIP: 10.96.0.1, ports: [{ port: 80 }] }
---
kind: Service
metadata: { name: shared, namespace: bank, labels: { weft.dev/waypoint: wp, weft.dev/waypoint-namespace: shop } }
spec: { selector: { app: shared }, clusterIP: 10.96.0.2, ports: [{ port: 80 }] }
---
kind: Service
metadata: { name: a, namespace: shop, labels: { weft.dev/waypoint: wp } }
spec: { selector: { app: a }, clusterIP: 10.96.0.3, ports: [{ port: 80 }] }
${pod('vault', 'n2', '10.0.0.4', 'bank')}`;

async function reporter(control: Control, caller: string) {
  const token = await issueToken(control.state, caller, 60);
  const parts = { target: control.target, rootPem: () => control.ca.roots, token: () => token };
  const client = new EdgeReportClient(parts);
  closers.push(() => client.close());
  let number = 0;
  const sendRaw = (edges: readonly EdgeMessage[], more: Partial<EdgeReport> = {}): Promise<void> =>
    client.send({ program: 'p', number: ++number, fromMs: 0, toMs: 10_000, edges, ...more });
  return {
    sendRaw,
    send: (edges: readonly Edge[], more: Partial<EdgeReport> = {}) => sendRaw(edges.map(encodeEdge), more),
    query: () =>
      unaryCall(
        parts,
        {
          path: '/weft.v1.EdgeReports/Query',
          encode: (query: EdgeQuery) => EdgeQuery.encode(query).finish(),
          decode: (bytes: Uint8Array) => EdgeResponse.decode(bytes),
        },
        { namespace: '', sinceMs: 0, bySlot: true },
      ),
  };
}
const kept = async (control: Control): Promise<readonly Edge[]> =>
  (await control.edges.query({ sinceMs: 0 })).edges;

const a = party('shop', 'a');
const b = party('shop', 'b');
const vault = party('bank', 'vault');

test("an agent's report of other nodes' pods, of other identities and of waypoints changes nothing", async () => {
  const control = await startControl(closers, services);
  const { send } = await reporter(control, 'n1');
  const forged: Edge[] = [
    edge({ source: b, destination: a }),
    edge({ source: vault }),
    edge({ reporter: 'destination', source: a, destination: vault }),
    edge({ reporter: 'destination', source: a, destination: b }),
    edge({ reporter: 'waypoint', source: a, destination: a }),
    edge({ source: party('shop', 'no-such-pod') }),
    // The pod is its own, the workload is not the pod's.
    edge({ source: { ...a, workload: 'b' } }),
    edge({ source: party('', '') }),
    // The pod is its own, the identity is not: of another node, of another namespace, of nobody.
    edge({ source: { ...a, identity: b.identity } }),
    edge({ source: { ...a, identity: party('bank', 'teller').identity } }),
    edge({ source: { ...a, identity: party('shop', 'nobody').identity } }),
  ];
  await send(forged);
  assert.deepEqual(await kept(control), []);
  assert.equal(control.refusedEdges.get('not-its-own'), forged.length);
  const own = [
    edge({ source: a, destination: vault }),
    edge({ reporter: 'destination', source: vault, destination: a, path: 'inbound-hbone' }),
    edge({ source: party('bank', 'teller'), destination: b }),
  ];
  await send([...forged, ...own]);
  assert.equal((await kept(control)).length, own.length);
});

test('a report that is sent twice counts once', async () => {
  const control = await startControl(closers, services);
  const { send } = await reporter(control, 'n1');
  const report = [edge({ source: a })];
  await send(report, { number: 5 });
  await send(report, { number: 5 });
  await send(report, { number: 4 });
  assert.equal((await kept(control))[0]?.counts.connections, 1);
  await send(report, { number: 6 });
  await send(report, { number: 1, program: 'the next one' });
  assert.equal((await kept(control))[0]?.counts.connections, 3);
});

test('a hundred thousand edges of one node leave room for those of others; reports beyond the limits are refused whole', async () => {
  const control = await startControl(closers, services);
  const thief = await reporter(control, 'n1');
  for (let round = 0; round < 100; round++)
    await thief.send(
      Array.from({ length: 1_000 }, (_, i) =>
        edge({ source: a, destination: party('bank', `pod-${round}-${i}`), port: i }),
      ),
    );
  assert.ok((await kept(control)).length <= edgesMax / 2 + 2);
  assert.ok(control.limits.includes('control-edges'));
  const honest = await reporter(control, 'n2');
  await honest.send([edge({ source: vault, destination: a }), edge({ source: b, destination: a })]);
  const names = (await kept(control)).map(({ source }) => source.pod);
  assert.ok(names.includes('vault') && names.includes('b'));
  await assert.rejects(thief.send(Array.from({ length: 1_025 }, () => edge({ source: a }))), { code: 3 });
  await assert.rejects(thief.send([], { program: 'x'.repeat(65) }), { code: 3 });
  await assert.rejects(thief.send([], { number: 0 }), { code: 3 });
  assert.ok(control.limits.includes('control-edge-report'));
  await thief.sendRaw([{ ...encodeEdge(edge({ source: a })), pathKind: '\u001b[2J' }]);
  assert.equal(control.refusedEdges.get('undecodable'), 1);
});

test('a waypoint reports only what uses it', async () => {
  const control = await startControl(closers, services);
  const { send } = await reporter(control, 'waypoint:shop/wp');
  const seen = { reporter: 'waypoint', path: 'waypoint', source: vault } as const;
  const forged = [
    edge({ ...seen, destination: vault, service: 'ledger.bank.svc.cluster.local' }),
    edge({ ...seen, destination: vault, service: '' }),
    edge({ ...seen, destination: a, service: 'ledger.bank.svc.cluster.local' }),
    // It names this waypoint, whose Gateway does not admit its namespace.
    edge({ ...seen, destination: party('bank', ''), service: 'shared.bank.svc.cluster.local' }),
    edge({ ...seen, destination: party('shop', ''), service: 'www.example.com' }),
    edge({ reporter: 'source', source: a }),
    edge({ reporter: 'destination', destination: a }),
  ];
  await send(forged);
  assert.deepEqual(await kept(control), []);
  assert.equal(control.refusedEdges.get('not-its-own'), forged.length);
  await send([
    edge({ ...seen, destination: a, service: 'a.shop.svc.cluster.local' }),
    edge({ ...seen, destination: a, service: '' }),
  ]);
  assert.equal((await kept(control)).length, 2);
});

test('no node and no waypoint reads edges; another replica of the control plane reads them and gets nothing else', async () => {
  const control = await startControl(closers, services);
  const agent = await reporter(control, 'n1');
  await agent.send([edge({ source: a })]);
  await assert.rejects(agent.query(), { code: 7 });
  await assert.rejects((await reporter(control, 'waypoint:shop/wp')).query(), { code: 7 });
  const replica = await reporter(control, controlCaller);
  assert.equal((await replica.query()).edges.length, 1);
  await assert.rejects(replica.send([edge({ source: a })]), { code: 7 });
  for (const type of Object.values(typeUrls)) assert.equal(mayReceive(controlCaller, type), false, type);
  const issue = issuerOf(control, await issueToken(control.state, controlCaller, 60));
  await assert.rejects(issue(createCsr(id('a')).csrPem, id('a'), 60));
});
