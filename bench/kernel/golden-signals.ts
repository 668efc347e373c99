/**
 * A program: what it costs that the kernel recognizes the requests of a same-node connection. Round trips on one connection, with the label
 * of the namespace, without it, and without it again (noise), interleaved in many short rounds; writes JSON. Beside the round trip, the time
 * of the programs themselves for each message: what others do on the machine changes that least.
 * Usage: node dist/bench/kernel/golden-signals.js [ROUNDS] [MILLISECONDS] [MESSAGE_BYTES]
 */
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Datapath } from '../../daemonset/datapath/loader.js';
import { podFlags, PodRow } from '../../daemonset/maps/rows.generated.js';
import { BpfMap } from '../../native/index.js';
import { until } from '../../src/base/wait.js';
import { sh } from '../../src/cli/run.js';
import { Testbed, tearDown } from '../../src/cli/standalone/testbed.js';
import { interleave } from '../harness/interleave.js';
import { cpuOf, loadProgram, numberAt, runJson, Servers } from '../harness/load.js';
import { quartilesOf, ratiosByRound, valuesOf } from '../harness/statistics.js';

const [rounds = 30, forMs = 250, bytes = 128] = process.argv.slice(2).map(Number);
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
    () =>
      flagged(podFlags.splice) > 0 === isSpliced &&
      flagged(podFlags.observed) > 0 === isObserved &&
      existsSync(join(datapath.dir, 'links', 'weft_observe')) === isObserved,
  );
}

const trips = (ms: number, options: readonly string[]): Promise<unknown> =>
  runJson(
    'weft-bench-client',
    loadProgram('pingpong'),
    [near, String(port), String(cpuOf.client), String(bytes), String(ms), ...options],
    ms + 20_000,
  );

/** Time of the programs that see messages or packets, since they were loaded, while the kernel keeps statistics. */
function programNs(): number {
  return ['weft_splice', 'weft_observe'].reduce((sum, name) => {
    const found = JSON.parse(sh('bpftool', ['-j', 'prog', 'show'])) as {
      name?: string;
      run_time_ns?: number;
    }[];
    return found.reduce((ns, one) => ns + (one.name === name ? (one.run_time_ns ?? 0) : 0), sum);
  }, 0);
}

/** Time of the programs for one message. In a run of its own: the statistics make the round trip longer. */
async function messageNs(options: readonly string[]): Promise<number> {
  sh('sysctl', ['-qw', 'kernel.bpf_stats_enabled=1']);
  try {
    const before = programNs();
    const found = await trips(forMs, options);
    return (programNs() - before) / (2 * numberAt(found, 'all_trips'));
  } finally {
    sh('sysctl', ['-qw', 'kernel.bpf_stats_enabled=0']);
  }
}

const paths = [
  { name: 'spliced', isSpliced: true, options: ['http'] },
  { name: 'spliced, no HTTP', isSpliced: true, options: [] },
  { name: 'on TCP', isSpliced: false, options: ['http'] },
  { name: 'on TCP, blocking', isSpliced: false, options: ['blocking', 'http'] },
] as const;
const base = 'without';
const variants = [
  { name: base, isObserved: false },
  { name: 'with', isObserved: true },
  { name: 'without, again', isObserved: false },
] as const;
const metrics = ['p50', 'p99', 'ns'] as const;

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
  const samples = await interleave({
    rounds,
    paths,
    variants,
    onProgress: (progress) => process.stderr.write(`${progress}\n`),
    tasks: [
      {
        name: 'round trips',
        measure: async ({ isSpliced, options }, { isObserved }) => {
          await configure(isSpliced, isObserved);
          await trips(100, options);
          const found = await trips(forMs, options);
          return {
            p50: numberAt(found, 'p50_us'),
            p99: numberAt(found, 'p99_us'),
            ns: await messageNs(options),
          };
        },
      },
    ],
  });
  const all = (path: string, variant: string): object =>
    Object.fromEntries(
      metrics.map((metric) => [metric, quartilesOf(valuesOf(samples, path, variant, metric))]),
    );
  const ratios = (path: string, variant: string): object =>
    Object.fromEntries(
      metrics.map((metric) => [metric, quartilesOf(ratiosByRound(samples, path, metric, variant, base))]),
    );
  const result = Object.fromEntries(
    paths.map(({ name }) => [
      name,
      {
        without: all(name, base),
        with: all(name, 'with'),
        ratio: ratios(name, 'with'),
        noise: ratios(name, 'without, again'),
      },
    ]),
  );
  console.log(JSON.stringify({ rounds, forMs, bytes, result }, null, 2));
} finally {
  await servers.stop();
  await tearDown(state);
  rmSync(from, { recursive: true });
}
