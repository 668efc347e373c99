import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Testbed, tearDown } from '../../src/cli/standalone/testbed.js';

test('a second testbed with a network namespace of the first is refused, and taking it down does not affect the first', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-t-'));
  const [first, second] = [join(dir, 'first'), join(dir, 'second')];
  const from = join(dir, 'manifests');
  mkdirSync(from);
  writeFileSync(
    join(from, 'node.yaml'),
    'kind: Node\nmetadata: { name: one, annotations: { weft.dev/netns: weft-t-one } }\nstatus: { addresses: [{ type: InternalIP, address: 10.87.0.1 }] }\n',
  );
  try {
    Testbed.create({ from, state: first });
    assert.throws(() => Testbed.create({ from, state: second }), { code: 'WEFT_BED_EXISTS' });
    assert.equal(await tearDown(second), false);
    assert.match(execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' }), /^weft-underlay/m);
    assert.equal(await tearDown(first), true);
    assert.doesNotMatch(execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' }), /^weft-/m);
  } finally {
    await tearDown(first);
    rmSync(dir, { recursive: true, force: true });
  }
});
