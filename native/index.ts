/**
 * The addon, typed: argument checks and stable errors here, system calls in src/*.cc. Heavy work (loading) is a promise
 * on the thread pool; what takes microseconds (maps, sockets) is a plain call, so that the data path can use it per
 * connection. Every error is a {@link NativeError}; none leaves a descriptor behind.
 */
import { createRequire } from 'node:module';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

interface RawMap {
  info(): MapInfo;
  lookup(key: Uint8Array): Uint8Array | undefined;
  take(key: Uint8Array): Uint8Array | undefined;
  update(key: Uint8Array, value: Uint8Array, flags: number): void;
  remove(key: Uint8Array): boolean;
  keys(max: number): Uint8Array;
  updateBatch(keys: Uint8Array, values: Uint8Array): number;
  close(): void;
}
interface RawRing {
  drain(max: number): Uint8Array[];
  drainPacked(max: number, recordSize: number): Uint8Array;
  close(): void;
}
interface RawAddon {
  load(path: string, pinDir: string, rodata: Uint8Array, attachments: readonly Attachment[]): Promise<void>;
  detach(pin: string): boolean;
  openLink(pin: string): number;
  detachLink(fd: number): void;
  linkNetns(pin: string): number;
  socket(netns: string, family: 4 | 6): number;
  listen(netns: string, ip: string, port: number, backlog: number): number;
  cookie(netns: string): bigint;
  closeFd(fd: number): void;
  resetOnClose(fd: number, on: boolean): void;
  sendBuffer(fd: number, bytes: number): void;
  destroyTcp(
    netns: string,
    ends: readonly [
      localIp: string,
      localPort: number,
      remoteIp: string,
      remotePort: number,
      cookie: bigint,
    ][],
  ): number;
  tcpConnections(netns: string, max: number): [string, number, string, number, number, bigint][];
  objectLayout(path: string): ObjectLayout;
  pinnedLayout(pin: string): PinnedLayout;
  pinAgain(from: string, to: string): void;
  chargesReader(path: string): boolean;
  lock(path: string): number;
  peerPid(fd: number): number;
  Map: new (pin: string) => RawMap;
  Ring: new (pin: string) => RawRing;
}

/** [offset, size, struct]: bytes; the third is empty where the field is no struct. */
export type FieldLayout = readonly [offset: number, size: number, struct: string];
export type StructLayout = readonly [size: number, fields: Readonly<Record<string, FieldLayout>>];
export type StructLayouts = Readonly<Record<string, StructLayout>>;

export interface Layout {
  /** Those whose names begin with weft_. */
  readonly structs: StructLayouts;
  /** enumerator -> value */
  readonly enums: Readonly<Record<string, number>>;
}
export interface ObjectLayout extends Layout {
  /** The maps that are pinned. */
  readonly maps: Readonly<Record<string, MapLayout>>;
}
export interface MapLayout {
  readonly type: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  /** Names of structs; empty where keys or values are numbers. */
  readonly key: string;
  readonly value: string;
}
/** Empty where the kernel keeps no types for this kind of map. */
export interface PinnedLayout extends Layout {
  readonly key: string;
  readonly value: string;
}

export interface MapInfo {
  readonly type: number;
  readonly keySize: number;
  /** Bytes of a whole value: for per-CPU maps one 8-byte-aligned value per possible CPU. */
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly id: number;
}

/**
 * A program of the object, where it goes, and the path that its link is pinned at. For `sockmap`, `target` is the name of a
 * map of the object, which holds the program for as long as it lives; `pin` is not used.
 */
export interface Attachment {
  readonly program: string;
  readonly kind: 'cgroup' | 'netns' | 'sockmap';
  readonly target: string;
  readonly pin: string;
}

export type NativeErrorCode =
  | 'NATIVE_ARGUMENT'
  | 'NATIVE_NOT_BUILT'
  | 'NATIVE_LAYOUT'
  | 'NATIVE_VERIFIER'
  | 'NATIVE_FULL'
  | 'NATIVE_NOT_FOUND'
  | 'NATIVE_NOT_A_NAMESPACE'
  | 'NATIVE_PERMISSION'
  | 'NATIVE_SYSTEM';

export class NativeError extends Error {
  override readonly name = 'NativeError';
  constructor(
    readonly code: NativeErrorCode,
    message: string,
    /** 0 where no system call failed. */
    readonly errno: number,
    /** libbpf's and the verifier's words, empty where there are none. */
    readonly log: string,
  ) {
    super(message);
  }
}

