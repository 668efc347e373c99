/**
 * The testbed: nodes and pods as network namespaces, with the programs of Weft. Each part is recorded in the ledger before it is
 * created, so that `down` removes all parts even if `up` was killed.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { WeftError } from '../../base/errors.js';
import { servingNodeFlags } from '../../base/node-flags.js';
import { until } from '../../base/wait.js';
import { relayDefault, type Relay } from '../../model/relay.js';
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
import { agentProcess, pinRoot, readReadiness, runDirOf, type AgentReadiness } from './agent.js';
import { carrierDirOf, carrierEnvironment, carrierProcess } from './carrier.js';
import { ledgerPath, testbedVariable, writeLedger, type Ledger } from './ledger.js';
import { addPodNetns, makeNetwork, netnsOf } from './network.js';
import { readTopology, underlayNetns, type TestbedNode, type TestbedPod, type Topology } from './topology.js';

export { agentProcess } from './agent.js';
export { carrierProcess } from './carrier.js';
export { tearDown } from './teardown.js';

export interface TestbedOptions {
  /** Directory of manifests that the control plane watches. */
  readonly from: string;
  readonly state: string;
  readonly certTtlS?: number;
  readonly workers?: number;
  /** URL of a Redis for the rate limit service, which then runs. Absent: it runs on one of its own if a TrafficPolicy needs it. */
  readonly redis?: string;
  /** Default: of the environment. */
  readonly relay?: Relay;
  /** Of single nodes, in place of `relay`. */
  readonly relayOf?: (node: string) => Relay | undefined;
  /** Further flags for each agent. */
  readonly agentFlags?: readonly string[];
  /** Further flags for the control plane. */
  readonly controlFlags?: readonly string[];
}

export interface CarrierProgram {
  readonly program?: string;
  readonly name?: string;
  readonly process?: string;
  /** Further flags. */
  readonly args?: readonly string[];
}

export const controlPort = 15012;
/** An emulated machine under load needs a minute for steps that normally take a second. */
const readyMsMax = 90_000;

function requireNoNetns(name: string): void {
  if (existsSync(join('/run/netns', name)))
    throw new WeftError(
      'WEFT_BED_EXISTS',
      `network namespace ${name} exists already: take its testbed down first, or remove it with ip netns del ${name}`,
    );
}

export class Testbed {
  readonly topology: Topology;
  /** Its state directory. */
  readonly state: string;
  readonly relay: Relay;
  readonly #env: Readonly<Record<string, string>>;
  readonly #ledger: Ledger;
  #closed = false;

