import assert from 'node:assert/strict';
import { test } from 'node:test';
import { kinds } from '../../control/kinds/kinds.js';
import { pickedKinds } from '../../src/cli/bug-report/picked-objects.js';

test('a report has every kind that the control plane reads, except ConfigMaps, and no other', () => {
  const name = (group: string, plural: string): string => `${plural}.${group}`;
  const read = Object.values(kinds)
    .map(({ address }) => name(address.group, address.plural))
    .filter((one) => one !== 'configmaps.');
  const reported = pickedKinds.map(({ group, plural }) => name(group, plural));
  assert.deepEqual(reported.sort(), read.sort());
});

test('a report reads each kind in every version that the control plane reads', () => {
  const missing = Object.values(kinds).flatMap(({ address }) => {
    const found = pickedKinds.find(
      ({ group, plural }) => group === address.group && plural === address.plural,
    );
    return found ? address.versions.filter((version) => !found.versions.includes(version)) : [];
  });
  assert.deepEqual(missing, []);
});
