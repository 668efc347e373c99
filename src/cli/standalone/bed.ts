/**
 * The bed: nodes and pods as network namespaces, and Weft's own programs on them. What is made is written down before it
 * is made, so that `down` finds all of it, also after `up` was killed.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { WeftError } from '../../base/errors.js';
import { isV6 } from '../../model/address.js';
import { daemon, endProcess, isAlive, markOf, programs, sh, sleep, until, type ProcessMark } from '../run.js';
import { blockOf, gatewayOf, lengthOf, readTopology, underlayNetns, type Topology } from './topology.js';

interface Ledger {
  netns: string[];
  instances: string[];
  processes: Record<string, ProcessMark>;
}

export interface BedOptions {
  /** Manifests; watched by the control plane. */
  readonly from: string;
  readonly state: string;
  readonly certTtlS?: number;
  readonly workers?: number;
}

const controlPort = 15012;
const readyMsMax = 20_000;

export class Bed {
  readonly topology: Topology;
  readonly #state: string;
  #ledger: Ledger = { netns: [], instances: [], processes: {} };

  private constructor(
    readonly options: BedOptions,
    topology: Topology,
  ) {
    this.topology = topology;
    this.#state = options.state;
  }

  /** Makes namespaces and links; programs are started apart. Throws WEFT_BED_EXISTS where the bed is there already. */
  static create(options: BedOptions): Bed {
    const topology = readTopology(options.from);
    if (existsSync(join(options.state, 'bed.json'))) {
      throw new WeftError('WEFT_BED_EXISTS', `a bed stands at ${options.state}: weft standalone down first`);
    }
    const names = [
      underlayNetns,
      ...topology.nodes.flatMap((node) => [node.netns, ...node.pods.map((pod) => pod.netns)]),
    ];
    // Before anything is written down: what stands in the ledger is torn down, and this would be another's.
    const present = namespacesPresent();
    const taken = names.find((name) => present.has(name));
    if (taken !== undefined) {
      throw new WeftError(
        'WEFT_BED_EXISTS',
        `network namespace ${taken} is there already: another bed stands (weft standalone down --state its directory)`,
      );
    }
    const bed = new Bed(options, topology);
    mkdirSync(options.state, { recursive: true, mode: 0o700 });
    bed.#ledger.netns = names;
    bed.#ledger.instances = topology.nodes.map(({ name }) => name);
    bed.#save();
    bed.#network();
    return bed;
  }

