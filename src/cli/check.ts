/** Requirements of this machine: one line per missing requirement, with what to do. native/prepare.sh checks the same. */
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { clusterOptions, installationOption, jsonOption, rootNamespaceOption } from './place.js';
import { readStandardInput, standardInput } from '../base/standard-input.js';
import { WeftError } from '../base/errors.js';
import { usageExitCode } from '../base/usage.js';
import type { Finding } from '../findings/finding.js';
import { printClusterCheck, printFindings, type ClusterFlags } from './cluster/command.js';
import { wantsCluster } from './wants-cluster.js';
import { absentText } from '../kubernetes/manifests.js';
import { relayDefault, type Relay } from '../model/relay.js';
import { programs, sh } from './run.js';

const kernelFloor: readonly [number, number] = [6, 1];
const nodeFloor: readonly [number, number] = [20, 12];

/** Required programs by Debian package. */
const testbedPrograms = { ip: 'iproute2', nsenter: 'util-linux', sysctl: 'procps', curl: 'curl' } as const;
const demoPrograms = {
  ...testbedPrograms,
  nginx: 'nginx-light',
  'redis-server': 'redis-server',
  tcpdump: 'tcpdump',
} as const;

const below = (
  [major = 0, minor = 0]: readonly number[],
  [floorMajor, floorMinor]: readonly [number, number],
): boolean => major < floorMajor || (major === floorMajor && minor < floorMinor);

function isProgram(name: string): boolean {
  return (process.env['PATH'] ?? '').split(':').some((dir) => {
    try {
      accessSync(join(dir, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function missingPrograms(wanted: Readonly<Record<string, string>>): string | undefined {
  const packages = Object.entries(wanted)
    .filter(([name]) => !isProgram(name))
    .map(([, debianPackage]) => debianPackage);
  return packages.length === 0
    ? undefined
    : `programs are missing: apt-get install ${[...new Set(packages)].join(' ')} (or: bash native/prepare.sh)`;
}

/** The first requirement of the agent that is missing, undefined if there is none. */
export function missing(): string | undefined {
  if (process.platform !== 'linux') return `this is ${process.platform}: Weft needs Linux`;
  if (process.getuid?.() !== 0)
    return 'not root: run this command as root (eBPF and network namespaces need it)';
  if (below(release().split('.').map(Number.parseFloat), kernelFloor)) {
    return `kernel ${release()} is too old: Linux ${kernelFloor.join('.')} or later is needed`;
  }
  if (!existsSync('/sys/kernel/btf/vmlinux'))
    return 'the kernel has no BTF: boot a kernel built with CONFIG_DEBUG_INFO_BTF=y';
  const mounts = readFileSync('/proc/self/mounts', 'utf8').split('\n');
  if (!mounts.some((line) => line.split(' ')[2] === 'cgroup2')) {
    return 'no cgroup v2 is mounted: mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified';
  }
  if (below(process.versions.node.split('.').map(Number), nodeFloor)) {
    return `node ${process.version} is too old: Node.js ${nodeFloor.join('.')} or later is needed`;
  }
  return undefined;
}

/** Testbeds start the carrier from the build directory. */
const missingCarrier = (relay: Relay, program = programs.carrier): string | undefined =>
  relay === 'typescript' || existsSync(program)
    ? undefined
    : `${program} is missing: npm run build, or relay in the agent with --relay typescript or WEFT_RELAY=typescript`;

/** Ends this program with one line on stderr if a requirement of `purpose` is missing. `relay`: of a testbed. */
export function needMachine(
  purpose: 'agent' | 'testbed' | 'demo',
  relay: Relay = 'typescript',
  exitCode = usageExitCode,
): void {
  const wanted = { agent: {}, testbed: testbedPrograms, demo: demoPrograms }[purpose];
  const what = missing() ?? missingPrograms(wanted) ?? missingCarrier(relay);
  if (what === undefined) return;
  console.error(`weft: ${what}`);
  process.exit(exitCode);
}

interface CheckFlags extends ClusterFlags {
  readonly kubernetes?: boolean;
  readonly from?: readonly string[];
  readonly rootNamespace: string;
}

/** Runs the program of the control plane, which checks manifests. Errors: WEFT_SOURCE_MISSING, WEFT_COMMAND. */
function checkManifests(from: readonly string[], root: string): Finding[] {
  const absent = from.find((path) => path !== standardInput && !existsSync(path));
  if (absent !== undefined) throw new WeftError('WEFT_SOURCE_MISSING', absentText(absent));
  const args = [programs.control, 'check-manifests', '--root-namespace', root, '--from', ...from];
  const input = from.includes(standardInput) ? readStandardInput() : undefined;
  return JSON.parse(sh(process.execPath, args, input)) as Finding[];
}

export function checkCommand(): Command {
  const command = new Command('check')
    .description(
      'report problems and what to do: of the cluster of KUBECONFIG, before and after the installation, else of this machine; with -f, of manifests',
    )
    .option('-f, --from <path...>', 'manifests: files, directories of them, or - for standard input');
  return jsonOption(installationOption(clusterOptions(rootNamespaceOption(command)))).action(
    async (options: CheckFlags) => {
      if (options.from)
        return printFindings(checkManifests(options.from, options.rootNamespace), options.json);
      if (wantsCluster(options.kubernetes)) return printClusterCheck(options);
      // What is missing is what was looked for.
      needMachine('demo', relayDefault(), 1);
      console.log('this machine can run Weft');
    },
  );
}
