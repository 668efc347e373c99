import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAllDocuments } from 'yaml';
import { agentNodesOf, manifestsOf, relayOf } from './plan.js';
import { cellsOf, planOf } from './variants.js';

interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly labels?: Readonly<Record<string, string>> };
}
const manifests = (names: readonly string[]): Manifest[] =>
  parseAllDocuments(manifestsOf(planOf(new Set(names)))).map((document) => document.toJS() as Manifest);
const nodes = (names: readonly string[]): string[] =>
  manifests(names)
    .filter(({ kind }) => kind === 'Node')
    .map(({ metadata }) => metadata.name);

test('pods of ztunnel are in the mesh, and on no node with an agent', () => {
  const plan = planOf(new Set(['none', 'weft', 'ztunnel']));
  const theirs = plan.pods.filter(({ namespace }) => namespace === 'ztunnel');
  assert.equal(theirs.length, 3);
  const agents = agentNodesOf(plan);
  assert.deepEqual(agents, ['bench-a', 'bench-b']);
  for (const { node } of theirs) assert.ok(!agents.includes(node), node);
  for (const { namespace, node } of plan.pods)
    if (namespace !== 'ztunnel') assert.ok(agents.includes(node), node);
  const namespace = manifests(['none', 'ztunnel']).find(
    ({ kind, metadata }) => kind === 'Namespace' && metadata.name === 'ztunnel',
  );
  assert.equal(namespace?.metadata.labels?.['weft.dev/mesh'], 'enabled');
});

test('nodes without an agent are there only for pods on them', () => {
  assert.deepEqual(nodes(['none', 'weft']), ['bench-a', 'bench-b']);
  assert.deepEqual(nodes(['none', 'ztunnel']), ['bench-a', 'bench-b', 'bench-c', 'bench-d']);
});

test('every variant is measured on one node and, where it differs there, across two', () => {
  const names = new Set(['none', 'sidecar', 'ztunnel', 'weft', 'weft-spliced']);
  const plan = planOf(names);
  const nodeOf = (netns: string): string | undefined =>
    plan.pods.find(({ namespace, name }) => netns === `weft-bench-${namespace}-${name}`)?.node;
  const cells = cellsOf(plan, names);
  for (const { placement, variant, client, server } of cells) {
    assert.ok(nodeOf(client) !== undefined);
    assert.equal(nodeOf(client) === nodeOf(server), placement === 'same-node', `${variant} ${placement}`);
  }
  const across = cells.filter(({ placement }) => placement === 'cross-node').map(({ variant }) => variant);
  assert.deepEqual(across, ['none', 'sidecar', 'ztunnel', 'weft']);
});

test('both relays are measured in one run, each on nodes of its own', () => {
  const names = new Set(['none', 'weft', 'weft-typescript', 'weft-encrypted', 'weft-encrypted-typescript']);
  const plan = planOf(names);
  assert.deepEqual(agentNodesOf(plan), ['bench-a', 'bench-b', 'bench-e', 'bench-f']);
  const relays = cellsOf(plan, names)
    .filter(({ variant }) => variant.startsWith('weft'))
    .map(({ placement, variant, nodes, proxies }) => [
      placement,
      variant,
      relayOf(nodes[0]),
      proxies.join(' '),
    ]);
  assert.deepEqual(relays, [
    ['same-node', 'weft', 'carrier', 'agents carriers'],
    ['same-node', 'weft-encrypted', 'carrier', 'agents carriers'],
    ['same-node', 'weft-encrypted-typescript', 'typescript', 'agents-typescript'],
    ['cross-node', 'weft', 'carrier', 'agents carriers'],
    ['cross-node', 'weft-typescript', 'typescript', 'agents-typescript'],
  ]);
});
