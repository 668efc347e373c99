/**
 * Random schedules of writes, half closes, resets and stalls, on each way that a relay serves: every byte arrives, each end sees how the
 * other one ended, and both relays write the same records.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { projectRoot } from '../../native/index.js';
import { until } from '../../src/base/wait.js';
import { run } from '../../src/cli/run.js';
import type { Testbed } from '../../src/cli/standalone/testbed.js';
import { DemoMesh, listening } from '../support/demo-mesh.js';
import { connectionRecords } from '../support/records.js';
import { checkRelay, relays, useRelay, type RelayName } from './support/relays.js';
import { scheduleOf, type Schedule } from './support/schedules.js';

const program = join(projectRoot, 'test', 'carrier', 'programs', 'schedules.py');
/** Failures print it. CARRIER_SEED repeats a run. */
const seed = Number(process.env['CARRIER_SEED'] ?? Date.now() % 1_000_000);
const schedulesOfWay = Number(process.env['CARRIER_SCHEDULES'] ?? '25');

interface Way {
  readonly name: string;
  readonly from: string;
  readonly ip: string;
  /** The server's pod. */
  readonly to: string;
  /** Of each connection, at all nodes. */
  readonly records: number;
}
const ways: readonly Way[] = [
  { name: 'across', from: 'web', ip: '10.244.2.10', to: 'api', records: 2 },
  { name: 'across-v6', from: 'web', ip: 'fd00:244:2::10', to: 'api', records: 2 },
  { name: 'service', from: 'web', ip: '10.96.0.10', to: 'api', records: 2 },
  { name: 'encrypted', from: 'web', ip: '10.244.1.13', to: 'cache-2', records: 2 },
  { name: 'to-outside', from: 'web', ip: '10.244.2.20', to: 'outsider', records: 1 },
  { name: 'from-outside', from: 'outsider', ip: '10.244.2.10', to: 'api', records: 1 },
];
/** Below the ports that the kernel chooses: a client's address is that of one schedule, whatever was connected before. */
const sourcePorts = { first: 10_000, end: 32_768 };
assert.ok(ways.length * schedulesOfWay <= sourcePorts.end - sourcePorts.first, 'each schedule has a port');
interface Job extends Schedule {
  readonly sourcePort: number;
}
const schedules = ways.map((way, i) => ({
  way,
  schedules: Array.from({ length: schedulesOfWay }, (_, n): Job => ({
    ...scheduleOf(`${seed}/${way.name}/${n}`, seed + i * 1_000_000 + n),
    sourcePort: sourcePorts.first + i * schedulesOfWay + n,
  })),
}));

interface Seen {
  readonly name: string;
  readonly side: 'client' | 'server';
  readonly address?: string;
  readonly sent: number;
  readonly got: number;
  readonly whole: boolean;
  readonly end: string | null;
  readonly failed: string | null;
  readonly stuck: string | null;
}
const parse = (text: string): Seen[] =>
  text
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Seen);

/** What is seen from outside, of both ends and of each record, by schedule. */
const outside = new Map<RelayName, Map<string, readonly string[]>>();
const meshes: DemoMesh[] = [];
after(async () => {
  for (const mesh of meshes) await mesh.remove();
});

async function startMesh(relay: RelayName): Promise<Testbed> {
  const mesh = new DemoMesh(`differential-${relay}`);
  meshes.push(mesh);
  await mesh.prepare();
  mesh.replace(
    'mesh.yaml',
    'annotations: { weft.dev/netns: weft-cache-2 }',
    'annotations: { weft.dev/netns: weft-cache-2, weft.dev/same-node: encrypted }',
  );
  mesh.write(
    'outsider.yaml',
    `apiVersion: v1
kind: Pod
metadata: { name: outsider, namespace: shop, labels: { weft.dev/mesh: disabled }, annotations: { weft.dev/netns: weft-outsider } }
spec: { nodeName: node-b, serviceAccountName: outsider }
status: { podIPs: [{ ip: 10.244.2.20 }] }
`,
  );
  useRelay(relay);
  const testbed = mesh.create();
  for (const pod of ['api', 'cache-2', 'outsider'])
    testbed.start(`server-${pod}`, `weft-${pod}`, 'python3', [program, 'serve', '9000']);
  await testbed.up();
  await checkRelay('weft-node-a', relay);
  for (const pod of ['api', 'cache-2', 'outsider']) await listening(`weft-${pod}`, 9000);
  return testbed;
}

