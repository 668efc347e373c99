/**
 * The testbed: nodes and pods as network namespaces, and Weft's own programs on them. What is made is written down before it
 * is made, so that `down` finds all of it, also after `up` was killed.
 */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { errorText, WeftError } from '../../base/errors.js';
import { isV6 } from '../../model/address.js';
import { sleep, until } from '../../base/wait.js';
import {
  daemon,
  endProcess,
  isAlive,
  markOf,
  programs,
  sh,
  signalProcess,
  type ProcessMark,
} from '../run.js';
import {
  blockOf,
  gatewayOf,
  lengthOf,
  readTopology,
  underlayNetns,
  type TestbedPod,
  type Topology,
} from './topology.js';

/** What `down` needs to know of a testbed; testbed.json in its state directory. */
export interface Ledger {
  /** Who made it; a demo lives as long as its testbed, `standalone up` does not. */
  readonly owner: ProcessMark | undefined;
  readonly from: string;
  readonly nodes: readonly { readonly name: string; readonly netns: string }[];
  readonly netns: string[];
  readonly instances: readonly string[];
  /** Those that are to run: `process` is a name in `processes`. */
  readonly waypoints: { readonly gateway: string; readonly netns: string; readonly process: string }[];
  processes: Record<string, ProcessMark>;
}

export interface TestbedOptions {
  /** Manifests; watched by the control plane. */
  readonly from: string;
  readonly state: string;
  readonly certTtlS?: number;
  readonly workers?: number;
  /** Further flags of each agent. */
  readonly agentFlags?: readonly string[];
}

export interface AgentReadiness {
  readonly ready: boolean;
  /** Of the agent that says so. */
  readonly pid?: number;
  readonly pods: readonly { readonly uid: string; readonly certificate: boolean }[];
  /** Pods that wait to be taken in, and why. */
  readonly waiting?: Readonly<Record<string, string>>;
  readonly control?: { readonly state: string; readonly why: string };
}

export const controlPort = 15012;
/** Patient: an emulated machine with another load beside it takes a minute for what takes a second here. */
const readyMsMax = 90_000;
const pinRoot = '/sys/fs/bpf/weft';
const weftRun = '/run/weft';
/** Every program of a testbed carries this with the testbed's state directory, from before it is written down. */
const testbedVariable = 'WEFT_BED';

const ledgerPath = (state: string): string => join(state, 'testbed.json');

/** Undefined where no testbed stands at `state`. */
export function readLedger(state: string): Ledger | undefined {
  try {
    return JSON.parse(readFileSync(ledgerPath(state), 'utf8')) as Ledger;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new WeftError('WEFT_BED', `${ledgerPath(state)} is not readable: ${errorText(error)}`, {
      cause: error,
    });
  }
}

/** What an agent has last said of itself in its run directory. */
export function readReadiness(run: string): AgentReadiness {
  try {
    return JSON.parse(readFileSync(join(run, 'ready'), 'utf8')) as AgentReadiness;
  } catch {
    return { ready: false, pods: [] };
  }
}

export const runDirOf = (state: string, node: string): string => join(state, `agent-${node}`);
export const agentProcess = (node: string): string => `agent-${node}`;

export class Testbed {
  readonly topology: Topology;
  /** Its state directory. */
  readonly state: string;
  readonly #env: Readonly<Record<string, string>>;
  readonly #ledger: Ledger;
  #closed = false;

