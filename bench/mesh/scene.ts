/** The testbed of the comparison: pods, agents, applications, sidecars and waypoint. Each process runs in the role that its CPU is counted for. */
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { errorText, WeftError } from '../../src/base/errors.js';
import { until } from '../../src/base/wait.js';
import { parseIp } from '../../src/model/address.js';
import { parseSpiffeId } from '../../src/model/identity.js';
import { adminGet } from '../../src/cli/admin.js';
import {
  daemon,
  endProcess,
  isAlive,
  markOf,
  programs,
  run,
  sh,
  type ProcessMark,
} from '../../src/cli/run.js';
import {
  agentProcess,
  carrierProcess,
  Testbed,
  controlPort,
  tearDown,
  type TestbedOptions,
} from '../../src/cli/standalone/testbed.js';
import { startWaypoint, waypointProcess, type WaypointReplica } from '../../src/cli/standalone/waypoint.js';
import { residentBytes } from '../harness/cost.js';
import { Roles } from '../harness/roles.js';
import { issuer } from '../peers/issuer.js';
import { adminPort, proxyGroup, redirectRules, sidecarArgs, sidecarConfig } from '../peers/sidecar.js';
import { hbonePort, readinessPort, ztunnelEnvironment } from '../peers/ztunnel.js';
import {
  agentNodesOf,
  manifestsOf,
  placePods,
  relayOf,
  type PlacedPod,
  type PodPlan,
  type ScenePlan,
} from './plan.js';

/** `agents`, `carriers`: of the nodes that relay by the carrier. `agents-typescript`: of those that relay in the agent. */
export type ProxyRole = 'agents' | 'carriers' | 'agents-typescript' | 'sidecars' | 'waypoint' | 'others';

const startMsMax = 30_000;

export class Scene {
  pods: readonly PlacedPod[];
  readonly roles: Roles;
  readonly testbed: Testbed;
  readonly #dir: string;
  readonly #issue = issuer();
  readonly #programs: ProcessMark[] = [];
  /** Programs by process id. */
  readonly #logs = new Map<number, string>();
  #count = 0;

