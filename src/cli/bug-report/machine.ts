/** Parts about this machine: versions, the kernel, and Weft's programs and maps in it. */
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { arch, cpus, freemem, loadavg, release, totalmem, uptime, version as kernelVersion } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { errorText } from '../../base/errors.js';
import { isRecord } from '../../base/record.js';
import { version } from '../../base/version.js';
import { pinRoot } from '../standalone/agent.js';
import { logBytesMax, type Content, type Part } from './collect.js';
import { picked } from './picked-objects.js';

const exec = promisify(execFile);
const bpftoolMsMax = 10_000;

const firstLine = (path: string): string | undefined => {
  try {
    return readFileSync(path, 'utf8').split('\n')[0]?.slice(0, 200);
  } catch {
    return undefined;
  }
};

/** Versions of the program that writes the report, and of the machine on which it runs. */
export const versions = (): object => ({
  weft: version,
  node: process.version,
  kernel: release(),
  kernelVersion: kernelVersion(),
  arch: arch(),
  system: osName(),
});

const osName = (): string | undefined => {
  try {
    return /^PRETTY_NAME="?([^"\n]{0,100})/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1];
  } catch {
    return undefined;
  }
};

/** Settings of the kernel that change what Weft can do. */
const settings = [
  'kernel/unprivileged_bpf_disabled',
  'net/core/bpf_jit_enable',
  'net/ipv4/ip_local_port_range',
  'net/ipv4/tcp_mem',
  'net/ipv4/ip_forward',
  'fs/file-nr',
  'vm/overcommit_memory',
];

const cgroupMounts = (): string[] =>
  readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .filter((line) => line.split(' ')[2]?.startsWith('cgroup') === true || line.includes(' bpf '));

function pinsBelow(dir: string, depth = 0): string[] {
  if (depth > 4) return [];
  return readdirSync(dir, { withFileTypes: true }).flatMap((entry) => {
    const path = join(dir, entry.name);
    return entry.isDirectory() ? pinsBelow(path, depth + 1) : [path];
  });
}

const programFields = [
  'id',
  'type',
  'name',
  'tag',
  'loaded_at',
  'bytes_xlated',
  'bytes_jited',
  'bytes_memlock',
  'run_time_ns',
  'run_cnt',
  'map_ids',
];
const mapFields = ['id', 'type', 'name', 'flags', 'bytes_key', 'bytes_value', 'max_entries', 'bytes_memlock'];

/** Weft's programs or maps that the kernel has. Never rows of maps. */
async function bpfObjects(what: 'prog' | 'map', fields: readonly string[]): Promise<unknown> {
  const { stdout } = await exec('bpftool', ['-j', what, 'show'], {
    timeout: bpftoolMsMax,
    maxBuffer: 32 << 20,
  });
  const all = JSON.parse(stdout) as unknown;
  return (Array.isArray(all) ? (all as unknown[]) : [])
    .filter((one) => isRecord(one) && String(one['name']).startsWith('weft_'))
    .map((one) => picked(one, fields));
}

/** The kernel of this machine, and what Weft has loaded into it. */
export const machineParts = (): Part[] => [
  {
    file: 'kernel/machine.json',
    read: () => ({
      value: {
        ...versions(),
        cpus: cpus().length,
        memoryBytes: totalmem(),
        freeBytes: freemem(),
        load: loadavg(),
        uptimeS: Math.round(uptime()),
        hasBtf: existsSync('/sys/kernel/btf/vmlinux'),
        settings: Object.fromEntries(
          settings.map((name) => [name.replaceAll('/', '.'), firstLine(join('/proc/sys', name))]),
        ),
        mounts: cgroupMounts(),
      },
    }),
  },
  { file: 'kernel/pins.json', read: () => ({ value: pinsOf() }) },
  {
    file: 'kernel/bpf-programs.json',
    read: async () => ({ value: await bpfObjects('prog', programFields) }),
  },
  { file: 'kernel/bpf-maps.json', read: async () => ({ value: await bpfObjects('map', mapFields) }) },
];

function pinsOf(): string[] {
  try {
    return pinsBelow(pinRoot);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw new Error(`${pinRoot}: ${errorText(error)}`);
  }
}

/** The end of a log file. The first line, which may be incomplete, is left out. */
export async function tailOf(path: string, bytesMax = logBytesMax): Promise<Content> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    const from = Math.max(0, size - bytesMax);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(size - from), 0, size - from, from);
    const text = buffer.toString('utf8', 0, bytesRead);
    if (from === 0) return { text };
    return {
      text: text.slice(text.indexOf('\n') + 1),
      note: `the last ${bytesMax} of ${size} bytes`,
    };
  } finally {
    await file.close();
  }
}