  #save(): void {
    const path = join(this.#state, 'bed.json');
    writeFileSync(`${path}.new`, JSON.stringify(this.#ledger), { mode: 0o600 });
    renameSync(`${path}.new`, path);
  }

  #network(): void {
    const { nodes, controlIp } = this.topology;
    for (const name of this.#ledger.netns) {
      sh('ip', ['netns', 'add', name]);
      sh('ip', ['-n', name, 'link', 'set', 'lo', 'up']);
      sh('nsenter', [
        `--net=/run/netns/${name}`,
        'sysctl',
        '-qw',
        'net.ipv4.ip_forward=1',
        'net.ipv6.conf.all.forwarding=1',
        'net.ipv6.conf.default.accept_dad=0',
        'net.ipv6.conf.all.accept_dad=0',
      ]);
    }
    const batch = (netns: string, lines: string[]): void =>
      void sh('ip', ['-n', netns, '-batch', '-'], `${lines.join('\n')}\n`);
    batch(underlayNetns, ['link add br0 type bridge', 'link set br0 up', `addr add ${controlIp}/24 dev br0`]);
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
        'link set pods up',
        ...[...gateways].map(
          (address) => `addr add ${address} dev pods${address.includes(':') ? ' nodad' : ''}`,
        ),
      ]);
      node.pods.forEach((pod, at) => {
        batch(node.netns, [
          `link add p${at} type veth peer name eth0 netns ${pod.netns}`,
          `link set p${at} master pods`,
          `link set p${at} up`,
        ]);
        batch(pod.netns, [
          'link set eth0 up',
          ...pod.addresses.map((ip) => `addr add ${ip}/${lengthOf(ip)} dev eth0${isV6(ip) ? ' nodad' : ''}`),
          ...pod.addresses.map((ip) => `route add default via ${gatewayOf(ip)}`),
        ]);
      });
    });
    for (const node of nodes) {
      for (const other of nodes) {
        if (other === node) continue;
        const blocks = new Map(
          other.pods.flatMap(({ addresses }) => addresses.map((ip) => [blockOf(ip), isV6(ip)] as const)),
        );
        batch(
          node.netns,
          [...blocks].flatMap(([block, v6]) => {
            const via = other.addresses.find((ip) => isV6(ip) === v6);
            return via ? [`route add ${block} via ${via}`] : [];
          }),
        );
      }
    }
  }

  /** Starts a program in a namespace of the bed, to be ended with it. */
  start(name: string, netns: string, command: string, args: readonly string[]): ProcessMark {
    const child = daemon(netns, join(this.#state, `${name}.log`), command, args);
    const mark = child.pid === undefined ? undefined : markOf(child.pid);
    if (!mark)
      throw new WeftError('WEFT_START', `${command} did not start: see ${join(this.#state, `${name}.log`)}`);
    this.#ledger.processes[name] = mark;
    this.#save();
    return mark;
  }

  mark(name: string): ProcessMark | undefined {
    return this.#ledger.processes[name];
  }

  async stop(name: string, signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    const mark = this.#ledger.processes[name];
    if (!mark) return;
    if (signal === 'SIGKILL' && isAlive(mark)) process.kill(mark.pid, 'SIGKILL');
    await endProcess(mark, 8_000);
    delete this.#ledger.processes[name];
    this.#save();
  }

  log(name: string): string {
    const path = join(this.#state, `${name}.log`);
    return existsSync(path) ? readFileSync(path, 'utf8') : '';
  }

  readonly controlState = (): string => join(this.#state, 'control');

  async startControl(): Promise<void> {
    const { from, certTtlS } = this.options;
    mkdirSync(this.controlState(), { recursive: true, mode: 0o700 });
    const ttl = certTtlS === undefined ? [] : ['--cert-ttl-s', String(certTtlS)];
    const before = this.log('control').length;
    this.start('control', underlayNetns, process.execPath, [
      programs.control,
      '--from',
      from,
      '--state',
      this.controlState(),
      '--listen',
      `${this.topology.controlIp}:${controlPort}`,
      ...ttl,
    ]);
    await until(
      'the control plane is ready',
      readyMsMax,
      () => this.log('control').slice(before).includes('"msg":"ready"') || this.#died('control'),
    );
  }

  #died(name: string): false {
    const mark = this.#ledger.processes[name];
    if (mark && isAlive(mark)) return false;
    throw new WeftError('WEFT_START', `${name} ended: ${this.log(name).trim().split('\n').at(-1)}`);
  }

  runDir(node: string): string {
    return join(this.#state, `agent-${node}`);
  }

  startAgent(node: string): void {
    const found = this.topology.nodes.find(({ name }) => name === node);
    if (!found) throw new WeftError('WEFT_BED', `no node ${node}`);
    const token = join(this.#state, `token-${node}`);
    writeFileSync(
      token,
      sh(process.execPath, [programs.control, 'token', '--state', this.controlState(), '--node', node]),
      { mode: 0o600 },
    );
    rmSync(join(this.runDir(node), 'ready'), { force: true });
    this.start(`agent-${node}`, found.netns, process.execPath, [
      programs.agent,
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
      '--drain-ms',
      '2000',
      ...(this.options.workers === undefined ? [] : ['--workers', String(this.options.workers)]),
    ]);
  }

  readyState(node: string): { ready: boolean; pods: { uid: string; certificate: boolean }[] } {
    try {
      return JSON.parse(readFileSync(join(this.runDir(node), 'ready'), 'utf8')) as ReturnType<
        Bed['readyState']
      >;
    } catch {
      return { ready: false, pods: [] };
    }
  }

  /** Waits until every agent holds exactly `pods` of its pods, with certificates; all that are there where absent. */
  async waitReady(pods?: Readonly<Record<string, number>>): Promise<void> {
    for (const { name } of this.topology.nodes) {
      await until(`the agent of ${name} is ready`, readyMsMax, () => {
        this.#died(`agent-${name}`);
        const state = this.readyState(name);
        return (
          state.ready &&
          state.pods.every(({ certificate }) => certificate) &&
          (pods === undefined || state.pods.length === pods[name])
        );
      }).catch((error: unknown) => {
        throw new WeftError(
          'WEFT_TIMEOUT',
          `${String(error)}: ${JSON.stringify(this.readyState(name))} ${this.log(`agent-${name}`).trim().split('\n').slice(-3).join(' ')}`,
        );
      });
    }
  }

  async up(): Promise<void> {
    await this.startControl();
    for (const { name } of this.topology.nodes) this.startAgent(name);
    await this.waitReady();
  }
}

function namespacesPresent(): Set<string> {
  return new Set(
    sh('ip', ['netns', 'list'])
      .split('\n')
      .map((line) => line.split(' ')[0] ?? ''),
  );
}

/** Removes a bed by its ledger: programs, namespaces, what agents left in the kernel, files. False where there is none. */
export async function tearDown(state: string): Promise<boolean> {
  const path = join(state, 'bed.json');
  if (!existsSync(path)) return false;
  const ledger = JSON.parse(readFileSync(path, 'utf8')) as Ledger;
  await Promise.all(Object.values(ledger.processes).map((mark) => endProcess(mark, 5_000)));
  for (const instance of ledger.instances) sh(process.execPath, [programs.cleanup, '--instance', instance]);
  const present = namespacesPresent();
  for (const name of ledger.netns) {
    if (!present.has(name)) continue;
    // What a user started there by hand keeps the namespace alive; its name and links go all the same.
    for (const pid of sh('ip', ['netns', 'pids', name]).split('\n').filter(Boolean).map(Number)) {
      const mark = markOf(pid);
      if (mark) await endProcess(mark, 1_000);
    }
    sh('ip', ['netns', 'del', name]);
  }
  await sleep(10);
  rmSync(state, { recursive: true, force: true });
  return true;
}
