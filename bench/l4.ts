/** L4: the mesh across nodes and on one node, against the same path without it. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { projectRoot } from '../native/index.js';
import { run, sh, sleep, until } from '../src/cli/run.js';
import { Bed, tearDown } from '../src/cli/standalone/bed.js';
import { ratio, runRounds, type Figures, type Round } from './harness/rounds.js';

export interface L4Options {
  readonly rounds: number;
  /** Per throughput and churn run. */
  readonly seconds: number;
  readonly pings: number;
  readonly onStep: (text: string) => void;
}

export interface L4Result {
  readonly ratios: Record<string, number>;
  readonly noise: Record<string, number>;
  readonly costs: Record<string, number>;
  readonly rounds: { path: string; rounds: Round[] }[];
}

const metrics = ['p50', 'p99', 'p999', 'throughput', 'connections'] as const;
const [echoPort, iperfPort] = [7000, 5201];

/** Two namespaces with the same three pods each: one in the mesh, one not. */
function manifests(): string {
  const node = (name: string, n: number): string =>
    `kind: Node\nmetadata: { name: ${name}, annotations: { weft.dev/netns: weft-${name} } }\nstatus: { addresses: [{ type: InternalIP, address: 10.89.0.${n} }] }\n`;
  const pod = (namespace: string, name: string, on: string, ip: string): string =>
    `kind: Pod\nmetadata: { name: ${name}, namespace: ${namespace}, annotations: { weft.dev/netns: weft-${namespace}-${name} } }\nspec: { nodeName: ${on}, serviceAccountName: ${name} }\nstatus: { podIPs: [{ ip: ${ip} }] }\n`;
  return [
    node('bench-a', 1),
    node('bench-b', 2),
    'kind: Namespace\nmetadata: { name: mesh, labels: { weft.dev/mesh: enabled } }\n',
    'kind: Namespace\nmetadata: { name: direct }\n',
    ...['mesh', 'direct'].flatMap((namespace, i) => [
      pod(namespace, 'client', 'bench-a', `10.245.1.${10 + i}`),
      pod(namespace, 'near', 'bench-a', `10.245.1.${20 + i}`),
      pod(namespace, 'far', 'bench-b', `10.245.2.${20 + i}`),
    ]),
  ].join('---\n');
}

const servers = {
  'same-node': { mesh: '10.245.1.20', direct: '10.245.1.21' },
  'cross-node': { mesh: '10.245.2.20', direct: '10.245.2.21' },
} as const;

function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}
function rssMegabytes(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024;
}

export async function benchL4(options: L4Options): Promise<L4Result> {
  const state = '/run/weft/bench';
  await tearDown(state);
  mkdirSync(join(state, 'manifests'), { recursive: true, mode: 0o700 });
  writeFileSync(join(state, 'manifests', 'bench.yaml'), manifests());
  const echo = join(state, 'echo');
  sh('cc', ['-O2', '-pthread', '-o', echo, join(projectRoot, 'bench', 'load', 'echo.c')]);
  try {
    const bed = Bed.create({ from: join(state, 'manifests'), state });
    await bed.up();
    for (const namespace of ['mesh', 'direct']) {
      for (const name of ['near', 'far']) {
        const netns = `weft-${namespace}-${name}`;
        bed.start(`echo-${netns}`, netns, echo, ['serve', String(echoPort)]);
        bed.start(`iperf-${netns}`, netns, 'iperf3', ['-s', '-p', String(iperfPort)]);
      }
    }
    await sleep(300);
    const pids = ['bench-a', 'bench-b'].map((node) => bed.mark(`agent-${node}`)?.pid ?? 0);
    const agents = (read: (pid: number) => number): number => pids.reduce((sum, pid) => sum + read(pid), 0);

    const measure = (namespace: 'mesh' | 'direct', ip: string) => async (): Promise<Figures> => {
      const netns = `weft-${namespace}-client`;
      const json = async (command: string, args: readonly string[]): Promise<Record<string, number>> => {
        const result = await run(netns, command, args, 120_000);
        if (result.code !== 0)
          throw new Error(`${command} ${args.join(' ')} in ${netns}: ${result.stderr || result.stdout}`);
        return JSON.parse(result.stdout) as Record<string, number>;
      };
      const ping = await json(echo, ['ping', ip, String(echoPort), String(options.pings)]);
      const churn = await json(echo, ['churn', ip, String(echoPort), String(options.seconds)]);
      const before = agents(cpuSeconds);
      const iperf = (await json('iperf3', [
        '-c',
        ip,
        '-p',
        String(iperfPort),
        '-t',
        String(options.seconds),
        '-J',
      ])) as unknown as {
        end: { sum_received: { bytes: number; bits_per_second: number } };
      };
      const received = iperf.end.sum_received;
      return {
        ...ping,
        connections: churn['connections'] ?? 0,
        failed: churn['failed'] ?? 0,
        throughput: received.bits_per_second / 1e9,
        cpuPerGb: (agents(cpuSeconds) - before) / (received.bytes / 1e9),
      };
    };
    const result: L4Result = { ratios: {}, noise: {}, costs: {}, rounds: [] };
    for (const [path, ips] of Object.entries(servers)) {
      await until(
        `${path} answers`,
        10_000,
        async () =>
          (await run('weft-mesh-client', echo, ['ping', ips.mesh, String(echoPort), '10'])).code === 0,
      );
      const rounds = await runRounds(
        { name: 'direct', measure: measure('direct', ips.direct) },
        [{ name: 'mesh', measure: measure('mesh', ips.mesh) }],
        options.rounds,
        (text) => options.onStep(`${path}, ${text}`),
      );
      result.rounds.push({ path, rounds });
      for (const metric of metrics) {
        result.ratios[`${path}.${metric}`] = ratio(rounds, 'mesh', 'direct', metric);
        result.noise[`${path}.${metric}`] = ratio(rounds, 'again', 'direct', metric);
      }
      result.costs[`${path}.agents cpu s/GB`] = ratio(
        rounds.map((r) => ({ ...r, one: { cpuPerGb: 1 } })),
        'mesh',
        'one',
        'cpuPerGb',
      );
    }
    result.costs['memory per agent MB'] = agents(rssMegabytes) / pids.length;
    return result;
  } catch (error) {
    // The bed goes with its logs: their last words are what explains a failed run.
    options.onStep(
      readFileSync(join(state, 'agent-bench-a.log'), 'utf8').trim().split('\n').slice(-3).join('\n'),
    );
    throw error;
  } finally {
    await tearDown(state);
  }
}
