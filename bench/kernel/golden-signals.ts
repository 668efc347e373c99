/**
 * A program: what it costs that the kernel recognizes the requests of a same-node connection. Round trips of HTTP/1.1 messages on one
 * connection, with the label of the namespace and without, interleaved; writes JSON. Without the label it is measured twice: noise.
 * Usage: node dist/bench/kernel/golden-signals.js [ROUNDS] [MILLISECONDS] [MESSAGE_BYTES]
 */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Datapath } from '../../daemonset/datapath/loader.js';
import { podFlags, PodRow } from '../../daemonset/maps/rows.generated.js';
import { BpfMap } from '../../native/index.js';
import { sleep, until } from '../../src/base/wait.js';
import { Testbed, tearDown } from '../../src/cli/standalone/testbed.js';
import { cpuOf, loadProgram, numberAt, runJson, Servers } from '../harness/load.js';
import { median } from '../harness/statistics.js';

const [rounds = 5, forMs = 1_000, bytes = 128] = process.argv.slice(2).map(Number);
const port = 7100;
const near = '10.245.1.11';
const state = '/run/weft/bench-golden-signals';
const datapath = new Datapath('bench-a');
const manifests = join(dirname(dirname(fileURLToPath(import.meta.url))), 'manifests', 'l4');
const from = mkdtempSync(join(tmpdir(), 'weft-bench-'));
const servers = new Servers();

/** Whether the agent has written the setting for the pods, by the flag of the row in the kernel. */
function flagged(flag: number): number {
  const map = new BpfMap(join(datapath.dir, 'weft_pods'));
  try {
    return map.keys().filter((key) => new PodRow(map.lookup(key) ?? new Uint8Array(40)).flags & flag).length;
  } finally {
    map.close();
  }
}

const text = readFileSync(join(manifests, 'mesh.yaml'), 'utf8');
async function configure(isSpliced: boolean, isObserved: boolean): Promise<void> {
  writeFileSync(
    join(from, 'mesh.yaml'),
    text
      .replace(
        'weft.dev/mode: strict',
        `weft.dev/mode: strict, weft.dev/golden-signals: ${isObserved ? 'enabled' : 'disabled'}`,
      )
      .replace("weft.dev/splice: 'on'", `weft.dev/splice: '${isSpliced ? 'on' : 'off'}'`),
  );
  await until(
    'the settings are in the kernel',
    30_000,
    () => flagged(podFlags.splice) > 0 === isSpliced && flagged(podFlags.observed) > 0 === isObserved,
  );
  await sleep(1_500);
}

const trips = async (isBlocking: boolean, ms: number): Promise<unknown> =>
  runJson(
    'weft-bench-client',
    loadProgram('pingpong'),
    [
      near,
      String(port),
      String(cpuOf.client),
      String(bytes),
      String(ms),
      ...(isBlocking ? ['blocking'] : []),
      'http',
    ],
    ms + 20_000,
  );

const variants = { without: false, with: true, 'without, again': false } as const;
const kinds = {
  spliced: [true, false],
  'on TCP': [false, false],
  'on TCP, blocking': [false, true],
} as const;
const samples: { kind: string; variant: string; p50: number; p99: number; trips: number }[] = [];
try {
  cpSync(manifests, from, { recursive: true });
  await tearDown(state);
  const testbed = Testbed.create({ from, state });
  await testbed.up();
  await servers.start('weft-bench-near', port, loadProgram('echo'), [
    String(port),
    String(cpuOf.server),
    'http',
  ]);
  for (let round = 0; round < rounds; round++) {
    const order = Object.entries(variants);
    // Each variant is first, second and third equally often.
    for (let i = 0; i < round % order.length; i++) order.push(order.shift() as (typeof order)[number]);
    for (const isSpliced of [true, false])
      for (const [variant, isObserved] of order) {
        await configure(isSpliced, isObserved);
        for (const [kind, [splices, isBlocking]] of Object.entries(kinds)) {
          if (splices !== isSpliced) continue;
          await trips(isBlocking, 50);
          const found = await trips(isBlocking, forMs);
          samples.push({
            kind,
            variant,
            p50: numberAt(found, 'p50_us'),
            p99: numberAt(found, 'p99_us'),
            trips: numberAt(found, 'all_trips'),
          });
        }
      }
    process.stderr.write(`round ${round + 1} of ${rounds}\n`);
  }
} finally {
  await servers.stop();
  await tearDown(state);
  rmSync(from, { recursive: true });
}

const of = (kind: string, variant: string, metric: 'p50' | 'p99'): number[] =>
  samples.filter((one) => one.kind === kind && one.variant === variant).map((one) => one[metric]);
/** Ratios within a round. */
const ratio = (kind: string, variant: string, metric: 'p50' | 'p99'): object => {
  const base = of(kind, 'without', metric);
  const all = of(kind, variant, metric).map((value, at) => value / (base[at] ?? NaN));
  return { median: median(all), min: Math.min(...all), max: Math.max(...all) };
};
const result = Object.fromEntries(
  Object.keys(kinds).map((kind) => [
    kind,
    {
      p50Us: Object.fromEntries(
        Object.keys(variants).map((variant) => [variant, median(of(kind, variant, 'p50'))]),
      ),
      with: { p50: ratio(kind, 'with', 'p50'), p99: ratio(kind, 'with', 'p99') },
      noise: { p50: ratio(kind, 'without, again', 'p50'), p99: ratio(kind, 'without, again', 'p99') },
    },
  ]),
);
console.log(JSON.stringify({ rounds, forMs, bytes, result }, null, 2));
