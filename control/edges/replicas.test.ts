import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { edge, party } from '../../test/support/edges.js';
import { issueToken } from '../../test/support/tokens.js';
import { startControl, twoReplicas, type Closers } from '../../test/threats/support/control.js';
import { manifests } from '../../test/threats/support/two-nodes.js';
import { controlCaller } from '../authentication/service-callers.js';
import { edgeSlotMs, type EdgeAnswer, type EdgeSlot } from '../../src/model/edge.js';
import { otherReplicas } from './peers.js';
import { merged, ReplicatedEdges } from './replicas.js';

const answer = (sinceMs: number, ...edges: EdgeAnswer['edges'][number][]): EdgeAnswer => ({
  edges,
  sinceMs,
  missing: [],
});

test('what replicas have adds up, since the time that all have observed', () => {
  const bank = edge({ source: party('bank', 'x') });
  const { edges, sinceMs, missing } = merged(
    [answer(5, edge({}, { connections: 2 }), bank), answer(9, edge({}, { connections: 3 }))],
    ['weft-control-c'],
  );
  assert.deepEqual(
    edges.map(({ counts }) => counts.connections),
    [5, 1],
  );
  assert.deepEqual([sinceMs, missing], [9, ['weft-control-c']]);
});

test('slots of the same time add up; they are incomplete if a replica of an older version has none', () => {
  const at = (atMs: number, requests: number) => ({
    atMs,
    connections: 0,
    requests,
    failures: 1,
    refused: 0,
  });
  const bySlot = (...slots: readonly EdgeSlot[]): EdgeAnswer => ({
    ...answer(5, edge({}, { slots })),
    isBySlot: true,
  });
  const all = merged([bySlot(at(30_000, 1), at(90_000, 2)), bySlot(at(60_000, 4), at(90_000, 8))], []);
  assert.deepEqual(all.edges[0]?.counts.slots, [
    at(30_000, 1),
    at(60_000, 4),
    { ...at(90_000, 10), failures: 2 },
  ]);
  assert.equal(all.isBySlot, true);
  assert.equal(merged([bySlot(at(30_000, 1)), answer(5, edge())], []).isBySlot, undefined);
});

const closers: Closers = [];
after(() => closers.reverse().forEach((close) => close()));

test('edges of another replica are asked for at its port, and a replica that does not answer is named', async () => {
  const other = await startControl(closers, manifests);
  other.edges.store.add(edge({}, { connections: 2 }), 'n1', 'shop', 0);
  const token = await issueToken(other.state, controlCaller, 60);
  const source = new ReplicatedEdges({
    own: ({ isBySlot }) => ({
      ...answer(5, edge({}, { connections: 3 })),
      ...(isBySlot ? { isBySlot } : {}),
    }),
    ...twoReplicas('b', other, token),
  });
  const { edges, missing, sinceMs } = await source.query({ sinceMs: 0, namespace: 'shop' });
  assert.deepEqual(
    edges.map(({ counts }) => counts.connections),
    [5],
  );
  assert.deepEqual(missing, ['gone']);
  assert.ok(sinceMs > 5);
  const asked = await source.query({ sinceMs: 0, isBySlot: true });
  assert.equal(asked.isBySlot, true);
  assert.deepEqual(
    asked.edges[0]?.counts.slots?.map(({ connections, atMs }) => [connections, atMs % edgeSlotMs]),
    [[2, 0]],
  );
});

test('a replica with as many edges as it keeps, with long names, is read', async () => {
  const other = await startControl(closers, manifests);
  const long = 'x'.repeat(500);
  for (let i = 0; i < 2_000; i++)
    other.edges.store.add(
      edge({
        port: i,
        source: party(long, long, { identity: undefined }),
        policy: long,
        service: long,
        pathTemplate: long,
      }),
      'n1',
      'shop',
      0,
    );
  const token = await issueToken(other.state, controlCaller, 60);
  const source = new ReplicatedEdges({
    own: () => answer(5),
    replicas: () => [{ name: 'b', ip: '127.0.0.1' }],
    controlPlane: () => ({
      target: other.target,
      rootPem: () => other.ca.roots,
      token: () => token,
      serverName: 'weft',
    }),
  });
  const { edges, missing } = await source.query({ sinceMs: 0 });
  assert.deepEqual([edges.length > 0, missing], [true, []]);
});

test("the other replicas are the running pods of the Deployment, in the control plane's own namespace", () => {
  const pod = (name: string, app: string, phase: string, ip?: string) => ({
    kind: 'Pod' as const,
    metadata: { name, namespace: 'weft-system', labels: { app } },
    spec: { nodeName: 'n1' },
    status: { phase, podIPs: ip === undefined ? [] : [{ ip }] },
  });
  const pods = [
    pod('a', 'weft-control', 'Running', '10.0.0.1'),
    pod('b', 'weft-control', 'Running', 'fd00::2'),
    pod('c', 'weft-control', 'Pending'),
    pod('d', 'weft-control', 'Failed', '10.0.0.4'),
    pod('e', 'weft-agent', 'Running', '10.0.0.5'),
  ];
  const registry = { indexes: { Pod: { in: (ns: string) => (ns === 'weft-system' ? pods : []) } } };
  assert.deepEqual(
    otherReplicas(registry as unknown as Parameters<typeof otherReplicas>[0], 'weft-system', 'a'),
    [{ name: 'b', ip: 'fd00::2' }],
  );
});
