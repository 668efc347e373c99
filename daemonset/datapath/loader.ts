/**
 * Puts the programs into the kernel and finds them there again. Everything of one agent instance is pinned under
 * /sys/fs/bpf/weft/<instance>: maps by name, links under links/ and pods/. A restarted agent adopts it by loading anew:
 * pinned maps are used, pinned links get the new program in one step.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, rmdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { errorText, WeftError } from '../../src/base/errors.js';
import {
  BpfMap,
  NativeError,
  destroyTcpIn,
  detach,
  load,
  projectRoot,
  type Attachment,
} from '../../native/index.js';
import { encodeU64 } from './layout.js';

const bpffs = '/sys/fs/bpf';
export const pinRoot = join(bpffs, 'weft');

/** Where cgroup v2 is mounted: hooks at its root see every process, also on a hybrid hierarchy. */
export function cgroupRoot(): string {
  for (const line of readFileSync('/proc/self/mounts', 'utf8').split('\n')) {
    const [, path, type] = line.split(' ');
    if (type === 'cgroup2' && path) return path;
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

const objectPath = (name: string): string => join(projectRoot, 'bpf', 'build', `${name}.bpf.o`);

/** `splice`: connections that the kernel carries stay on TCP; `kernel-path`: all go by the agent. */
export type MissingFeature = 'splice' | 'kernel-path';

export type MapName =
  | 'weft_pods'
  | 'weft_pod_addr'
  | 'weft_bypass_port'
  | 'weft_bypass_ip'
  | 'weft_probe'
  | 'weft_node'
  | 'weft_listeners'
  | 'weft_sock'
  | 'weft_notes'
  | 'weft_negative'
  | 'weft_count'
  | 'weft_local'
  | 'weft_verdicts'
  | 'weft_services'
  | 'weft_endpoints'
  | 'weft_live'
  | 'weft_ends';

/** One instance's place in the BPF file system. */
export class Datapath {
  readonly dir: string;
  readonly #maps = new Map<MapName, BpfMap>();

  constructor(readonly instance: string) {
    if (!/^[A-Za-z0-9-]{1,63}$/.test(instance)) {
      // The BPF file system refuses names with a dot.
      throw new WeftError(
        'WEFT_INSTANCE_INVALID',
        `instance ${JSON.stringify(instance)} may hold only letters, digits and '-'`,
      );
    }
    this.dir = join(pinRoot, instance);
  }

  /**
   * Loads and attaches the node's programs; returns what this kernel cannot do, feature to reason, none of which is needed
   * to carry and to refuse. Errors: WEFT_BPF_LAYOUT, WEFT_BPF_LOAD (cause has the verifier's log).
   */
  async start(): Promise<ReadonlyMap<MissingFeature, string>> {
    ensureBpffs();
    mkdirSync(join(this.dir, 'links'), { recursive: true });
    mkdirSync(join(this.dir, 'pods'), { recursive: true });
    const cgroup = cgroupRoot();
    const attach = (program: string) => ({
      program,
      kind: 'cgroup' as const,
      target: cgroup,
      pin: join(this.dir, 'links', program),
    });
    try {
      // Notes first: a captured connection without its note would be dropped.
      await load(objectPath('sockops'), this.dir, new Uint8Array(), [attach('weft_sockops')]);
      await load(
        objectPath('connect'),
        this.dir,
        new Uint8Array(),
        ['weft_peername4', 'weft_peername6', 'weft_sock_create', 'weft_connect4', 'weft_connect6'].map(
          attach,
        ),
      );
    } catch (error) {
      throw explainLoad(error, this.instance);
    }
    return this.#startOptional(attach);
  }

  async #startOptional(
    attach: (program: string) => Attachment,
  ): Promise<ReadonlyMap<MissingFeature, string>> {
    const missing = new Map<MissingFeature, string>();
    try {
      // Without the hook that keeps them apart, sockets with options that want TCP would be spliced.
      await load(objectPath('setsockopt'), this.dir, new Uint8Array(), [attach('weft_setsockopt')]);
      await load(objectPath('splice'), this.dir, new Uint8Array(), [
        { program: 'weft_splice', kind: 'sockmap', target: 'weft_ends', pin: '' },
      ]);
    } catch (error) {
      missing.set('splice', errorText(explainLoad(error, this.instance)));
    }
    try {
      // Nobody has this cookie: ENOENT, or what says that the kernel cannot.
      destroyTcpIn('', { ip: '127.0.0.1', port: 1 }, { ip: '127.0.0.1', port: 1 }, 1n);
    } catch (error) {
      missing.set('kernel-path', `connections cannot be ended: ${errorText(error)}`);
    }
    return missing;
  }

  /** The inbound hook of one pod, attached to its namespace. */
  async attachPod(cookie: bigint, netns: string): Promise<void> {
    try {
      await load(objectPath('inbound'), this.dir, encodeU64(cookie), [
        { program: 'weft_inbound', kind: 'netns', target: netns, pin: this.#podPin(cookie) },
      ]);
    } catch (error) {
      throw explainLoad(error, this.instance);
    }
  }

  detachPod(cookie: bigint): boolean {
    return detach(this.#podPin(cookie));
  }

  /** Cookies of the pods whose inbound hook is in the kernel, also from a former life of the agent. */
  attachedPods(): bigint[] {
    return existsSync(join(this.dir, 'pods'))
      ? readdirSync(join(this.dir, 'pods')).map((name) => BigInt(`0x${name}`))
      : [];
  }

  #podPin(cookie: bigint): string {
    return join(this.dir, 'pods', cookie.toString(16));
  }

  map(name: MapName): BpfMap {
    let map = this.#maps.get(name);
    if (!map) {
      map = new BpfMap(join(this.dir, name));
      this.#maps.set(name, map);
    }
    return map;
  }

  close(): void {
    for (const map of this.#maps.values()) map.close();
    this.#maps.clear();
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
    rmdirSync(links);
  }
  const pods = join(dir, 'pods');
  if (existsSync(pods)) {
    for (const name of readdirSync(pods)) detach(join(pods, name));
    rmdirSync(pods);
  }
  for (const name of readdirSync(dir)) unlinkSync(join(dir, name));
  rmdirSync(dir);
  if (readdirSync(pinRoot).length === 0) rmSync(pinRoot, { recursive: true });
  return true;
}

export function instances(): string[] {
  return existsSync(pinRoot) ? readdirSync(pinRoot) : [];
}