const errnoCodes: Readonly<Record<number, NativeErrorCode>> = {
  1: 'NATIVE_PERMISSION',
  2: 'NATIVE_NOT_FOUND',
  7: 'NATIVE_FULL',
  12: 'NATIVE_FULL',
  13: 'NATIVE_PERMISSION',
  24: 'NATIVE_FULL',
  25: 'NATIVE_NOT_A_NAMESPACE',
  28: 'NATIVE_FULL',
  90: 'NATIVE_ARGUMENT',
};

function translate(error: unknown): unknown {
  if (!(error instanceof Error) || !('errno' in error)) return error;
  const { message, errno, log } = error as Error & { errno: number; log: string };
  let code = errnoCodes[errno] ?? 'NATIVE_SYSTEM';
  if (log.includes('parameter mismatch')) code = 'NATIVE_LAYOUT';
  else if (log.includes('BEGIN PROG LOAD LOG')) code = 'NATIVE_VERIFIER';
  return new NativeError(code, message, errno, log);
}

function run<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw translate(error);
  }
}

function refuse(what: string): never {
  throw new NativeError('NATIVE_ARGUMENT', `${what} was given something else`, 0, '');
}
function text(value: unknown, what: string): string {
  return typeof value === 'string' && !value.includes('\0') ? value : refuse(`${what} (a string)`);
}
function bytes(value: unknown, what: string): Uint8Array {
  return value instanceof Uint8Array ? value : refuse(`${what} (bytes)`);
}
function integer(value: unknown, min: number, max: number, what: string): number {
  const ok = typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max;
  return ok ? value : refuse(`${what} (an integer from ${min} to ${max})`);
}

/** The project's root: where bpf/build and native/build stand, seen from native/ or dist/native/. */
export const projectRoot = ((): string => {
  let dir = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(dir, 'native', 'binding.gyp')) && dirname(dir) !== dir) dir = dirname(dir);
  return dir;
})();

let loaded: RawAddon | undefined;
function addon(): RawAddon {
  if (loaded) return loaded;
  const path = join(projectRoot, 'native', 'build', 'Release', 'weft.node');
  if (!existsSync(path)) {
    throw new NativeError('NATIVE_NOT_BUILT', `${path} is missing: run npm run build`, 0, '');
  }
  loaded = createRequire(import.meta.url)(path) as RawAddon;
  return loaded;
}

/**
 * Loads an object whose maps are pinned by name under `pinDir` (those that are pinned there already are used), fills its
 * read-only data where `rodata` has bytes, attaches and pins its programs. Where a link is pinned already, its program is
 * replaced in one step. Errors: NATIVE_LAYOUT (a pinned map has another layout), NATIVE_VERIFIER (with the log),
 * NATIVE_PERMISSION, NATIVE_SYSTEM. What was pinned before an error stays pinned.
 */
export async function load(
  path: string,
  pinDir: string,
  rodata: Uint8Array,
  attachments: readonly Attachment[],
): Promise<void> {
  text(path, 'path');
  text(pinDir, 'pinDir');
  bytes(rodata, 'rodata');
  if (!Array.isArray(attachments)) refuse('attachments (an array)');
  for (const item of attachments as readonly Attachment[]) {
    text(item?.program, 'program');
    text(item.target, 'target');
    text(item.pin, 'pin');
    if (!['cgroup', 'netns', 'sockmap'].includes(item.kind)) refuse('kind (cgroup, netns or sockmap)');
  }
  try {
    await addon().load(path, pinDir, rodata, attachments);
  } catch (error) {
    throw translate(error);
  }
}

/** Ends a pinned link; false where none is pinned there. */
export function detach(pin: string): boolean {
  return run(() => addon().detach(text(pin, 'pin')));
}

/**
 * Of the link that is pinned at a path: the inode of its network namespace; 0 where that namespace is gone (or the link was
 * ended), undefined where nothing is pinned there. The kernel takes a link off its namespace as that dies. Throws NativeError.
 */
export function linkNetns(pin: string): number | undefined {
  const inode = run(() => addon().linkNetns(text(pin, 'pin')));
  return inode < 0 ? undefined : inode;
}

