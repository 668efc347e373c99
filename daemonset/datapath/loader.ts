/**
 * Puts the programs into the kernel and finds them there again. Everything of one agent instance is pinned under
 * /sys/fs/bpf/weft/<instance> (generations.ts). A restarted agent adopts it by loading anew: pinned maps are used, pinned
 * links get the new program in one step. Where its maps have another layout, it takes over from what stands there.
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
 * Where cgroup v2 is mounted: hooks at its root see every process, also on a hybrid hierarchy. `under`: where the node's
 * hierarchy is mounted in a container, whose own would show the container alone.
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

/** The CNI plugin as it was built. */
export const cniProgram = join(projectRoot, 'native', 'cni', 'build', 'weft-cni');
const objectPath = (name: string): string => join(projectRoot, 'bpf', 'build', `${name}.bpf.o`);

/** `splice`: connections that the kernel carries stay on TCP; `kernel-path`: all go by the agent. */
export type MissingFeature = 'splice' | 'kernel-path';

/** One instance's place in the BPF file system. */
export class Datapath {
  readonly #instanceDir: string;
  readonly #layout: ObjectLayout;
  /** Where the maps are: the generation of this build. */
  readonly dir: string;
  readonly maps: NodeMaps;
  #former: FormerGeneration[] = [];
  readonly hooks: PodHooks;
  /** Of the last start: see {@link Datapath.retryHooks}. */
  adoptedHooks: AdoptedHooks = { dead: [], failed: new Map() };

  /** `cgroups`: where the node's control groups are mounted; the process's own where absent. */
  constructor(
    readonly instance: string,
    private readonly cgroups?: string,
  ) {
    if (!/^[A-Za-z0-9-]{1,63}$/.test(instance)) {
      // The BPF file system refuses names with a dot.
      throw new WeftError(
        'WEFT_INSTANCE_INVALID',
        `instance ${JSON.stringify(instance)} may hold only letters, digits and '-'`,
      );
    }
    this.#instanceDir = join(pinRoot, instance);
    // The first that is loaded: all maps are made by it.
    this.#layout = objectLayout(objectPath('sockops'));
    this.dir = join(this.#instanceDir, layoutId(this.#layout));
    this.maps = new NodeMaps(this.dir);
    this.hooks = new PodHooks(this.#instanceDir, objectPath('inbound'), this.dir);
  }

  /**
   * Loads and attaches the node's programs; returns what this kernel cannot do, feature to reason, none of which is needed
   * to carry and to refuse. Errors: WEFT_BPF_LAYOUT, WEFT_BPF_LOAD (cause has the verifier's log): what was in force stays so.
   * @param listen called once the maps of this build have their rows, before any of its programs: listeners of pods that are captured
   * already are put there, so that these programs never meet a pod without one. Not called where no agent was there before.
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

  /** Maps with all rows, not yet in use; what a start that did not get as far left is made anew. */
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

  /** Before connect() is this build's, so that every handoff record is read: from here on both builds write them. */
  async #adoptHooks(): Promise<void> {
    this.adoptedHooks = await this.hooks.adopt();
  }

  /**
   * Once more for pods whose inbound hook is still the former build's program: it finds no handoff records any more, so it refuses
   * what the mesh would let in. A pod that is enrolled gets this build's program by that. Cookies to reasons, where they changed.
   */
  async retryHooks(onFailed: (failed: Readonly<Record<string, string>>) => void): Promise<void> {
    const before = this.adoptedHooks.failed;
    if (before.size === 0) return;
    try {
      const attached = new Set(this.hooks.attached());
      this.adoptedHooks = await this.hooks.adopt([...before.keys()].filter((cookie) => attached.has(cookie)));
    } catch {
      return; // nothing is known of them: they are tried again
    }
    const failed = Object.fromEntries(this.adoptedHooks.failed);
    if (JSON.stringify(failed) !== JSON.stringify(Object.fromEntries(before))) onFailed(failed);
  }

  /** What is new is this generation's alone; the others carry what they carry. */
  #takeOver(replaced: readonly string[]): void {
    this.maps.node.setTakeover(false);
    for (const dir of replaced) retire(dir);
  }

  #cgroupHook(program: string, dir = this.#instanceDir): Attachment {
    return { program, kind: 'cgroup', target: cgroupRoot(this.cgroups), pin: join(dir, 'links', program) };
  }

  /** Connections in the kernel, by generation. */
  liveTables(): LiveTable[] {
    return [liveTable(this.maps.get('weft_live'), true), ...this.#former.map(({ live }) => live)];
  }

  /** Ends of connections of former generations, told once. */
  drainFormer(onFlows: (flows: FlowReader) => void): void {
    for (const former of this.#former) {
      const flows = former.drain();
      if (flows) onFlows(flows);
    }
  }

  /** Takes former generations without connections out of the kernel; returns how many are left. */
  removeFormer(onFlows: (flows: FlowReader) => void): number {
    this.#former = this.#former.filter((former) => {
      if (former.size > 0) return true;
      // An entry goes when its end has been told: what was told last is in the ring.
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
          'redirected bytes are charged to their writer: nothing would bound what waits for a reader',
        );
      // Without the hook that keeps them apart, sockets with options that want TCP would be spliced.
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
      // Nobody has this cookie: ENOENT, or what says that the kernel cannot.
      const nobody = { ip: '127.0.0.1', port: 1 };
      destroyTcpIn('', [{ local: nobody, remote: nobody, cookie: 1n }]);
    } catch (error) {
      missing.set('kernel-path', `connections cannot be ended: ${errorText(error)}`);
    }
    return missing;
  }

  /** The inbound hook of one pod, attached to its namespace. */
  async attachPod(cookie: bigint, netns: string): Promise<void> {
    try {
      await this.hooks.attach(cookie, netns);
    } catch (error) {
      throw explainLoad(error, this.instance);
    }
  }

  /** Nothing is written by this object from now on, whoever still holds it. */
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
      `the maps in the kernel are of another build: end the agent, then weft cleanup --instance ${instance}`,
      { cause: error },
    );
  }
  const words = error.log.trim().split('\n').slice(-4).join(' | ');
  return new WeftError(
    'WEFT_BPF_LOAD',
    `${error.message}${words ? ` (${words})` : ''}: see docs/development.md for the kernels that will do`,
    {
      cause: error,
    },
  );
}

/** Removes every trace of an instance from the kernel; false where there was none. */
export function removeInstance(instance: string): boolean {
  const dir = join(pinRoot, instance);
  if (!existsSync(dir)) return false;
  // Capture goes first, so that no connection is sent to listeners whose inbound hook is gone already.
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
