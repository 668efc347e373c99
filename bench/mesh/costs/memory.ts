/** What memory proxies take: their own pages, and those of their program once per node. */
import { readdirSync, readFileSync } from 'node:fs';

export interface ProcessMemory {
  /** Processes of one node share their program's pages. */
  readonly node: string;
  /** Of its own: heap, stacks, shared memory. Bytes. */
  readonly own: number;
  /** Of files: the program and its libraries. Bytes. */
  readonly files: number;
}

/**
 * Bytes of processes of one kind. Resident sizes would count a program's pages for each of its processes, proportional ones
 * (PSS) would share them with whatever else runs on this machine, and between nodes that are in truth two machines. Pure.
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

/** Throws where the process is gone. */
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
      // Closed meanwhile.
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