/** A descriptor of the link that is pinned at a path, the caller's to close; undefined where there is none. */
export function openLink(pin: string): number | undefined {
  const fd = run(() => addon().openLink(text(pin, 'pin')));
  return fd < 0 ? undefined : fd;
}

/** Ends a link by its descriptor, even where others hold it. Its pin stays. */
export function detachLink(fd: number): void {
  run(() => addon().detachLink(integer(fd, 3, 0x7fff_ffff, 'fd')));
}

/** What a built object says of its maps and types. */
export function objectLayout(path: string): ObjectLayout {
  return run(() => addon().objectLayout(text(path, 'path')));
}

/** The types of a pinned map, by the object that made it, which may be another build's. */
export function pinnedLayout(pin: string): PinnedLayout {
  return run(() => addon().pinnedLayout(text(pin, 'pin')));
}

/**
 * Whether this kernel counts what sk_msg redirects as memory of the socket that will read it, tried between two sockets of
 * loopback (those before 6.13, where it was not brought back to them, charge the writer). `path`: of probe.bpf.o.
 */
export function chargesReader(path: string): boolean {
  return run(() => addon().chargesReader(text(path, 'path')));
}

/** The same map at a second path. */
export function pinAgain(from: string, to: string): void {
  run(() => addon().pinAgain(text(from, 'from'), text(to, 'to')));
}

/** A pinned map. Keys and values are whole: another length is NATIVE_ARGUMENT. */
export class BpfMap {
  readonly #raw: RawMap;
  readonly info: MapInfo;

