import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Testbed, tearDown } from '../../src/cli/standalone/testbed.js';
import { up } from '../../src/cli/standalone/up.js';

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

test('a testbed whose waypoint would use a network namespace that exists is removed, and the namespace is not', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-t-'));
  const [from, state] = [join(dir, 'manifests'), join(dir, 'state')];
  mkdirSync(from);
  writeFileSync(
    join(from, 'mesh.yaml'),
    `kind: Node
metadata: { name: one, annotations: { weft.dev/netns: weft-t-one } }
status: { addresses: [{ type: InternalIP, address: 10.87.0.1 }] }
---
kind: Pod
metadata: { name: web, namespace: shop, annotations: { weft.dev/netns: weft-t-web } }
spec: { nodeName: one, serviceAccountName: web }
status: { podIPs: [{ ip: 10.87.1.1 }] }
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: t, namespace: shop }
spec: { gatewayClassName: weft-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }
`,
  );
  const other = 'weft-wp-t-0';
  execFileSync('ip', ['netns', 'add', other]);
  try {
    await assert.rejects(up({ from, state }), {
      code: 'WEFT_BED_EXISTS',
      message: /ip netns del weft-wp-t-0/,
    });
    const left = execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' });
    assert.deepEqual(left.match(/^weft-\S+/gm), [other]);
    assert.equal(existsSync(join(state, 'bed.json')), false);
  } finally {
    execFileSync('ip', ['netns', 'del', other]);
    await tearDown(state);
    rmSync(dir, { recursive: true, force: true });
  }
});
