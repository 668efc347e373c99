/**
 * Loads the programs into the kernel. Everything of one agent instance is pinned under /sys/fs/bpf/weft/<instance>
 * (generations.ts). A restarted agent loads the programs again: it reuses pinned maps and replaces the program of each pinned link
 * atomically. If its maps have another layout, it takes over from the generation in charge.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { errorText, WeftError } from '../../src/base/errors.js';
import {
  NativeError,
  chargesReader,
  destroyTcpIn,
  detach,
  load,
  objectLayout,
  projectRoot,
  type Attachment,
  type ObjectLayout,
} from '../../native/index.js';
import {
  FormerGeneration,
  generationsOf,
  isReady,
  removePins,
  retire,
  shareSocketStorage,
  takeCharge,
  wasReady,
} from './generations.js';
import { copyRows } from '../maps/former-rows.js';
import type { FlowReader } from '../maps/flows.js';
import { layoutId } from '../maps/layout.js';
import { liveTable, type LiveTable } from '../maps/live.js';
import { NodeMaps } from '../maps/node-maps.js';
import { PodHooks, type AdoptedHooks } from './hooks.js';

const bpffs = '/sys/fs/bpf';
export const pinRoot = join(bpffs, 'weft');

/**
 * The mount point of cgroup v2. Hooks at its root see every process, also on a hybrid hierarchy. `under`: where the node's
 * hierarchy is mounted in a container, whose own hierarchy would contain only the container. Error: WEFT_NO_CGROUP2.
 */
export function cgroupRoot(under = '/'): string {
  for (const line of readFileSync('/proc/self/mounts', 'utf8').split('\n')) {
    const [, path, type] = line.split(' ');
    if (type === 'cgroup2' && path && (under === '/' || path === under || path.startsWith(`${under}/`)))
      return path;
  }
  throw new WeftError(
    'WEFT_NO_CGROUP2',
    'no cgroup v2 is mounted: mount -t cgroup2 none /sys/fs/cgroup/unified',
  );
}

function ensureBpffs(): void {
  const mounted = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .some((l) => l.split(' ')[1] === bpffs && l.split(' ')[2] === 'bpf');
  if (!mounted) execFileSync('mount', ['-t', 'bpf', 'bpf', bpffs]);
}

/** Path of the built CNI plugin. */
export const cniProgram = join(projectRoot, 'native', 'cni', 'build', 'weft-cni');
const objectPath = (name: string): string => join(projectRoot, 'bpf', 'build', `${name}.bpf.o`);

/** Without `splice`, kernel flows stay on TCP; without `kernel-path`, all connections go through the agent. */
export type MissingFeature = 'splice' | 'kernel-path';

/** The programs, hooks and maps of one agent instance. */
export class Datapath {
  readonly #instanceDir: string;
  readonly #layout: ObjectLayout;
  /** Directory of the generation of this build, where its maps are pinned. */
  readonly dir: string;
  readonly maps: NodeMaps;
  #former: FormerGeneration[] = [];
  readonly hooks: PodHooks;
  /** Result of adopting the inbound hooks at the last start; see {@link Datapath.retryHooks}. */
  adoptedHooks: AdoptedHooks = { dead: [], failed: new Map() };

