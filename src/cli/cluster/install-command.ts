/** `weft install`. */
import { Command, InvalidArgumentError, Option } from 'commander';
import { installationOption } from '../place.js';
import { loadKubeConfig } from '../../kubernetes/config.js';
import { durationMsOf } from '../../model/duration.js';
import { checkCluster, findingLines, isInstalled } from './check.js';
import { podSecurityRefusal } from './install-namespace.js';
import { install, isTrial } from './install.js';
import { clusterLines, clusterStatus } from './status.js';

const timeoutDefault = '5m';

/** Parses `90` (seconds), `90s`, `5m` or `1h30m` into milliseconds. Throws commander's InvalidArgumentError. */
function timeoutMs(text: string): number {
  const ms = /^[0-9]{1,5}$/.test(text) ? Number(text) * 1_000 : durationMsOf(text);
  if (ms === undefined || ms === 0) throw new InvalidArgumentError('give a duration like 90s, 5m or 1h30m');
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
    // checkCluster already reports a namespace label that enforces Pod Security.
    if (refusal !== undefined && !findings.some(({ what }) => what.includes('enforces pod security')))
      findings.push({
        level: 'fail',
        what: `the cluster enforces Pod Security in namespace ${namespace}: ${refusal}`,
        help: `kubectl label namespace ${namespace} --overwrite pod-security.kubernetes.io/enforce=privileged`,
      });
    for (const line of findingLines(findings.filter(({ level }) => level !== 'ok'))) console.log(line);
    // Failed checks do not block an upgrade, which may fix them.
    if (findings.some(({ level }) => level === 'fail') && !(await isInstalled(config, namespace))) {
      console.error('weft: not installed, because checks failed; --skip-check installs without checks');
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
  return installationOption(
    new Command('install').description(
      'install Weft on the cluster of KUBECONFIG, or upgrade it to this version',
    ),
  )
    .option(
      '--image <reference>',
      'image of all programs: REGISTRY/weft:TAG (npm run image builds and pushes it)',
    )
    .option(
      '--set <key=value>',
      'set a chart value, like cni.enabled=false; may be repeated',
      (value: string, before: readonly string[]) => [...before, value],
      [],
    )
    .addOption(
      new Option('--timeout <duration>', 'time limit of the installation')
        .argParser(timeoutMs)
        .default(timeoutMs(timeoutDefault), timeoutDefault),
    )
    .option('--skip-check', 'skip the checks before the installation')
    .argument('[helm arguments...]', 'after --: passed to helm, like --values FILE or --dry-run')
    .action(run);
}
