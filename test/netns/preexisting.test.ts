import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { projectRoot } from '../../native/index.js';
import { adminGet, adminPort } from '../../src/cli/admin.js';
import { until } from '../../src/base/wait.js';
import { run } from '../../src/cli/run.js';
import { agentProcess, Testbed, tearDown } from '../../src/cli/standalone/testbed.js';
import { hold, type HeldConnection } from '../support/held-connection.js';

const state = '/run/weft/test-preexisting';
const manifests = mkdtempSync(join(tmpdir(), 'weft-manifests-'));
const api = '10.244.2.10';
const cache = '10.244.1.12';
let testbed: Testbed;
let old: HeldConnection;
let near: HeldConnection;
let later: HeldConnection | undefined;

const echo = `
import socket, threading
s = socket.create_server(('::', 9000), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64)
def serve(c, who):
    try:
        while True:
            d = c.recv(65536)
            if not d: break
            c.sendall(d)
    except OSError: print('reset', who[0].replace('::ffff:', ''), flush=True)
    c.close()
while True:
    c, who = s.accept()
    threading.Thread(target=serve, args=(c, who), daemon=True).start()
`;
const namespace = (labels: string): void =>
  writeFileSync(
    join(manifests, 'namespace.yaml'),
    `kind: Namespace\nmetadata: { name: shop, labels: { ${labels} } }\n`,
  );

interface Listed {
  readonly pod: string;
  readonly connections: readonly { readonly local: string; readonly remote: string }[];
}
async function listed(node: 'a' | 'b'): Promise<string[]> {
  const dump = JSON.parse(await adminGet(`weft-node-${node}`, adminPort, '/dump')) as {
    preexisting: Listed[];
  };
  return dump.preexisting.flatMap(({ pod, connections }) =>
    connections.map(
      ({ local, remote }) =>
        `${pod.split('/').at(-1)} ${local.includes(':9000') ? local : '*'} ${remote.includes(':9000') ? remote : '*'}`,
    ),
  );
}
async function gauge(node: 'a' | 'b'): Promise<string | undefined> {
  const { stdout } = await run(`weft-node-${node}`, 'curl', ['-sS', 'http://127.0.0.1:15020/metrics']);
  return /^weft_preexisting_connections (\d+)$/m.exec(stdout)?.[1];
}

before(async () => {
  await tearDown(state);
  cpSync(join(projectRoot, 'src', 'cli', 'demo', 'manifests'), manifests, { recursive: true });
  namespace('');
  testbed = Testbed.create({ from: manifests, state });
  testbed.start('echo-api', 'weft-api', 'python3', ['-c', echo]);
  testbed.start('echo-cache', 'weft-cache', 'python3', ['-c', echo]);
  await testbed.up();
  await until('the servers listen', 30_000, async () => {
    const { code } = await run('weft-web', 'bash', [
      '-c',
      `: >/dev/tcp/${api}/9000 && : >/dev/tcp/${cache}/9000`,
    ]);
    return code === 0;
  });
  old = hold('weft-web', api);
  near = hold('weft-web', cache);
});
after(async () => {
  for (const held of [old, near, later]) held?.end();
  await tearDown(state);
  rmSync(manifests, { recursive: true, force: true });
});

test('connections from before enrollment continue and are listed at both ends; later ones are not', async () => {
  assert.equal(await old.ask(), 'hello');
  assert.equal(await near.ask(), 'hello');
  namespace('weft.dev/mesh: enabled');
  await until('all are in the mesh', 30_000, () =>
    ['node-a', 'node-b'].every(
      (node) => testbed.readyState(node).pods.length > 0 && testbed.readyState(node).ready,
    ),
  );
  later = hold('weft-web', api);
  assert.equal(await later.ask(), 'hello');
  assert.deepEqual((await listed('a')).sort(), [
    `cache ${cache}:9000 *`,
    `web * ${cache}:9000`,
    `web * ${api}:9000`,
  ]);
  assert.deepEqual(await listed('b'), [`api ${api}:9000 *`]);
  assert.equal(await gauge('a'), '3');
  assert.equal(await old.ask(), 'hello');
});

test('a restarted agent still lists them', async () => {
  await testbed.stop(agentProcess('node-b'), 'SIGKILL');
  testbed.startAgent('node-b');
  await testbed.waitReady();
  assert.deepEqual(await listed('b'), [`api ${api}:9000 *`]);
  assert.equal(await old.ask(), 'hello');
  later?.end();
  later = hold('weft-web', api);
  assert.equal(await until('the tunnel is open again', 30_000, () => later?.ask()), 'hello');
});

test('strict mode alone keeps them; cutPreexisting resets them and no others', async () => {
  namespace('weft.dev/mesh: enabled, weft.dev/mode: strict');
  await until('strict mode is in force', 30_000, async () => {
    const dump = JSON.parse(await adminGet('weft-node-b', adminPort, '/dump')) as {
      policies: { name: string }[];
    };
    return dump.policies.length > 0;
  });
  assert.equal(await old.ask(), 'hello');
  writeFileSync(
    join(manifests, 'settings.yaml'),
    'apiVersion: weft.dev/v1alpha1\nkind: MeshSettings\nmetadata: { name: mesh }\nspec: { cutPreexisting: true }\n',
  );
  await until(
    'none is left',
    30_000,
    async () => (await listed('a')).length + (await listed('b')).length === 0,
  );
  assert.match(await old.ask(), /ECONNRESET|ECONNABORTED|EPIPE/);
  assert.match(await near.ask(), /ECONNRESET|ECONNABORTED|EPIPE/);
  for (const server of ['echo-api', 'echo-cache'])
    await until(`${server} saw it`, 30_000, () => testbed.log(server).includes('reset 10.244.1.10'));
  assert.equal(await later?.ask(), 'hello');
  assert.equal(await gauge('a'), '0');
});
