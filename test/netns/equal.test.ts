/**
 * Runs the same two programs between pods outside the mesh and between pods whose connection is a kernel flow, on TCP and spliced: all runs
 * must observe the same. The differences of spliced connections are listed below and in docs/same-node.md.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { projectRoot } from '../../native/index.js';
import { sleep, until } from '../../src/base/wait.js';
import { run, sh } from '../../src/cli/run.js';
import type { Testbed } from '../../src/cli/standalone/testbed.js';
import type { ConnectionRecord } from '../../src/telemetry/connection-record.js';
import { connectionRecords } from '../support/records.js';
import { DemoMesh } from '../support/demo-mesh.js';

const mesh = new DemoMesh('equal');
const program = join(projectRoot, 'test', 'netns', 'programs', 'equal.py');
const certificate = join(mesh.manifests, 'tls.pem');
const port = '9200';
let testbed: Testbed;

interface Pair {
  readonly client: string;
  readonly server: string;
  readonly v4: string;
  readonly v6: string;
}
const spliced: Pair = {
  client: 'weft-web',
  server: 'weft-cache',
  v4: '10.244.1.12',
  v6: 'fd00:244:1::12',
};
const byTcp: Pair = {
  client: 'weft-web',
  server: 'weft-cache-2',
  v4: '10.244.1.13',
  v6: 'fd00:244:1::13',
};
const direct: Pair = {
  client: 'weft-plain-a',
  server: 'weft-plain-b',
  v4: '10.244.1.31',
  v6: 'fd00:244:1::31',
};
const outside = `
kind: Namespace
metadata: { name: outside }
---
apiVersion: v1
kind: Pod
metadata: { name: plain-a, namespace: outside, annotations: { weft.dev/netns: weft-plain-a } }
spec: { nodeName: node-a }
status: { podIPs: [{ ip: 10.244.1.30 }, { ip: 'fd00:244:1::30' }] }
---
apiVersion: v1
kind: Pod
metadata: { name: plain-b, namespace: outside, annotations: { weft.dev/netns: weft-plain-b } }
spec: { nodeName: node-a }
status: { podIPs: [{ ip: 10.244.1.31 }, { ip: 'fd00:244:1::31' }] }
`;

const scenarios = [...readFileSync(program, 'utf8').matchAll(/^class ([a-z]\w+):/gm)].map(
  ([, name = '']) => name,
);

/** Observations that differ on a spliced connection, which is why pods have to opt in to splicing. */
const differs: Readonly<Record<string, string>> = {
  urgent: 'urgent bytes arrive as ordinary ones',
  through_a_pipe: 'splice(2) does not see bytes that were spliced past TCP',
  closed_with_bytes_unread: 'the other end sees an orderly end, not a reset',
};

before(async () => {
  await mesh.prepare();
  mesh.write('outside.yaml', outside);
  mesh.namespace('weft.dev/mesh: enabled, weft.dev/mode: strict', 'weft.dev/splice: "on"');
  mesh.replace(
    'mesh.yaml',
    'weft.dev/netns: weft-cache-2',
    "weft.dev/netns: weft-cache-2, weft.dev/splice: 'off'",
  );
  sh('openssl', [
    ...'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 2 -subj /CN=test'.split(' '),
    ...['-keyout', certificate, '-out', `${certificate}.crt`],
  ]);
  writeFileSync(certificate, readFileSync(certificate, 'utf8') + readFileSync(`${certificate}.crt`, 'utf8'));
  testbed = mesh.create();
  await testbed.up();
  // Requests the verdicts, for both address families.
  for (const [pair, ip] of [spliced, byTcp].flatMap((one) => [
    [one, one.v4] as const,
    [one, one.v6] as const,
  ])) {
    await until(`connections from web to ${ip} are kernel flows`, 30_000, async () => {
      const at = records().length;
      await observe(pair, 'server_speaks_first', ip);
      await sleep(150);
      return records()
        .slice(at)
        .some(({ path }) => path === 'kernel');
    });
  }
});
after(() => mesh.remove());

const records = (): ConnectionRecord[] => connectionRecords(testbed.runDir('node-a'));

/** The output of both programs. */
async function observe(
  pair: Pair,
  scenario: string,
  ip: string,
): Promise<{ client: string; server: string }> {
  const child = spawn(
    'nsenter',
    [`--net=/run/netns/${pair.server}`, '--', 'python3', program, 'server', scenario, port, certificate],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let server = '';
  child.stdout.on('data', (bytes: Buffer) => (server += bytes.toString()));
  child.stderr.on('data', (bytes: Buffer) => (server += bytes.toString()));
  const gone = new Promise((resolve) => child.once('close', resolve));
  try {
    await until('the server listens', 30_000, () => server.includes('listening'));
    const { stdout, stderr } = await run(
      pair.client,
      'python3',
      [program, 'client', scenario, ip, port],
      30_000,
    );
    const ended = await Promise.race([gone.then(() => true), sleep(10_000).then(() => false)]);
    return {
      client: stdout + stderr,
      server: ended ? server.replace('listening\n', '') : `${server} (still there)`,
    };
  } finally {
    child.kill('SIGKILL');
  }
}

for (const scenario of scenarios) {
  test(`${scenario.replaceAll('_', ' ')}: as without the mesh`, async () => {
    const at = records().length;
    const families = ['messages_both_ways_at_once', 'half_close_by_client'].includes(scenario)
      ? (['v4', 'v6'] as const)
      : (['v4'] as const);
    for (const family of families) {
      const [plain, tcp, past] = await Promise.all(
        [direct, byTcp, spliced].map((pair) => observe(pair, scenario, pair[family])),
      );
      assert.ok(plain && tcp && past);
      assert.match(plain.client + plain.server, /\[\[/, JSON.stringify(plain));
      assert.doesNotMatch(plain.client + plain.server, /Traceback|still there/);
      assert.deepEqual(tcp, plain, 'on TCP');
      if (differs[scenario] === undefined) assert.deepEqual(past, plain, 'spliced');
      else assert.notDeepEqual(past, plain, `no longer true: ${differs[scenario]}; update docs/same-node.md`);
    }
    const ofPod = (pod: string): Promise<ConnectionRecord> =>
      until('the record', 30_000, () =>
        records()
          .slice(at)
          .find(({ path, destination }) => path === 'kernel' && destination.pod === pod),
      );
    assert.ok(((await ofPod('cache')).bytesSpliced ?? 0) > 0, 'the connection was spliced');
    assert.equal((await ofPod('cache-2')).bytesSpliced, 0);
  });
}