  /** `cgroups`: where the node's cgroup v2 hierarchy is mounted; if absent, the process's own. Error: WEFT_INSTANCE_INVALID. */
  constructor(
    readonly instance: string,
    private readonly cgroups?: string,
  ) {
    if (!/^[A-Za-z0-9-]{1,63}$/.test(instance)) {
      // The BPF file system rejects names with a dot.
      throw new WeftError(
        'WEFT_INSTANCE_INVALID',
        `instance ${JSON.stringify(instance)} may hold only letters, digits and '-'`,
      );
    }
    this.#instanceDir = join(pinRoot, instance);
    // sockops is loaded first, so this object creates all maps.
    this.#layout = objectLayout(objectPath('sockops'));
    this.dir = join(this.#instanceDir, layoutId(this.#layout));
    this.maps = new NodeMaps(this.dir);
    this.hooks = new PodHooks(this.#instanceDir, objectPath('inbound'), this.dir);
  }

  /**
   * Loads and attaches the node's programs. Returns the optional features that this kernel lacks, with the reason; relaying and
   * refusing connections need none of them. Errors: WEFT_BPF_LAYOUT, WEFT_BPF_LOAD (the cause has the verifier's log). After an
   * error the programs that were attached before stay in force.
   * @param listen called when the maps of this build have their rows, before any of its programs is attached. It enters the listeners
   * of pods that are already captured, so that the programs never find a pod without a listener. Not called if no agent ran before.
   */
  async start(
    listen: () => Promise<void> = () => Promise.resolve(),
  ): Promise<ReadonlyMap<MissingFeature, string>> {
    ensureBpffs();
    for (const dir of ['links', 'pods']) mkdirSync(join(this.#instanceDir, dir), { recursive: true });
    const others = generationsOf(this.#instanceDir).filter((dir) => dir !== this.dir);
    for (const dir of others.filter((dir) => !wasReady(dir))) removePins(dir);
    const replaced = others.filter(isReady);
    try {
      if (!isReady(this.dir)) await this.#begin(replaced);
      if (existsSync(join(this.dir, 'weft_listeners'))) await listen();
      if (replaced.length > 0) this.maps.node.setTakeover(true);
      // Handoff records first: a captured connection without its record would be dropped.
      await load(objectPath('sockops'), this.dir, new Uint8Array(), [
        this.#cgroupHook('weft_sockops', this.dir),
        this.#cgroupHook('weft_sock_release', this.dir),
      ]);
      if (replaced.length > 0) await this.#adoptHooks();
      await this.#attachConnect();
      if (replaced.length > 0) this.#takeOver(replaced);
      const missing = await this.#startOptional();
      this.#former = others.filter(wasReady).map((dir) => new FormerGeneration(dir, this.#layout));
      return missing;
    } catch (error) {
      throw explainLoad(error, this.instance);
    }
  }

  /** Creates the maps of this build with all rows, not yet in use. Leftovers of an interrupted start are replaced. */
  async #begin(replaced: readonly string[]): Promise<void> {
    const [from] = replaced;
    if (!existsSync(join(this.dir, 'retired'))) removePins(this.dir);
    mkdirSync(join(this.dir, 'links'), { recursive: true });
    if (from !== undefined) {
      shareSocketStorage(from, this.dir, this.#layout);
      await load(objectPath('sockops'), this.dir, new Uint8Array(), []);
      copyRows(from, this.dir, this.#layout);
    }
    takeCharge(this.dir);
  }

  async #attachConnect(): Promise<void> {
    await load(objectPath('connect'), this.dir, new Uint8Array(), [
      ...['weft_peername4', 'weft_peername6'].map((program) => this.#cgroupHook(program, this.dir)),
      ...['weft_sock_create', 'weft_connect4', 'weft_connect6'].map((program) => this.#cgroupHook(program)),
    ]);
  }

  /** Runs before this build attaches connect(): from here on both builds write handoff records, and all of them must be read. */
  async #adoptHooks(): Promise<void> {
    this.adoptedHooks = await this.hooks.adopt();
  }

  /**
   * Retries for pods whose inbound hook is still the former build's program. That program finds no handoff records any more, so it
   * refuses connections that the mesh would admit. Enrolling a pod also attaches this build's program. `onFailed` gets the pods
   * still affected (cookie to reason) if they changed.
   */
  async retryHooks(onFailed: (failed: Readonly<Record<string, string>>) => void): Promise<void> {
    const before = this.adoptedHooks.failed;
    if (before.size === 0) return;
    try {
      const attached = new Set(this.hooks.attached());
      this.adoptedHooks = await this.hooks.adopt([...before.keys()].filter((cookie) => attached.has(cookie)));
    } catch {
      return; // the state of the hooks is unknown: the next call tries again
    }
    const failed = Object.fromEntries(this.adoptedHooks.failed);
    if (JSON.stringify(failed) !== JSON.stringify(Object.fromEntries(before))) onFailed(failed);
  }

  /** From here on only this generation takes new connections. The replaced ones keep their kernel flows. */
  #takeOver(replaced: readonly string[]): void {
    this.maps.node.setTakeover(false);
    for (const dir of replaced) retire(dir);
  }

  #cgroupHook(program: string, dir = this.#instanceDir): Attachment {
    return { program, kind: 'cgroup', target: cgroupRoot(this.cgroups), pin: join(dir, 'links', program) };
  }

  /** Attaches the program that looks at the packets of observed kernel flows, or detaches it. Error: WEFT_BPF_LOAD. */
  async observe(isWanted: boolean): Promise<void> {
    const hook = this.#cgroupHook('weft_observe', this.dir);
    if (!isWanted) {
      detach(hook.pin);
      return;
    }
    try {
      await load(objectPath('observe'), this.dir, new Uint8Array(), [hook]);
    } catch (error) {
      throw explainLoad(error, this.instance);
    }
  }

  /** Open kernel flows, by generation. */
  liveTables(): LiveTable[] {
    return [liveTable(this.maps.get('weft_live'), true), ...this.#former.map(({ live }) => live)];
  }

  /** Reports kernel flows of former generations that ended, each once. */
  drainFormer(onFlows: (flows: FlowReader) => void): void {
    for (const former of this.#former) {
      const flows = former.drain();
      if (flows) onFlows(flows);
    }
  }

  /** Removes former generations without kernel flows; returns how many are left. `onFlows` gets the last flows that ended. */
  removeFormer(onFlows: (flows: FlowReader) => void): number {
    this.#former = this.#former.filter((former) => {
      if (former.size > 0) return true;
      // The programs report a flow's end before they remove its entry: the last reports are still in the ring.
      const flows = former.drain();
      if (flows) onFlows(flows);
      former.remove();
      return false;
    });
    return this.#former.length;
  }

  async #startOptional(): Promise<ReadonlyMap<MissingFeature, string>> {
    const missing = new Map<MissingFeature, string>();
    try {
      if (!chargesReader(objectPath('probe')))
        throw new Error(
          'the kernel charges redirected bytes to their writer: the queue of a slow reader would be unbounded',
        );
      // Before splice: without this hook, sockets with options that need TCP would be spliced.
      await load(objectPath('setsockopt'), this.dir, new Uint8Array(), [
        this.#cgroupHook('weft_setsockopt', this.dir),
      ]);
      await load(objectPath('splice'), this.dir, new Uint8Array(), [
        { program: 'weft_splice', kind: 'sockmap', target: 'weft_ends', pin: '' },
      ]);
    } catch (error) {
      missing.set('splice', errorText(explainLoad(error, this.instance)));
    }
    try {
      // No socket has this cookie: the call succeeds, or fails on a kernel without SOCK_DESTROY.
      const nobody = { ip: '127.0.0.1', port: 1 };
      destroyTcpIn('', [{ local: nobody, remote: nobody, cookie: 1n }]);
    } catch (error) {
      missing.set('kernel-path', `the kernel cannot end connections: ${errorText(error)}`);
    }
    return missing;
  }

  /** Attaches the inbound hook of one pod to its network namespace. Error: WEFT_BPF_LAYOUT, WEFT_BPF_LOAD. */
  async attachPod(cookie: bigint, netns: string): Promise<void> {
    try {
      await this.hooks.attach(cookie, netns);
    } catch (error) {
      throw explainLoad(error, this.instance);
    }
  }

  /** Closes the maps: later writes through this object fail, also from code that still holds it. */
  close(): void {
    this.maps.close();
    for (const former of this.#former) former.close();
    this.#former = [];
  }
}

function explainLoad(error: unknown, instance: string): unknown {
  if (!(error instanceof NativeError)) return error;
  if (error.code === 'NATIVE_LAYOUT') {
    return new WeftError(
      'WEFT_BPF_LAYOUT',
      `the maps in the kernel were created by another build: stop the agent, then run weft cleanup --instance ${instance}`,
      { cause: error },
    );
  }
  const words = error.log.trim().split('\n').slice(-4).join(' | ');
  return new WeftError(
    'WEFT_BPF_LOAD',
    `${error.message}${words ? ` (${words})` : ''}: see docs/development.md for the supported kernels`,
    {
      cause: error,
    },
  );
}

/** Removes an instance from the kernel; false if nothing was pinned. */
export function removeInstance(instance: string): boolean {
  const dir = join(pinRoot, instance);
  if (!existsSync(dir)) return false;
  // The connect() hooks are detached first, so that no connection is redirected to a listener whose inbound hook is gone.
  const links = join(dir, 'links');
  const order = (name: string): number => (name.includes('connect') ? 0 : 1);
  if (existsSync(links)) {
    for (const name of readdirSync(links).sort((a, b) => order(a) - order(b))) detach(join(links, name));
  }
  removePins(dir);
  if (readdirSync(pinRoot).length === 0) rmSync(pinRoot, { recursive: true });
  return true;
}

export function instances(): string[] {
  return existsSync(pinRoot) ? readdirSync(pinRoot) : [];
}