  private constructor(
    readonly options: TestbedOptions,
    topology: Topology,
  ) {
    this.topology = topology;
    this.state = resolve(options.state);
    this.#env = { [testbedVariable]: this.state };
    this.#ledger = {
      owner: markOf(process.pid),
      from: resolve(options.from),
      nodes: topology.nodes.map(({ name, netns }) => ({ name, netns })),
      netns: [
        underlayNetns,
        ...topology.nodes.flatMap((node) => [node.netns, ...node.pods.map((pod) => pod.netns)]),
      ],
      instances: topology.nodes.map(({ name }) => name),
      waypoints: [],
      processes: {},
    };
  }

  /**
   * Makes namespaces and links; programs are started apart. Throws WEFT_BED_EXISTS where a testbed is there already, or
   * anything by a name that it would use: what `down` removes must have been made here. After any other error, tearDown.
   */
  static create(options: TestbedOptions): Testbed {
    const testbed = new Testbed(options, readTopology(options.from));
    if (existsSync(ledgerPath(testbed.state))) {
      throw new WeftError(
        'WEFT_BED_EXISTS',
        `a testbed stands at ${testbed.state}: weft standalone down --state ${testbed.state}`,
      );
    }
    for (const name of testbed.#ledger.netns) {
      if (existsSync(join('/run/netns', name))) {
        throw new WeftError(
          'WEFT_BED_EXISTS',
          `network namespace ${name} is there already: take that testbed down first, or remove it by ip netns del ${name}`,
        );
      }
    }
    for (const name of testbed.#ledger.instances) {
      if (existsSync(join(pinRoot, name))) {
        throw new WeftError(
          'WEFT_BED_EXISTS',
          `an agent's pins named ${name} are there already: end that agent, then weft cleanup --instance ${name}`,
        );
      }
    }
    mkdirSync(testbed.state, { recursive: true, mode: 0o700 });
    testbed.#save();
    testbed.#network();
    return testbed;
  }

  /** From now on nothing is started any more; for a tearDown while steps are still under way. */
  close(): void {
    this.#closed = true;
  }

  #save(): void {
    const path = ledgerPath(this.state);
    writeFileSync(`${path}.new`, JSON.stringify(this.#ledger), { mode: 0o600 });
    renameSync(`${path}.new`, path);
  }

  #network(): void {
    const { nodes, controlIp } = this.topology;
    for (const name of this.#ledger.netns) this.#makeNetns(name);
    const batch = (netns: string, lines: string[]): void => this.#batch(netns, lines);
    batch(underlayNetns, [
      'link add br0 type bridge',
      'link set br0 address 02:77:65:66:74:00',
      'link set br0 up',
      `addr add ${controlIp}/24 dev br0`,
    ]);
    nodes.forEach((node, index) => {
      batch(underlayNetns, [
        `link add n${index} type veth peer name eth0 netns ${node.netns}`,
        `link set n${index} master br0`,
        `link set n${index} up`,
      ]);
      const pods = node.pods.flatMap(({ addresses }) => addresses);
      const gateways = new Set(pods.map((ip) => `${gatewayOf(ip)}/${lengthOf(ip)}`));
      batch(node.netns, [
        'link set eth0 up',
        ...node.addresses.map((ip) => `addr add ${ip}/${lengthOf(ip)} dev eth0${isV6(ip) ? ' nodad' : ''}`),
        'link add pods type bridge',
        // Else it is the lowest of its ports' addresses, and a pod that goes would change it under its neighbours.
        `link set pods address 02:77:65:66:74:${(index + 1).toString(16).padStart(2, '0')}`,
        'link set pods up',
        ...[...gateways].map(
          (address) => `addr add ${address} dev pods${address.includes(':') ? ' nodad' : ''}`,
        ),
      ]);
      node.pods.forEach((pod, at) => this.#plug(node.netns, pod, `p${at}`));
    });
    // The underlay too: the control plane answers waypoints, which are pods.
    for (const from of [underlayNetns, ...nodes.map(({ netns }) => netns)]) {
      for (const other of nodes) {
        if (other.netns === from) continue;
        const blocks = new Map(
          other.pods.flatMap(({ addresses }) => addresses.map((ip) => [blockOf(ip), isV6(ip)] as const)),
        );
        batch(
          from,
          [...blocks].flatMap(([block, v6]) => {
            const via = other.addresses.find((ip) => isV6(ip) === v6);
            if (v6 && from === underlayNetns) return [];
            return via ? [`route add ${block} via ${via}`] : [];
          }),
        );
      }
    }
  }

  #set(command: string, args: string[], input?: string): void {
    sh(command, args, input, this.#env);
  }
  #batch(netns: string, lines: string[]): void {
    this.#set('ip', ['-n', netns, '-batch', '-'], `${lines.join('\n')}\n`);
  }

  #makeNetns(name: string): void {
    this.#set('ip', ['netns', 'add', name]);
    this.#set('ip', ['-n', name, 'link', 'set', 'lo', 'up']);
    this.#set('nsenter', [
      `--net=/run/netns/${name}`,
      'sysctl',
      '-qw',
      'net.ipv4.ip_forward=1',
      'net.ipv6.conf.all.forwarding=1',
      'net.ipv6.conf.default.accept_dad=0',
      'net.ipv6.conf.all.accept_dad=0',
    ]);
  }

  /** `link`: the pod's, as its node sees it. */
  #plug(nodeNetns: string, pod: TestbedPod, link: string): void {
    this.#batch(nodeNetns, [
      `link add ${link} type veth peer name eth0 netns ${pod.netns}`,
      `link set ${link} master pods`,
      `link set ${link} up`,
    ]);
    this.#batch(pod.netns, [
      'link set eth0 up',
      ...pod.addresses.map((ip) => `addr add ${ip}/${lengthOf(ip)} dev eth0${isV6(ip) ? ' nodad' : ''}`),
      ...pod.addresses.map((ip) => `route add default via ${gatewayOf(ip)}`),
    ]);
  }

  /** For `weft status`: one that is taken away is no longer to run. */
  keepWaypoint(gateway: string, netns: string, process: string): void {
    this.dropWaypoint(process);
    this.#ledger.waypoints.push({ gateway, netns, process });
    this.#save();
  }
  dropWaypoint(process: string): void {
    const at = this.#ledger.waypoints.findIndex((one) => one.process === process);
    if (at >= 0) this.#ledger.waypoints.splice(at, 1);
    this.#save();
  }

  hasNetns(name: string): boolean {
    return this.#ledger.netns.includes(name);
  }

  /** One more pod's namespace, plugged into its node; what tells the mesh of it is its caller's. Throws as `create`. */
  addPod(node: string, pod: TestbedPod): void {
    const found = this.topology.nodes.find(({ name }) => name === node);
    if (!found) throw new WeftError('WEFT_BED', `no node ${node}`);
    if (existsSync(join('/run/netns', pod.netns)))
      throw new WeftError('WEFT_BED_EXISTS', `network namespace ${pod.netns} is there already`);
    this.#ledger.netns.push(pod.netns);
    this.#save();
    this.#makeNetns(pod.netns);
    this.#plug(found.netns, pod, `x${this.#ledger.netns.length}`);
  }

  /** Starts a program in a namespace of the testbed, to be ended with it. */
  start(name: string, netns: string, command: string, args: readonly string[]): ProcessMark {
    if (this.#closed)
      throw new WeftError('WEFT_BED', `${name} is not started: the testbed is being taken down`);
    const child = daemon(netns, join(this.state, `${name}.log`), command, args, this.#env);
    const mark = child.pid === undefined ? undefined : markOf(child.pid);
    if (!mark)
      throw new WeftError('WEFT_START', `${command} did not start: see ${join(this.state, `${name}.log`)}`);
    this.#ledger.processes[name] = mark;
    this.#save();
    return mark;
  }

  mark(name: string): ProcessMark | undefined {
    return this.#ledger.processes[name];
  }

  async stop(name: string, signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM', graceMs = 8_000): Promise<void> {
    const mark = this.#ledger.processes[name];
    if (!mark) return;
    if (signal === 'SIGKILL') signalProcess(mark, 'SIGKILL');
    await endProcess(mark, graceMs);
    delete this.#ledger.processes[name];
    this.#save();
  }

  log(name: string): string {
    const path = join(this.state, `${name}.log`);
    return existsSync(path) ? readFileSync(path, 'utf8') : '';
  }

  readonly controlState = (): string => join(this.state, 'control');

  async startControl(): Promise<void> {
    const { from, certTtlS } = this.options;
    mkdirSync(this.controlState(), { recursive: true, mode: 0o700 });
    // What the testbed adds by itself, for the control plane to read beside the user's own.
    const rendered = join(this.state, 'rendered');
    mkdirSync(rendered, { recursive: true });
    const ttl = certTtlS === undefined ? [] : ['--cert-ttl-s', String(certTtlS)];
    const before = this.log('control').length;
    this.start('control', underlayNetns, process.execPath, [
      programs.control,
      '--from',
      from,
      rendered,
      '--state',
      this.controlState(),
      '--listen',
      `${this.topology.controlIp}:${controlPort}`,
      ...ttl,
    ]);
    await until(
      'the control plane is ready',
      readyMsMax,
      () => this.log('control').slice(before).includes('"msg":"ready"') || this.died('control'),
    );
  }

  /** False; throws WEFT_START where the program has ended. */
  died(name: string): false {
    const mark = this.#ledger.processes[name];
    if (mark && isAlive(mark)) return false;
    throw new WeftError('WEFT_START', `${name} ended: ${this.log(name).trim().split('\n').at(-1)}`);
  }

  runDir(node: string): string {
    return runDirOf(this.state, node);
  }

  /** `program`: another build's agent, as an upgrade brings it. */
  startAgent(node: string, program = programs.agent, name = agentProcess(node)): ProcessMark {
    const found = this.topology.nodes.find(({ name }) => name === node);
    if (!found) throw new WeftError('WEFT_BED', `no node ${node}`);
    const token = join(this.state, `token-${node}`);
    writeFileSync(
      token,
      sh(process.execPath, [programs.control, 'token', '--state', this.controlState(), '--node', node]),
      { mode: 0o600 },
    );
    // Beside another agent it has nothing to say yet.
    if (name === agentProcess(node)) rmSync(join(this.runDir(node), 'ready'), { force: true });
    return this.start(name, found.netns, process.execPath, [
      program,
      '--node',
      node,
      '--instance',
      node,
      '--control',
      `${this.topology.controlIp}:${controlPort}`,
      '--root',
      join(this.controlState(), 'root-cert.pem'),
      '--token',
      token,
      '--run',
      this.runDir(node),
      // All manifests of a testbed have one author.
      '--workload-namespaces',
      '*',
      '--drain-ms',
      '2000',
      ...(this.options.agentFlags ?? []),
      ...(this.options.workers === undefined ? [] : ['--workers', String(this.options.workers)]),
    ]);
  }

  /** A process has another name from now on; the one that had it is forgotten. */
  rename(from: string, to: string): void {
    const mark = this.#ledger.processes[from];
    if (mark) this.#ledger.processes[to] = mark;
    delete this.#ledger.processes[from];
    this.#save();
  }

  readyState(node: string): AgentReadiness {
    return readReadiness(this.runDir(node));
  }

  /**
   * Waits until every agent holds exactly `pods` of its pods, with certificates; all that are there where absent. `nodes`: of
   * those alone; of all where absent.
   */
  async waitReady(pods?: Readonly<Record<string, number>>, nodes = this.#nodeNames()): Promise<void> {
    for (const name of nodes) {
      await until(`the agent of ${name} is ready`, readyMsMax, () => {
        this.died(agentProcess(name));
        const state = this.readyState(name);
        return (
          state.ready &&
          state.pods.every(({ certificate }) => certificate) &&
          (pods === undefined || state.pods.length === pods[name])
        );
      }).catch((error: unknown) => {
        throw new WeftError(
          'WEFT_TIMEOUT',
          `${String(error)}: ${JSON.stringify(this.readyState(name))} ${this.log(agentProcess(name)).trim().split('\n').slice(-3).join(' ')}`,
        );
      });
    }
  }

  #nodeNames(): readonly string[] {
    return this.topology.nodes.map(({ name }) => name);
  }

  /** `nodes`: those that get an agent; all where absent. */
  async up(nodes = this.#nodeNames()): Promise<void> {
    await this.startControl();
    for (const name of nodes) this.startAgent(name);
    await this.waitReady(undefined, nodes);
  }
}

