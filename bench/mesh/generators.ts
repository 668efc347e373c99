/** Measures the load generators alone: against a local server over loopback, without a proxy. */
import { WeftError } from '../../src/base/errors.js';
import { sh } from '../../src/cli/run.js';
import { httpPort } from '../load/fortio.js';
import { cpuOf, loadProgram, numberAt, runJson } from '../harness/load.js';
import type { Generator } from '../result/result.js';
import { measureAtRate, measureBulk, measureCapacity, measurePingPong, type Workbench } from './workloads.js';
import type { MeshCell } from './variants.js';

const baselineRate = 1000;
const baselineSeconds = 1;

/** `cell`: a cell whose client pod also runs the servers. */
export async function baselines(given: Workbench, cell: MeshCell, version: string): Promise<Generator[]> {
  const own: MeshCell = { ...cell, client: cell.server, ip: '127.0.0.1', proxies: [] };
  const bench: Workbench = { ...given, seconds: Math.max(baselineSeconds, given.seconds) };
  const rate = await measureAtRate(bench, own, 'http1', baselineRate);
  const full = await measureCapacity(bench, own, 'http1');
  const ping = await measurePingPong(bench, own, 128);
  const bulk = await measureBulk(bench, own, 1);
  // A second generator with the same work: results that agree are credible.
  const other = await runJson(
    own.client,
    loadProgram('requests'),
    ['127.0.0.1', String(httpPort), String(cpuOf.client), String(baselineRate), '16', '1000', '300'],
    30_000,
  );
  if (rate.short !== undefined) throw new WeftError('WEFT_BENCH_NOT_CARRIED', `fortio alone: ${rate.short}`);
  return [
    {
      name: 'fortio',
      version,
      baseline: {
        [`p50 at ${baselineRate}/s, us`]: rate.values['p50'] ?? 0,
        [`p99 at ${baselineRate}/s, us`]: rate.values['p99'] ?? 0,
        'full speed, 1/s': full.values['perSecond'] ?? 0,
      },
    },
    {
      name: 'requests (bench/load)',
      version: 'of this tree',
      baseline: {
        [`p50 at ${baselineRate}/s, us`]: numberAt(other, 'p50_us'),
        [`p99 at ${baselineRate}/s, us`]: numberAt(other, 'p99_us'),
      },
    },
    {
      name: 'pingpong (bench/load)',
      version: 'of this tree',
      baseline: { '128 bytes p50, us': ping.values['p50'] ?? 0 },
    },
    {
      name: 'iperf3',
      version: /iperf ([\d.]+)/.exec(sh('iperf3', ['--version']))?.[1] ?? 'unknown',
      baseline: { '1 stream, Gbit/s': bulk.values['gbit'] ?? 0 },
    },
  ];
}
