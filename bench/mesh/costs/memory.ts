/** Memory of proxies: their own pages, and the pages of their program once per node. */
import { readdirSync, readFileSync } from 'node:fs';

export interface ProcessMemory {
  /** Node of the process. Processes of one node share the pages of their program. */
  readonly node: string;
  /** Private memory in bytes: heap, stacks, shared memory. */
  readonly own: number;
  /** File-backed memory in bytes: the program and its libraries. */
  readonly files: number;
}

/**
 * Bytes of processes of one kind. Resident sizes would count the pages of a program once per process. Proportional sizes (PSS)
 * would divide them among all programs of this machine, also across nodes that would really be separate machines. Pure.
 */
export function bytesOf(processes: readonly ProcessMemory[]): number {
  const files = new Map<string, number>();
  for (const { node, files: bytes } of processes) files.set(node, Math.max(bytes, files.get(node) ?? 0));
  return [...files.values(), ...processes.map(({ own }) => own)].reduce((sum, bytes) => sum + bytes, 0);
}

/** `status`: text of /proc/PID/status. Pure. */
export function readStatus(node: string, status: string): ProcessMemory {
  const bytes = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1] ?? 0) * 1024;
  return { node, own: bytes('RssAnon') + bytes('RssShmem'), files: bytes('RssFile') };
}

/** Throws if the process has ended. */
export const processMemory = (node: string, pid: number): ProcessMemory =>
  readStatus(node, readFileSync(`/proc/${pid}/status`, 'utf8'));

/** Bytes of the eBPF maps that a process has open, by their ids. Pure but for reading. */
export function mapBytes(pid: number): number {
  const maps = new Map<string, number>();
  const dir = `/proc/${pid}/fdinfo`;
  for (const fd of readdirSync(dir)) {
    try {
      const [id, bytes] = readMapInfo(readFileSync(`${dir}/${fd}`, 'utf8')) ?? [];
      if (id !== undefined && bytes !== undefined) maps.set(id, bytes);
    } catch {
      // The descriptor was closed meanwhile.
    }
  }
  return [...maps.values()].reduce((sum, bytes) => sum + bytes, 0);
}

/** Id and bytes of an eBPF map; undefined for any other descriptor. Pure. */
export function readMapInfo(text: string): readonly [string, number] | undefined {
  const value = (name: string): string | undefined => new RegExp(`^${name}:\\s+(\\d+)$`, 'm').exec(text)?.[1];
  const [id, bytes] = [value('map_id'), value('memlock')];
  return id === undefined || bytes === undefined ? undefined : [id, Number(bytes)];
}
