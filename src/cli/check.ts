/** What this machine must have; one line for what is missing, with what to do. */
import { existsSync, readFileSync } from 'node:fs';
import { release } from 'node:os';

const kernelFloor: readonly [number, number] = [6, 1];

/** Undefined where all is there. */
export function missing(): string | undefined {
  if (process.getuid?.() !== 0) return 'not root: run it again as root (eBPF and network namespaces need it)';
  const [major = 0, minor = 0] = release().split('.').map(Number);
  if (major < kernelFloor[0] || (major === kernelFloor[0] && minor < kernelFloor[1])) {
    return `kernel ${release()} is too old: Linux ${kernelFloor.join('.')} or later is needed`;
  }
  if (!existsSync('/sys/kernel/btf/vmlinux'))
    return 'the kernel has no BTF: boot one built with CONFIG_DEBUG_INFO_BTF=y';
  const mounts = readFileSync('/proc/self/mounts', 'utf8').split('\n');
  if (!mounts.some((line) => line.split(' ')[2] === 'cgroup2')) {
    return 'no cgroup v2 is mounted: mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified';
  }
  return undefined;
}