/** Why an end saw something else than the schedule says; undefined if it did not. */
function problemOf(
  { expected, kind }: Schedule,
  seen: Seen | undefined,
  side: Seen['side'],
): string | undefined {
  if (!seen) return `${side} reported nothing`;
  if (seen.stuck !== null) return `${side} is stuck at ${seen.stuck}`;
  if (!seen.whole) return `${side} received wrong bytes`;
  const { bytes, end } = expected[side];
  if (bytes !== undefined && seen.got !== bytes) return `${side} received ${seen.got} of ${bytes} bytes`;
  if (end === 'either' && !['end', 'reset'].includes(seen.end ?? '')) return `${side} saw ${seen.end}`;
  if ((end === 'end' || end === 'reset') && seen.end !== end) return `${side} saw ${seen.end}, not ${end}`;
  if (seen.failed !== null && !['abort', 'early'].includes(kind)) return `${side}: ${seen.failed}`;
  return undefined;
}

/** In these an end comes in the middle of bytes: how many arrive, and which end is noticed first, is a race. */
const isRace = ({ kind }: Schedule): boolean => kind === 'abort' || kind === 'early';

/** `DIRECTION PATH CODE END SENT RECEIVED` of each record about a client, without what a race decides. */
function recordsOf(testbed: Testbed, schedule: Schedule, address: string | undefined): string[] {
  return (
    ['node-a', 'node-b']
      .flatMap((node) => connectionRecords(testbed.runDir(node)))
      .filter(({ source }) => source.address === address)
      .map(({ direction, path, code, ended, bytesSent, bytesReceived }) => {
        const end = isRace(schedule) ? '' : ` ${ended} ${bytesSent} ${bytesReceived}`;
        return `${direction} ${path} ${code ?? '-'}${end}`;
      })
      // Both may be records of one node, whose order says nothing.
      .sort()
  );
}

/** Runs all schedules of a way. Returns what differs from them, and adds the records to `views`. */
async function drive(
  testbed: Testbed,
  way: Way,
  mine: readonly Job[],
  views: Map<string, readonly string[]>,
): Promise<string[]> {
  const file = join(testbed.state, `${way.name}.json`);
  writeFileSync(file, JSON.stringify(mine.map((one) => ({ ...one, ip: way.ip, port: 9000 }))));
  const { stdout, stderr } = await run(`weft-${way.from}`, 'python3', [program, 'drive', file], 120_000);
  assert.equal(stderr, '', way.name);
  const byName = (text: string): Map<string, Seen> => new Map(parse(text).map((seen) => [seen.name, seen]));
  const clients = byName(stdout);
  const servers = (): Map<string, Seen> => byName(testbed.log(`server-${way.to}`));
  const missing = (): Schedule[] => mine.filter(({ name }) => views.get(name)?.length !== way.records);
  // What is missing after that time is reported below.
  await until(
    'every server has reported, and every connection is logged',
    30_000,
    () => {
      for (const one of mine) views.set(one.name, recordsOf(testbed, one, clients.get(one.name)?.address));
      const reported = servers();
      return mine.every(({ name }) => reported.has(name)) && missing().length === 0;
    },
    200,
  ).catch(() => undefined);
  const reported = servers();
  return [
    ...mine.flatMap((one) => {
      const problem =
        problemOf(one, clients.get(one.name), 'client') ?? problemOf(one, reported.get(one.name), 'server');
      return problem === undefined ? [] : [`${one.kind}: ${problem}: ${JSON.stringify(one)}`];
    }),
    ...missing().map(({ name, kind }) => `${name} (${kind}) has records ${views.get(name)?.join('; ')}`),
  ];
}

for (const relay of relays) {
  test(`${relay}: each end of each schedule sees what the other end did`, async () => {
    const testbed = await startMesh(relay);
    const views = new Map<string, readonly string[]>();
    const problems: string[] = [];
    for (const { way, schedules: mine } of schedules)
      problems.push(...(await drive(testbed, way, mine, views)));
    outside.set(relay, views);
    await meshes.pop()?.remove();
    assert.deepEqual(problems, [], `seed ${seed}`);
  });
}

test('all relays write the same records', () => {
  const [first, ...others] = relays;
  for (const other of others)
    for (const [name, lines] of outside.get(first ?? other) ?? [])
      assert.deepEqual(outside.get(other)?.get(name), lines, `${name} with ${other}`);
});
