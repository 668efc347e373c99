/** Effects of policies, the agent and mesh membership on kernel flows. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { until } from '../../src/base/wait.js';
import { agentProcess } from '../../src/cli/standalone/testbed.js';
import type { ConnectionRecord } from '../../src/telemetry/connection-record.js';
import { hold } from '../support/held-connection.js';
import { KernelTestbed, leaseMs, cache, cache2, ping, denying } from '../support/kernel-testbed.js';

const mesh = new KernelTestbed('/run/weft/test-kernel-policy');
before(() => mesh.up());
after(() => mesh.down());

test('a policy change closes the connections that it forbids, at both ends, and no others', async () => {
  await mesh.warm('weft-web', cache, 9002);
  await mesh.warm('weft-intruder', cache, 9002);
  const [kept, forbidden] = [hold('weft-web', cache, 9002), hold('weft-intruder', cache, 9002)];
  try {
    assert.equal(await kept.ask(), 'hello');
    assert.equal(await forbidden.ask(), 'hello');
    const at = mesh.records().length;
    mesh.write('policy.yaml', denying('no-intruder', 'shop/intruder'));
    const record = await mesh.recordAfter(at, (r) => r.ended.startsWith('cut'));
    assert.match(record.ended, /shop\/no-intruder/);
    assert.equal(record.source.pod, 'intruder');
    assert.match(await forbidden.ask(), /ECONNRESET|ECONNABORTED|EPIPE/);
    await until('the server has seen the reset', 30_000, () =>
      mesh.testbed.log('cache-9002').includes('reset 10.244.1.11'),
    );
    assert.equal(await kept.ask(), 'hello');
    // The former verdict is no longer in force.
    assert.match(await ping('weft-intruder', cache, 9002), /reset|refused/i);
    const denied = await mesh.recordAfter(at, (r) => r.path === 'refused');
    assert.equal(denied.policy, 'shop/no-intruder');
  } finally {
    kept.end();
    forbidden.end();
    mesh.remove('policy.yaml');
  }
});

test('a connection that an audited policy would deny goes through the agent, which counts it', async () => {
  await mesh.warm('weft-web', cache2);
  mesh.write('policy.yaml', denying('watch', 'shop/web', 'mode: audit, '));
  try {
    await until('the audit is recorded', 30_000, async () => {
      const at = mesh.records().length;
      assert.equal(await ping('weft-web', cache2), 'ping');
      const record = await mesh.recordAfter(at, (r) => r.source.pod === 'web');
      return record.path === 'local' && record.audited?.includes('shop/watch');
    });
  } finally {
    mesh.remove('policy.yaml');
  }
});

test('with a dead agent, pairs with verdicts connect until the lease ends, then no pair does; open connections continue', async () => {
  await mesh.warm('weft-web', cache);
  const live = hold('weft-web', cache);
  try {
    assert.equal(await live.ask(), 'hello');
    await mesh.testbed.stop(agentProcess('node-a'), 'SIGKILL');
    assert.equal(await ping('weft-web', cache), 'ping');
    await until('the lease is over', leaseMs + 5_000, async () =>
      (await ping('weft-web', cache)).includes('refused'),
    );
    assert.equal(await live.ask(), 'hello');
    mesh.testbed.startAgent('node-a');
    await mesh.testbed.waitReady();
    assert.equal(await live.ask(), 'hello');
    await until('new connections succeed', 30_000, async () => (await ping('weft-web', cache)) === 'ping');
    const { connections } = await mesh.dump<{ connections: ConnectionRecord[] }>();
    assert.ok(
      connections.some(({ path, bytesSent }) => path === 'kernel' && bytesSent === 18),
      'the new agent lists it',
    );
  } finally {
    live.end();
  }
});

test('a client that has left the mesh loses a connection that a later policy forbids', async () => {
  const whole = readFileSync(join(mesh.manifests, 'mesh.yaml'), 'utf8');
  await mesh.warm('weft-web', cache, 9002);
  await mesh.warm('weft-intruder', cache, 9002);
  const [kept, forbidden] = [hold('weft-web', cache, 9002), hold('weft-intruder', cache, 9002)];
  try {
    assert.equal(await kept.ask(), 'hello');
    assert.equal(await forbidden.ask(), 'hello');
    const enrolled = mesh.testbed.readyState('node-a').pods.length;
    mesh.write(
      'mesh.yaml',
      whole.replace('labels: { app: intruder }', 'labels: { app: intruder, weft.dev/mesh: disabled }'),
    );
    await until(
      'the pod has left',
      30_000,
      () => mesh.testbed.readyState('node-a').pods.length === enrolled - 1,
    );
    assert.equal(await forbidden.ask(), 'hello', 'leaving the mesh closes no connection');
    mesh.write('policy.yaml', denying('no-intruder', 'shop/intruder'));
    await until('the connection is closed', 30_000, async () =>
      /ECONNRESET|ECONNABORTED|EPIPE/.test(await forbidden.ask()),
    );
    assert.equal(await kept.ask(), 'hello');
  } finally {
    kept.end();
    forbidden.end();
    mesh.remove('policy.yaml');
    mesh.write('mesh.yaml', whole);
  }
  await mesh.testbed.waitReady();
});

test('a pod that leaves the mesh keeps its connections', async () => {
  await mesh.warm('weft-web', cache);
  const live = hold('weft-web', cache);
  try {
    assert.equal(await live.ask(), 'hello');
    mesh.write('namespace.yaml', 'kind: Namespace\nmetadata: { name: shop }\n');
    await until('all have left', 30_000, () => mesh.testbed.readyState('node-a').pods.length === 0);
    assert.equal(await live.ask(), 'hello');
  } finally {
    live.end();
  }
});
