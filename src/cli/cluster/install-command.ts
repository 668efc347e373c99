/** `weft install`. */
import { Command, InvalidArgumentError } from 'commander';
import { loadKubeConfig } from '../../kubernetes/config.js';
import { durationMsOf } from '../../model/duration.js';
import { checkCluster, findingLines, isInstalled } from './check.js';
import { podSecurityRefusal } from './install-namespace.js';
import { install, isTrial } from './install.js';
import { clusterLines, clusterStatus } from './status.js';
import { systemNamespace } from './system-namespace.js';

const timeoutDefault = '5m';

/** Milliseconds of `90` (seconds), `90s`, `5m`, `1h30m`. Throws commander's InvalidArgumentError. */
function timeoutMs(text: string): number {
  const ms = /^[0-9]{1,5}$/.test(text) ? Number(text) * 1_000 : durationMsOf(text);
  if (ms === undefined || ms === 0) throw new InvalidArgumentError('it is a duration like 90s, 5m or 1h30m');
  return ms;
}

interface InstallFlags {
  readonly namespace: string;
  readonly image?: string;
  readonly set: readonly string[];
  readonly timeout: number;
  readonly skipCheck?: boolean;
}

async function run(more: readonly string[], options: InstallFlags): Promise<void> {
  const { namespace, image, set, timeout, skipCheck } = options;
  const config = await loadKubeConfig();
  if (skipCheck !== true) {
    const findings = await checkCluster(config, namespace);
    const refusal = await podSecurityRefusal(config, namespace);
    // Where the label of the namespace says so, the check has found it by itself.
    if (refusal !== undefined && !findings.some(({ what }) => what.includes('enforces pod security')))
      findings.push({
        level: 'fail',
        what: `the cluster enforces pod security in namespace ${namespace}: ${refusal}`,
        help: `kubectl label namespace ${namespace} --overwrite pod-security.kubernetes.io/enforce=privileged`,
      });
    for (const line of findingLines(findings.filter(({ level }) => level !== 'ok'))) console.log(line);
    // An upgrade may be about to mend what is wrong.
    if (findings.some(({ level }) => level === 'fail') && !(await isInstalled(config, namespace))) {
      console.error('weft: not installed; --skip-check does it all the same');
      process.exitCode = 1;
      return;
    }
  }
  const code = await install(config, {
    namespace,
    ...(image === undefined ? {} : { image }),
    set,
    timeoutMs: timeout,
    more,
    print: (line) => console.log(line),
  });
  if (code !== 0) {
    process.exitCode = code;
    return;
  }
  if (isTrial(more)) return;
  const status = await clusterStatus(config, namespace);
  console.log(['', ...clusterLines(status, false, Date.now())].join('\n'));
  process.exitCode = status.ok ? 0 : 1;
}

export function installCommand(): Command {
  return new Command('install')
    .description('put Weft on the cluster of KUBECONFIG, or bring what is there to this version')
    .option('-n, --namespace <name>', 'where its parts run', systemNamespace)
    .option(
      '--image <reference>',
      'the image of all parts: REGISTRY/weft:TAG (npm run image builds and pushes it)',
    )
    .option(
      '--set <key=value>',
      'a value of the chart, like cni.enabled=false; may be given several times',
      (value: string, before: readonly string[]) => [...before, value],
      [],
    )
    .option('--timeout <duration>', 'how long it may take', timeoutMs, timeoutMs(timeoutDefault))
    .option('--skip-check', 'do not look first for what stands in the way')
    .argument('[helm arguments...]', 'after --: given to helm, like --values FILE or --dry-run')
    .action(run);
}