  private constructor(
    readonly options: TestbedOptions,
    topology: Topology,
  ) {
    this.topology = topology;
    this.state = resolve(options.state);
    this.relay = options.relay ?? relayDefault();
    this.#env = { [testbedVariable]: this.state };
    this.#ledger = {
      owner: markOf(process.pid),
      from: resolve(options.from),
      nodes: topology.nodes.map(({ name, netns }) => ({ name, netns })),
      netns: netnsOf(topology),
      instances: topology.nodes.map(({ name }) => name),
      waypoints: [],
      processes: {},
    };
  }

  /**
   * Creates namespaces and links, and starts no programs. Throws WEFT_BED_EXISTS if a testbed, a network namespace or pinned maps
   * with one of its names exist, because `down` must remove only what this function created. After any other error, call tearDown.
   */
  static create(options: TestbedOptions): Testbed {
    const testbed = new Testbed(options, readTopology(options.from));
    if (existsSync(ledgerPath(testbed.state))) {
      throw new WeftError(
        'WEFT_BED_EXISTS',
        `a testbed exists at ${testbed.state}: weft standalone down --state ${testbed.state}`,
      );
    }
    for (const name of testbed.#ledger.netns) requireNoNetns(name);
    for (const name of testbed.#ledger.instances) {
      if (existsSync(join(pinRoot, name))) {
        throw new WeftError(
          'WEFT_BED_EXISTS',
          `pinned maps of an agent named ${name} exist already: end that agent, then run weft cleanup --instance ${name}`,
        );
      }
    }
    mkdirSync(testbed.state, { recursive: true, mode: 0o700 });
    testbed.#save();
    makeNetwork(testbed.topology, testbed.#env);
    return testbed;
  }

  /** Makes later starts fail, for a tearDown while other steps still run. */
  close(): void {
    this.#closed = true;
  }

  #save(): void {
    writeLedger(this.state, this.#ledger);
  }

  /** Adds a waypoint to the list that `weft status` reports. */
  keepWaypoint(gateway: string, netns: string, process: string): void {
    this.dropWaypoint(process);
    this.#ledger.waypoints.push({ gateway, netns, process });
    this.#save();
  }
  /** Removes the waypoint from that list: it should no longer run. */
  dropWaypoint(process: string): void {
    const at = this.#ledger.waypoints.findIndex((one) => one.process === process);
    if (at >= 0) this.#ledger.waypoints.splice(at, 1);
    this.#save();
  }

  hasNetns(name: string): boolean {
    return this.#ledger.netns.includes(name);
  }

  /** Adds the network namespace of a pod and links it to its node. The caller writes the manifest. Throws as `create`. */
  addPod(node: string, pod: TestbedPod): void {
    const { netns } = this.#node(node);
    requireNoNetns(pod.netns);
    this.#ledger.netns.push(pod.netns);
    this.#save();
    addPodNetns(netns, pod, `x${this.#ledger.netns.length}`, this.#env);
  }

  /** Starts a program in a namespace of the testbed. tearDown ends it. */
  start(
    name: string,
    netns: string,
    command: string,
    args: readonly string[],
    environment = process.env,
  ): ProcessMark {
    if (this.#closed)
      throw new WeftError('WEFT_BED', `${name} is not started: the testbed is being taken down`);
    const child = daemon(netns, join(this.state, `${name}.log`), command, args, this.#env, environment);
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
    const { from, certTtlS, controlFlags = [] } = this.options;
    mkdirSync(this.controlState(), { recursive: true, mode: 0o700 });
    // Objects that the testbed renders. The control plane reads them beside the user's manifests.
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
      ...controlFlags,
    ]);
    await until(
      'the control plane is ready',
      readyMsMax,
      () => this.log('control').slice(before).includes('"msg":"ready"') || this.died('control'),
    );
  }

  runs(name: string): boolean {
    const mark = this.#ledger.processes[name];
    return mark !== undefined && isAlive(mark);
  }

  /** Throws WEFT_START if the program has ended, else returns false. */
  died(name: string): false {
    if (this.runs(name)) return false;
    throw new WeftError('WEFT_START', `${name} ended: ${this.log(name).trim().split('\n').at(-1)}`);
  }

  runDir(node: string): string {
    return runDirOf(this.state, node);
  }

  #node(name: string): TestbedNode {
    const found = this.topology.nodes.find((node) => node.name === name);
    if (!found) throw new WeftError('WEFT_BED', `no node ${name}`);
    return found;
  }

  /**
   * Starts a carrier of a node. The agent of the node finds it by its socket, DIR/NAME.sock. `process`: its name in the testbed; a second
   * carrier of a node needs other names.
   */
  startCarrier(
    node: string,
    {
      program = programs.carrier,
      name = 'carrier',
      process = carrierProcess(node),
      args = [],
    }: CarrierProgram = {},
  ): ProcessMark {
    if (!existsSync(program))
      throw new WeftError(
        'WEFT_START',
        `${program} is missing: npm run build, or relay in the agent with --relay typescript`,
      );
    const dir = carrierDirOf(this.state, node);
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    const flags = ['--dir', dir, '--name', name, ...args];
    return this.start(process, this.#node(node).netns, program, flags, carrierEnvironment());
  }

  /**
   * Also starts the node's carrier if it does not run and the agents use carriers. `program`: the agent of another build, for tests of an
   * upgrade.
   */
  startAgent(node: string, program = programs.agent, name = agentProcess(node)): ProcessMark {
    const { netns } = this.#node(node);
    const relay = this.options.relayOf?.(node) ?? this.options.relay;
    if ((relay ?? this.relay) === 'carrier' && !this.runs(carrierProcess(node))) this.startCarrier(node);
    const token = join(this.state, `token-${node}`);
    writeFileSync(
      token,
      sh(process.execPath, [programs.control, 'token', '--state', this.controlState(), '--node', node]),
      { mode: 0o600 },
    );
    // A second agent of a node reports its readiness only once it has taken over.
    if (name === agentProcess(node)) rmSync(join(this.runDir(node), 'ready'), { force: true });
    return this.start(name, netns, process.execPath, [
      ...servingNodeFlags,
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
      // All manifests of a testbed have one author, so Workloads of every namespace are allowed.
      '--workload-namespaces',
      '*',
      '--drain-ms',
      '2000',
      ...(relay === undefined ? [] : ['--relay', relay]),
      ...(this.options.agentFlags ?? []),
      ...(this.options.workers === undefined ? [] : ['--workers', String(this.options.workers)]),
    ]);
  }

  /** Renames a process in the ledger. A process that had the new name is forgotten. */
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
   * Waits until each agent has enrolled as many pods as `pods` says, with certificates. Default: all pods that exist. `nodes`:
   * wait only for the agents of these nodes. Default: all nodes.
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

  /** `nodes`: nodes that get an agent. Default: all. */
  async up(nodes = this.#nodeNames()): Promise<void> {
    await this.startControl();
    for (const name of nodes) this.startAgent(name);
    await this.waitReady(undefined, nodes);
  }
}
