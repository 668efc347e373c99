import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { uid } from '../../test/support/mesh.js';
import { Owners, ownerKey } from './owners.js';

test("the next agent knows a hook's owner; two records for one hook count as none", (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-owners-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const [a, again, b] = [
    ownerKey({ uid: uid('a'), podUid: '' }),
    ownerKey({ uid: uid('a'), podUid: 'of-another-life' }),
    ownerKey({ uid: uid('b'), podUid: '' }),
  ];
  assert.equal(new Set([a, again, b]).size, 3);
  // The BPF file system rejects dots.
  assert.match(a, /^[0-9a-f]{32}$/);
  const first = new Owners(dir);
  first.record(5n, a);
  first.record(6n, b);
  first.record(5n, again);
  first.record(5n, again);
  const second = new Owners(dir);
  assert.equal(second.of(5n), again);
  assert.equal(second.of(6n), b);
  assert.equal(second.of(7n), undefined);
  second.forget(6n);
  second.forget(6n);
  // An agent was killed while it replaced one record with the other.
  mkdirSync(join(dir, 'owners', `5-${a}`));
  const third = new Owners(dir);
  assert.equal(third.of(5n), undefined);
  assert.equal(third.of(6n), undefined);
  assert.deepEqual(readdirSync(join(dir, 'owners')), []);
});
