import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tapConnection, tapParty, tapRequest } from '../../test/support/taps.js';
import { tapEventForReader, namespacesOfFilter } from './tap-view.js';

const known = new Set(['shop']);
const shown = (event: Parameters<typeof tapEventForReader>[0]) =>
  tapEventForReader(event, known, 'weft-system');

test('a reader sees all of what is within its namespace', () => {
  for (const event of [tapConnection(), tapRequest()]) assert.deepEqual(shown(event), event);
});

test("forbidden: a reader learns another namespace's workloads, pods, nodes, policies and reasons", () => {
  const fromVault = tapConnection({
    source: { ...tapParty('vault', 'store'), pod: 'store-1' },
    reporter: 'secret-node',
    id: 'secret-node/17',
    policy: 'vault/secret-policy',
    audited: ['vault/other-secret'],
    why: 'policy vault/secret-policy allows pod store-1',
  });
  const seen = shown(fromVault);
  assert.doesNotMatch(JSON.stringify(seen), /store-1|secret|"store"/);
  assert.equal(seen.source.namespace, 'vault');
  assert.equal(seen.source.identity, fromVault.source.identity, 'its own pods see it');
  assert.deepEqual([seen.outcome, seen.destination], [fromVault.outcome, fromVault.destination]);
});

test('of a waypoint of another namespace a reader learns the namespace, whose word the event is, and not the name', () => {
  const event = tapRequest({
    reporter: 'vault/secret-waypoint',
    destination: { ...tapParty('vault', 'store'), port: 80 },
  });
  const seen = shown(event);
  assert.deepEqual([seen.reporter, seen.id, seen.destination.pod], ['vault/*', '', '']);
  assert.equal(seen.request?.path, '/orders/7', 'its own request');
});

test('policies of the root namespace are named to every reader', () => {
  assert.equal(shown(tapConnection({ policy: 'weft-system/everybody' })).policy, 'weft-system/everybody');
});

test('a filter names namespaces by its workloads and policies', () => {
  const filter = { workloads: ['shop/web', 'bank/teller'], policies: ['weft-system/a', 'vault/b'] };
  assert.deepEqual(namespacesOfFilter(filter, 'weft-system'), ['shop', 'bank', 'vault']);
});