  constructor(pin: string) {
    text(pin, 'pin');
    this.#raw = run(() => new (addon().Map)(pin));
    this.info = this.#raw.info();
  }
  lookup(key: Uint8Array): Uint8Array | undefined {
    return run(() => this.#raw.lookup(bytes(key, 'key')));
  }
  /** Reads and removes in one step. */
  take(key: Uint8Array): Uint8Array | undefined {
    return run(() => this.#raw.take(bytes(key, 'key')));
  }
  /** NATIVE_FULL where the map is full. `flags`: 0 any, 1 only new, 2 only existing. */
  update(key: Uint8Array, value: Uint8Array, flags = 0): void {
    run(() => this.#raw.update(bytes(key, 'key'), bytes(value, 'value'), integer(flags, 0, 7, 'flags')));
  }
  /** False where there was no such key. */
  remove(key: Uint8Array): boolean {
    return run(() => this.#raw.remove(bytes(key, 'key')));
  }
  /** At most `max` keys (default: as many as the map holds), in the kernel's order. */
  keys(max = this.info.maxEntries): Uint8Array[] {
    const all = run(() => this.#raw.keys(integer(max, 0, 0xffff_ffff, 'max')));
    const keys: Uint8Array[] = [];
    for (let at = 0; at < all.length; at += this.info.keySize)
      keys.push(all.subarray(at, at + this.info.keySize));
    return keys;
  }
  /** Writes all entries, by one system call where the map's type has it. */
  updateBatch(entries: readonly (readonly [key: Uint8Array, value: Uint8Array])[]): void {
    const keys = Buffer.concat(entries.map(([key]) => bytes(key, 'key')));
    const values = Buffer.concat(entries.map(([, value]) => bytes(value, 'value')));
    run(() => this.#raw.updateBatch(keys, values));
  }
  close(): void {
    this.#raw.close();
  }
}

/** A pinned ring buffer. Records wait in the kernel's ring, which is bounded; the programs count what no longer fits. */
export class BpfRing {
  readonly #raw: RawRing;
  constructor(pin: string) {
    text(pin, 'pin');
    this.#raw = run(() => new (addon().Ring)(pin));
  }
  /** At most `max` records, oldest first. */
  drain(max: number): Uint8Array[] {
    return run(() => this.#raw.drain(integer(max, 0, 1_000_000, 'max')));
  }
  /** At most `max` records of `recordSize` bytes, oldest first, one after the other in one piece: for what comes often. */
  drainPacked(max: number, recordSize: number): Uint8Array {
    return run(() =>
      this.#raw.drainPacked(integer(max, 0, 1_000_000, 'max'), integer(recordSize, 1, 65_536, 'recordSize')),
    );
  }
  close(): void {
    this.#raw.close();
  }
}

/** A TCP socket, not yet connected, in the namespace at `netns` (a path); the caller owns the descriptor. */
export function socketIn(netns: string, family: 4 | 6): number {
  return run(() => addon().socket(text(netns, 'netns'), family === 6 ? 6 : 4));
}

/** A listening TCP socket in the namespace at `netns`; `::` takes both families; port 0 takes any. */
export function listenIn(netns: string, ip: string, port: number, backlog = 4096): number {
  return run(() =>
    addon().listen(
      text(netns, 'netns'),
      text(ip, 'ip'),
      integer(port, 0, 65535, 'port'),
      integer(backlog, 1, 65535, 'backlog'),
    ),
  );
}

/** The kernel's cookie of a network namespace: `netns` is a path, empty for the caller's own. */
export function netnsCookie(netns: string): bigint {
  return run(() => addon().cookie(text(netns, 'netns')));
}

/**
 * Locks a file, which is created where it does not exist. The descriptor that is returned holds the lock until it is closed or the process
 * ends. Undefined where another process holds the lock. Error: NativeError.
 */
export function lockFile(path: string): number | undefined {
  const fd = run(() => addon().lock(text(path, 'path')));
  return fd < 0 ? undefined : fd;
}

/** The process ID at the other end of a Unix socket, in this process's PID namespace; 0 where it has none there. Error: NativeError. */
export function peerPid(fd: number): number {
  return run(() => addon().peerPid(integer(fd, 3, 0x7fff_ffff, 'fd')));
}

export function closeFd(fd: number): void {
  run(() => addon().closeFd(integer(fd, 3, 0x7fff_ffff, 'fd')));
}

/** Whether close() of this TCP socket, also the kernel's own when the process dies, sends a reset. */
export function resetOnClose(fd: number, on: boolean): void {
  run(() => addon().resetOnClose(integer(fd, 3, 0x7fff_ffff, 'fd'), on === true));
}

/**
 * Room for that many unsent bytes in a TCP socket, whatever net.core.wmem_max says (CAP_NET_ADMIN, else NATIVE_PERMISSION).
 * Sockets that a listener accepts have the listener's.
 */
export function sendBuffer(fd: number, byteCount: number): void {
  run(() => addon().sendBuffer(integer(fd, 3, 0x7fff_ffff, 'fd'), integer(byteCount, 1, 1 << 30, 'bytes')));
}

export interface TcpEnd {
  readonly ip: string;
  readonly port: number;
}

/** A socket of the namespace, from its own side. */
export interface TcpConnection {
  readonly local: TcpEnd;
  readonly remote: TcpEnd;
  /** As /proc/PID/fd shows it; 0 where no descriptor leads to it yet or any more. */
  readonly inode: number;
  readonly cookie: bigint;
}

/** TCP connections in the namespace at `netns` that are established or being closed, at most `max`, in the kernel's order. */
export function tcpConnectionsIn(netns: string, max: number): TcpConnection[] {
  return run(() => addon().tcpConnections(text(netns, 'netns'), integer(max, 0, 1_000_000, 'max'))).map(
    ([localIp, localPort, remoteIp, remotePort, inode, cookie]) => ({
      local: { ip: localIp, port: localPort },
      remote: { ip: remoteIp, port: remotePort },
      inode,
      cookie,
    }),
  );
}

/** One end of a connection, by its socket. */
export interface TcpSocket {
  readonly local: TcpEnd;
  readonly remote: TcpEnd;
  /** The socket's, so that another of the same addresses is never meant. */
  readonly cookie: bigint;
}

/**
 * Ends TCP sockets in the namespace at `netns` as SOCK_DESTROY does: their owners' calls fail with ECONNABORTED, their peers
 * see a reset. Returns how many there were; stops at the first that the kernel refuses. NATIVE_SYSTEM with errno 95 on a
 * kernel without CONFIG_INET_DIAG_DESTROY.
 */
export function destroyTcpIn(netns: string, sockets: readonly TcpSocket[]): number {
  if (!Array.isArray(sockets)) refuse('sockets (an array)');
  const ends = sockets.map(({ local, remote, cookie }) => {
    if (typeof cookie !== 'bigint') refuse('cookie (a bigint)');
    return [
      text(local.ip, 'ip'),
      integer(local.port, 0, 65535, 'port'),
      text(remote.ip, 'ip'),
      integer(remote.port, 0, 65535, 'port'),
      cookie,
    ] as [string, number, string, number, bigint];
  });
  return run(() => addon().destroyTcp(text(netns, 'netns'), ends));
}