  private constructor(
    public plan: ScenePlan,
    readonly state: string,
    further: Pick<TestbedOptions, 'workers'>,
  ) {
    this.#dir = mkdtempSync(join(tmpdir(), 'weft-bench-'));
    this.pods = placePods(plan);
    // A directory of its own, because the control plane reads every file in it.
    mkdirSync(this.#manifests());
    this.writeManifests([]);
    this.roles = new Roles();
    try {
      this.testbed = Testbed.create({
        from: this.#manifests(),
        state,
        ...further,
        relayOf,
      });
    } catch (error) {
      void this.roles.remove();
      rmSync(this.#dir, { recursive: true, force: true });
      throw error;
    }
  }

  #manifests(): string {
    return join(this.#dir, 'manifests');
  }

  /** Creates namespaces and links without programs. Throws as Testbed.create, and WEFT_START without cgroups. */
  static async create(
    plan: ScenePlan,
    state: string,
    further: Pick<TestbedOptions, 'workers'> = {},
  ): Promise<Scene> {
    await tearDown(state);
    const scene = new Scene(plan, state, further);
    try {
      for (const { netns } of scene.pods) widenPorts(netns);
    } catch (error) {
      await scene.down();
      throw error;
    }
    return scene;
  }

  /** Starts the control plane, the carriers and the agents, and counts their CPU. Resolves when all pods are enrolled. */
  async startMesh(): Promise<void> {
    await this.testbed.up(agentNodesOf(this.plan));
    this.#countAgents();
  }

  #countAgents(): void {
    for (const name of agentNodesOf(this.plan)) {
      const ofTypeScript = relayOf(name) === 'typescript';
      this.roles.add(ofTypeScript ? 'agents-typescript' : 'agents', this.agentPid(name));
      for (const pid of ofTypeScript ? [] : this.carrierPids(name)) this.roles.add('carriers', pid);
    }
  }

  /** Restarts all agents and carriers, so that they have the memory of a fresh start. */
  async restartAgents(): Promise<void> {
    const names = agentNodesOf(this.plan);
    for (const name of names) {
      await this.testbed.stop(agentProcess(name));
      // With the next agent a new one starts.
      await this.testbed.stop(carrierProcess(name));
    }
    for (const name of names) this.testbed.startAgent(name);
    await this.testbed.waitReady(undefined, names);
    this.#countAgents();
  }

  /** The carrier of a node and its broker. Empty if the node has no carrier. */
  carrierPids(node: string): number[] {
    const mark = this.testbed.mark(carrierProcess(node));
    return mark && isAlive(mark) ? processTree(mark.pid) : [];
  }

  agentPid(node: string): number {
    const mark = this.testbed.mark(agentProcess(node));
    if (!mark) throw new WeftError('WEFT_START', `the agent of ${node} does not run`);
    return mark.pid;
  }

  pod(namespace: string, name: string): PlacedPod {
    const found = this.pods.find((pod) => pod.namespace === namespace && pod.name === name);
    if (!found) throw new WeftError('WEFT_START', `no pod ${namespace}/${name} in this scene`);
    return found;
  }

  /** Replaces the manifests that the control plane watches. `further`: objects beside those of the plan. `plan`: another plan for the same pods. */
  writeManifests(further: readonly object[], plan = this.plan): void {
    const file = join(this.#manifests(), 'mesh.yaml');
    // Renamed into place: a partly written file would remove pods.
    writeFileSync(`${file}.new`, manifestsOf({ ...plan, further: [...(plan.further ?? []), ...further] }));
    renameSync(`${file}.new`, file);
  }

  /** Adds and links the network namespace of a pod. `writeManifests` then publishes the pod. */
  addPod(pod: PodPlan): PlacedPod {
    const plan = { ...this.plan, pods: [...this.plan.pods, pod] };
    const placed = placePods(plan).at(-1) as PlacedPod;
    this.testbed.addPod(pod.node, { name: pod.name, netns: placed.netns, addresses: [parseIp(placed.ip)] });
    this.plan = plan;
    this.pods = [...this.pods, placed];
    widenPorts(placed.netns);
    return placed;
  }

  /** Starts a server in the namespace of a pod, counted as `role`. Resolves with its process id once it listens on `port`. */
  async serve(
    netns: string,
    port: number,
    command: string,
    args: readonly string[],
    role = 'server',
  ): Promise<number> {
    const { mark, ended } = this.#start(netns, command, args, role);
    // Reads the sockets of the network namespace, because a relay has left it when it listens.
    const listens = new RegExp(`:${port.toString(16).toUpperCase().padStart(4, '0')} \\S+ 0A `);
    await until(`${command} listens on port ${port} in ${netns}`, startMsMax, async () => {
      ended();
      return listens.test((await run(netns, 'cat', ['/proc/self/net/tcp', '/proc/self/net/tcp6'])).stdout);
    });
    return mark.pid;
  }

  /** Starts a long-running program. Resolves with its process id at its first line of output. */
  async keep(
    netns: string,
    command: string,
    args: readonly string[],
    role: string,
    timeoutMs: number,
  ): Promise<number> {
    const { mark, ended, said } = this.#start(netns, command, args, role);
    await until(`${command} in ${netns} has begun`, timeoutMs, () => {
      const text = said();
      if (!text.includes('\n')) ended();
      return text.includes('\n');
    });
    return mark.pid;
  }

  /** `ended` throws WEFT_START if the program has ended. */
  #start(
    netns: string,
    command: string,
    args: readonly string[],
    role: string,
  ): { readonly mark: ProcessMark; readonly ended: () => void; readonly said: () => string } {
    const log = join(this.#dir, `${++this.#count}.log`);
    const child: ChildProcess = daemon(netns, log, ...this.roles.command(role, command, args));
    const mark = child.pid === undefined ? undefined : markOf(child.pid);
    if (!mark) throw new WeftError('WEFT_START', `${command} did not start`);
    this.#programs.push(mark);
    this.#logs.set(mark.pid, log);
    const said = (): string => readFileSync(log, 'utf8');
    const ended = (): void => {
      if (child.exitCode !== null)
        throw new WeftError(
          'WEFT_START',
          `${command} ended with exit code ${child.exitCode}: ${this.#lastLine(mark.pid)}`,
        );
    };
    return { mark, ended, said };
  }

  #lastLine(pid: number): string {
    const log = this.#logs.get(pid);
    return log === undefined ? '' : (readFileSync(log, 'utf8').trim().split('\n').at(-1) ?? '');
  }

  /** Ends one server before the others. */
  async end(pid: number): Promise<void> {
    const at = this.#programs.findIndex((mark) => mark.pid === pid);
    for (const mark of at < 0 ? [] : this.#programs.splice(at, 1)) await endProcess(mark, 3_000);
  }

  /** Starts Envoy as the sidecar of a pod. Redirection is set up first, so that no connection bypasses Envoy. Returns its process id. */
  async startSidecar(
    pod: PlacedPod,
    envoy: string,
    httpPorts: readonly number[],
    concurrency: number,
    allowed?: readonly string[],
  ): Promise<number> {
    const peers = `spiffe://cluster.local/ns/${pod.namespace}/`;
    const svid = this.#issue(parseSpiffeId(`${peers}sa/${pod.name}`));
    const file = join(this.#dir, `envoy-${pod.netns}.json`);
    const config = { credentials: svid, peers, httpPorts, ...(allowed ? { allowed } : {}) };
    writeFileSync(file, sidecarConfig(config), { mode: 0o600 });
    // Flushes the rules, so that a sidecar can replace another.
    sh('nsenter', [`--net=/run/netns/${pod.netns}`, 'iptables-restore'], redirectRules());
    const args = ['--regid', String(proxyGroup), '--clear-groups', envoy, ...sidecarArgs(file, concurrency)];
    const pid = await this.serve(pod.netns, 15006, 'setpriv', args, 'sidecars');
    await until(`the sidecar of ${pod.netns} is live`, startMsMax, async () =>
      (await adminGet(pod.netns, adminPort, '/ready').catch(() => '')).startsWith('LIVE'),
    );
    return pid;
  }

  /** Sets up redirection and starts a ztunnel for a pod, served by Weft's control plane. Returns its process id. */
  async startZtunnel(pod: PlacedPod): Promise<number> {
    const control = this.testbed.controlState();
    const tokenFile = join(this.#dir, `token-${pod.node}`);
    const token = sh(process.execPath, [programs.control, 'token', '--state', control, '--node', pod.node]);
    writeFileSync(tokenFile, token.trim(), { mode: 0o600 });
    const environment = ztunnelEnvironment(pod, {
      url: `https://${this.testbed.topology.controlIp}:${controlPort}`,
      rootFile: join(control, 'root-cert.pem'),
      tokenFile,
    });
    const rules = redirectRules(proxyGroup, [hbonePort]);
    sh('nsenter', [`--net=/run/netns/${pod.netns}`, 'iptables-restore', '--noflush'], rules);
    const variables = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
    const args = ['--regid', String(proxyGroup), '--clear-groups', 'env', ...variables, 'ztunnel'];
    const pid = await this.serve(pod.netns, hbonePort, 'setpriv', args, 'others');
    await until(`the ztunnel of ${pod.netns} is ready`, startMsMax, () =>
      this.get(pod.netns, `http://127.0.0.1:${readinessPort}/healthz/ready`).then(
        () => true,
        () => false,
      ),
    ).catch((error: unknown) => {
      throw new WeftError('WEFT_START', `${errorText(error)}; its last output: ${this.#lastLine(pid)}`);
    });
    return pid;
  }

  /** Last output of agents that have ended. */
  lastWords(): string {
    return agentNodesOf(this.plan)
      .filter((name) => {
        const mark = this.testbed.mark(`agent-${name}`);
        return mark !== undefined && !isAlive(mark);
      })
      .map((name) => `${name}: ${this.testbed.log(`agent-${name}`).trim().split('\n').slice(-3).join(' ')}`)
      .join('; ');
  }

  /** Starts a waypoint, counted as `waypoint`. */
  async startWaypoint(place: WaypointReplica): Promise<void> {
    await startWaypoint(this.testbed, place);
    const mark = this.testbed.mark(waypointProcess(place));
    if (mark) for (const pid of processTree(mark.pid)) this.roles.add('waypoint', pid);
  }

  /** Resident bytes of all processes of a role. */
  residentBytes(role: ProxyRole): number {
    return this.roles.pids(role).reduce((sum, pid) => sum + residentBytes(pid), 0);
  }

  /** Fetches a URL from a pod with curl and returns the body. Throws WEFT_BENCH_NOT_CARRIED. */
  async get(netns: string, url: string): Promise<string> {
    const { code, stdout, stderr } = await run(netns, 'curl', [
      '-sS',
      '--fail',
      '--noproxy',
      '*',
      '-m',
      '5',
      url,
    ]);
    if (code !== 0) throw new WeftError('WEFT_BENCH_NOT_CARRIED', `${url} from ${netns}: ${stderr.trim()}`);
    return stdout;
  }

  /** Ends all programs and removes the testbed. */
  async down(): Promise<void> {
    for (const mark of this.#programs.splice(0).reverse()) await endProcess(mark, 3_000);
    await tearDown(this.state);
    await this.roles.remove();
    rmSync(this.#dir, { recursive: true, force: true });
  }
}

/** Widens the range of local ports: otherwise short connections use up the ports of one minute. */
function widenPorts(netns: string): void {
  sh('nsenter', [
    `--net=/run/netns/${netns}`,
    'sysctl',
    '-qw',
    'net.ipv4.tcp_tw_reuse=1',
    'net.ipv4.ip_local_port_range=20000 65535',
  ]);
}

/** A process and all its descendants. */
export function processTree(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
    .trim()
    .split(' ')
    .filter(Boolean);
  return [pid, ...children.flatMap((child) => processTree(Number(child)))];
}
