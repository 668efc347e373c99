/** The measurements of the l4 suite, each between a client and a server of one variant on one path. */
import type { Task } from '../harness/interleave.js';
import { cpuOf, loadProgram, numberAt, runJson } from '../harness/load.js';
import type { CpuSpent } from '../harness/roles.js';
import { machineCpuSeconds } from '../harness/cost.js';
import type { Scene } from '../mesh/scene.js';
import { endsOf, type Path, type Variant } from './variants.js';

export const messageBytes = 128;
export const largeMessageBytes = 64 << 10;
export const echoPort = 7000;
export const sinkPort = 7001;
const writeBytes = 128 << 10;
/** Number of bulk streams that run besides one connection of requests. */
const mixedBulkStreams = 15;
const manyStreams = 16;
const slackMs = 30_000;

export interface TasksGiven {
  readonly scene: Scene;
  readonly seconds: number;
  readonly atOnce: number;
}

export function tasksOf({ scene, seconds, atOnce }: TasksGiven): Task<Path, Variant>[] {
  const milliseconds = String(Math.round(seconds * 1000));
  const run = (
    program: 'pingpong' | 'connections' | 'bulk',
    port: number,
    path: Path,
    variant: Variant,
    further: readonly string[],
  ): Promise<unknown> => {
    const { namespace } = endsOf(variant);
    const { ip } = scene.pod(namespace, path.server);
    const args = [ip, String(port), String(cpuOf.client), ...further];
    const command = scene.roles.command('client', loadProgram(program), args);
    return runJson(scene.pod(namespace, 'client').netns, ...command, seconds * 1000 + slackMs);
  };
  const pingpong = (path: Path, variant: Variant, bytes: number, ...more: string[]): Promise<unknown> =>
    run('pingpong', echoPort, path, variant, [String(bytes), milliseconds, ...more]);
  const bulk = (path: Path, variant: Variant, streams: number): Promise<unknown> =>
    run('bulk', sinkPort, path, variant, [String(writeBytes), milliseconds, String(streams)]);
  const spentBy = <T>(variant: Variant, work: () => Promise<T>): Promise<[T, CpuSpent]> =>
    scene.roles.spentBy(endsOf(variant).proxies, ['client', 'server'], work);
  /** CPU of proxies is given only where there are some. */
  const ofProxies = (variant: Variant, values: Record<string, number>): Record<string, number> =>
    endsOf(variant).proxies.length > 0 ? values : {};
  return [
    {
      name: 'round trips',
      measure: async (path, variant) => {
        const [result, { proxy }] = await spentBy(variant, () => pingpong(path, variant, messageBytes));
        return {
          p50: numberAt(result, 'p50_us'),
          p99: numberAt(result, 'p99_us'),
          p999: numberAt(result, 'p999_us'),
          ...ofProxies(variant, { proxyUsPerTrip: (proxy * 1e6) / numberAt(result, 'all_trips') }),
        };
      },
    },
    {
      name: 'round trips of large messages',
      measure: async (path, variant) => {
        const result = await pingpong(path, variant, largeMessageBytes);
        return { p50Large: numberAt(result, 'p50_us'), p99Large: numberAt(result, 'p99_us') };
      },
    },
    {
      name: 'round trips of a socket that blocks',
      measure: async (path, variant) => ({
        p50Blocking: numberAt(await pingpong(path, variant, messageBytes, 'blocking'), 'p50_us'),
      }),
    },
    {
      name: 'requests beside bulk',
      measure: async (path, variant) => {
        const [requests, streams] = await Promise.all([
          pingpong(path, variant, messageBytes),
          bulk(path, variant, mixedBulkStreams),
        ]);
        return {
          requestsMixed: numberAt(requests, 'all_trips') / seconds,
          p99Mixed: numberAt(requests, 'p99_us'),
          throughputMixed: numberAt(streams, 'gbit_per_second'),
        };
      },
    },
    {
      name: 'connections',
      measure: async (path, variant) => {
        const [result, { proxy }] = await spentBy(variant, () =>
          run('connections', echoPort, path, variant, [String(messageBytes), milliseconds, String(atOnce)]),
        );
        return {
          connections: numberAt(result, 'per_second'),
          failed: numberAt(result, 'failed'),
          ...ofProxies(variant, { proxyUsPerConnection: (proxy * 1e6) / numberAt(result, 'opened') }),
        };
      },
    },
    {
      name: 'throughput',
      measure: async (path, variant) => {
        const before = machineCpuSeconds();
        const [result, { proxy }] = await spentBy(variant, () => bulk(path, variant, 1));
        const machineSeconds = machineCpuSeconds() - before;
        const gigabytes = numberAt(result, 'bytes') / 1e9;
        const { proxies } = endsOf(variant);
        return {
          throughput: numberAt(result, 'gbit_per_second'),
          machineSecondsPerGb: machineSeconds / gigabytes,
          ...ofProxies(variant, {
            proxySecondsPerGb: proxy / gigabytes,
            proxyMegabytes: proxies.reduce((sum, role) => sum + scene.residentBytes(role), 0) / 1e6,
          }),
        };
      },
    },
    {
      name: 'throughput of many streams',
      measure: async (path, variant) => ({
        throughput16: numberAt(await bulk(path, variant, manyStreams), 'gbit_per_second'),
      }),
    },
  ];
}