/**
 * Processes that carry the mark of the testbed at `state`, this one apart. In another mount namespace that path is another
 * directory, so another testbed.
 */
function markedProcesses(state: string): ProcessMark[] {
  const mounts = readlinkSync('/proc/self/ns/mnt');
  const entry = `\0${testbedVariable}=${state}\0`;
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((name) => {
      try {
        const environment = `\0${readFileSync(`/proc/${name}/environ`, 'latin1')}`;
        if (!environment.includes(entry) || readlinkSync(`/proc/${name}/ns/mnt`) !== mounts) return [];
        return markOf(Number(name)) ?? [];
      } catch {
        return [];
      }
    });
}

/**
 * Removes a testbed by its ledger: programs, namespaces, what agents left in the kernel, files. False where there is none. What
 * fails does not keep the rest from being removed; the ledger then stays, so that it can be run again.
 */
export async function tearDown(stateDir: string): Promise<boolean> {
  const state = resolve(stateDir);
  const ledger = readLedger(state);
  if (!ledger) return false;
  const failures: unknown[] = [];
  const attempt = async (action: () => unknown): Promise<void> => {
    try {
      await action();
    } catch (error) {
      failures.push(error);
    }
  };
  const endAll = (marks: readonly ProcessMark[]): Promise<unknown> =>
    Promise.all(marks.map((mark) => attempt(() => endProcess(mark, 5_000))));

  await endAll(Object.values(ledger.processes));
  // What was started but not yet written down, and setup commands that outlived their `up`.
  for (let rest = markedProcesses(state); rest.length > 0; rest = markedProcesses(state)) await endAll(rest);
  for (const instance of ledger.instances) {
    if (!existsSync(join(pinRoot, instance))) continue;
    await attempt(() => sh(process.execPath, [programs.cleanup, '--instance', instance]));
  }
  await attempt(() => {
    if (existsSync(pinRoot) && readdirSync(pinRoot).length === 0) rmdirSync(pinRoot);
  });
  for (const name of ledger.netns) {
    if (!existsSync(join('/run/netns', name))) continue;
    // What a user started there by hand would keep the namespace alive without a name.
    await attempt(() =>
      endAll(
        sh('ip', ['netns', 'pids', name])
          .split('\n')
          .filter(Boolean)
          .flatMap((pid) => markOf(Number(pid)) ?? []),
      ),
    );
    await attempt(() => sh('ip', ['netns', 'del', name]));
  }
  if (failures.length > 0) {
    throw new WeftError(
      'WEFT_BED_DOWN',
      `${failures.map(errorText).join('; ')}: weft standalone down --state ${state} can be run again`,
      { cause: failures[0], retryable: true },
    );
  }
  await sleep(10);
  rmSync(state, { recursive: true, force: true });
  if (existsSync(weftRun) && readdirSync(weftRun).length === 0) rmdirSync(weftRun);
  return true;
}
