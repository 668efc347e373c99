/**
 * Loads the built addon, checks arguments and translates failures to {@link NativeError}. The modules in this folder call it; each
 * wraps the calls of the files of src/ that it names.
 */
import { createRequire } from 'node:module';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ObjectLayout, PinnedLayout } from './layout.js';

export interface RawMap {
  info(): MapInfo;
  lookup(key: Uint8Array): Uint8Array | undefined;
  take(key: Uint8Array): Uint8Array | undefined;
  update(key: Uint8Array, value: Uint8Array, flags: number): void;
  remove(key: Uint8Array): boolean;
  keys(max: number): Uint8Array;
  updateBatch(keys: Uint8Array, values: Uint8Array): number;
  fd(): number;
  close(): void;
}
export interface RawRing {
  drain(max: number): Uint8Array[];
  drainPacked(max: number, recordSize: number): Uint8Array;
  close(): void;
}
export interface RawChannel {
  send(bytes: Uint8Array, fds: readonly number[]): boolean;
  keepAlive(on: boolean): void;
  peerPid(): number;
  close(): void;
}
interface RawAddon {
  load(path: string, pinDir: string, rodata: Uint8Array, attachments: readonly Attachment[]): Promise<void>;
  detach(pin: string): boolean;
  openLink(pin: string): number;
  detachLink(fd: number): void;
  linkNetns(pin: string): number;
  sockets(netns: string, family: 4 | 6, count: number, cookie: bigint): number[];
  listeners(
    netns: string,
    addresses: readonly (readonly (readonly [ip: string, port: number])[])[],
    backlog: number,
    cookie: bigint,
  ): number[];
  sweepNetns(idleMs: number): number;
  setnsCalls(): number;
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
  Channel: new (
    path: string,
    onPackets: (packets: [bytes: Buffer, fds: number[]][]) => void,
    onWritable: () => void,
    onEnd: (why: string) => void,
  ) => RawChannel;
  openNetns(path: string): number;
}

interface RawMemoryAddon {
  create(bytes: number): number;
  map(fd: number): ArrayBuffer;
}

/**
 * A program of the object, its target, and the path at which its link is pinned. For `sockmap`, `target` is the name of a map of
 * the object; the map holds the program as long as the map exists, and `pin` is not used.
 */
export interface Attachment {
  readonly program: string;
  readonly kind: 'cgroup' | 'netns' | 'sockmap';
  readonly target: string;
  readonly pin: string;
}

export interface MapInfo {
  readonly type: number;
  readonly keySize: number;
  /** Bytes of a whole value. Per-CPU maps have one 8-byte-aligned value per possible CPU. */
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly id: number;
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
    /** 0 if no system call failed. */
    readonly errno: number,
    /** Output of libbpf and the verifier; empty if there is none. */
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

export function translate(error: unknown): unknown {
  if (!(error instanceof Error) || !('errno' in error)) return error;
  const { message, errno, log } = error as Error & { errno: number; log: string };
  let code = errnoCodes[errno] ?? 'NATIVE_SYSTEM';
  if (log.includes('parameter mismatch')) code = 'NATIVE_LAYOUT';
  else if (log.includes('BEGIN PROG LOAD LOG')) code = 'NATIVE_VERIFIER';
  return new NativeError(code, message, errno, log);
}

export function run<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw translate(error);
  }
}

export function refuse(what: string): never {
  throw new NativeError('NATIVE_ARGUMENT', `invalid argument: expected ${what}`, 0, '');
}
export function text(value: unknown, what: string): string {
  return typeof value === 'string' && !value.includes('\0') ? value : refuse(`${what} (a string)`);
}
export function bytes(value: unknown, what: string): Uint8Array {
  return value instanceof Uint8Array ? value : refuse(`${what} (bytes)`);
}
export function integer(value: unknown, min: number, max: number, what: string): number {
  const ok = typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max;
  return ok ? value : refuse(`${what} (an integer from ${min} to ${max})`);
}

/** The project's root, which contains bpf/build and native/build. This module runs from native/ or dist/native/. */
export const projectRoot = ((): string => {
  let dir = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(dir, 'native', 'binding.gyp')) && dirname(dir) !== dir) dir = dirname(dir);
  return dir;
})();

const loaded = new Map<string, unknown>();
function load(name: string): unknown {
  const known = loaded.get(name);
  if (known !== undefined) return known;
  const path = join(projectRoot, 'native', 'build', 'Release', name);
  if (!existsSync(path)) {
    throw new NativeError('NATIVE_NOT_BUILT', `${path} is missing: run npm run build`, 0, '');
  }
  const made: unknown = createRequire(import.meta.url)(path);
  loaded.set(name, made);
  return made;
}

/** What the agent needs: it links against libbpf. */
export const addon = (): RawAddon => load('weft.node') as RawAddon;
/** What a waypoint needs. */
export const memoryAddon = (): RawMemoryAddon => load('memory.node') as RawMemoryAddon;
