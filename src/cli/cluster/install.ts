/** Installs and uninstalls Weft with helm and the chart of this version. Helm never upgrades CRDs, so they are applied before. */
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { KubeConfig } from '@kubernetes/client-node';
import { parse } from 'yaml';
import { WeftError } from '../../base/errors.js';
import { sleep } from '../../base/wait.js';
import { applyCrds, crdPath } from '../../kubernetes/crds.js';
import { ApiError, requestJson } from '../../kubernetes/request.js';
import { distRoot } from '../run.js';
import { imageValues, namesRegistry, parseImage } from './image.js';
import { makeNamespace } from './install-namespace.js';
import { readRollout, watchInstall } from './install-watch.js';

const lookMs = 1_000;
/** Time that helm has to mark its release as failed. */
const helmEndMs = 20_000;

/** Directory of the chart: beside the compiled code, or above it in a checkout. Error: WEFT_CHART. */
function chartDir(): string {
  for (const root of [dirname(distRoot), distRoot]) {
    const dir = join(root, 'daemonset', 'chart');
    if (existsSync(join(dir, 'Chart.yaml')) && existsSync(join(dir, 'templates', 'agent.yaml'))) return dir;
  }
  throw new WeftError(
    'WEFT_CHART',
    'the chart is not beside this program: run weft from a checkout, or install the chart with helm',
  );
}

interface Helm {
  /** Undefined while it runs. */
  readonly exitCode: () => number | undefined;
  /** The exit code. Error: WEFT_HELM. */
  readonly ended: Promise<number>;
  /** Stops helm, which then marks its release as failed. */
  readonly stop: () => Promise<void>;
}

const helmMissing = (cause: Error): WeftError =>
  new WeftError('WEFT_HELM', `cannot run helm: install it (https://helm.sh)`, { cause });

/** `output`: show helm's standard output. Its errors are always shown. */
function startHelm(args: readonly string[], output: boolean): Helm {
  const child = spawn('helm', args, { stdio: ['inherit', output ? 'inherit' : 'ignore', 'inherit'] });
  let exitCode: number | undefined;
  const ended = new Promise<number>((resolve, reject) => {
    child.on('error', (error) => reject(helmMissing(error)));
    child.on('exit', (code) => resolve((exitCode = code ?? 1)));
  });
  // Avoids an unhandled rejection while the caller waits for something else. `ended` still rejects for the caller.
  ended.catch(() => (exitCode = 1));
  return {
    exitCode: () => exitCode,
    ended,
    stop: async () => {
      if (exitCode !== undefined) return;
      child.kill('SIGTERM');
      const late = setTimeout(() => child.kill('SIGKILL'), helmEndMs);
      await ended.catch(() => undefined);
      clearTimeout(late);
    },
  };
}
const helm = (args: readonly string[]): Promise<number> => startHelm(args, true).ended;

/** Standard output of helm, empty when it fails. Error: WEFT_HELM. */
function helmOutput(args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn('helm', args, { stdio: ['ignore', 'pipe', 'ignore'] });
    const parts: Buffer[] = [];
    child.stdout.on('data', (part: Buffer) => parts.push(part));
    child.on('error', (error) => reject(helmMissing(error)));
    child.on('close', () => resolve(Buffer.concat(parts).toString('utf8')));
  });
}

/** The image in the manifests that helm renders with these arguments. Error: WEFT_HELM. */
const renderedImage = async (args: readonly string[]): Promise<string | undefined> =>
  /^\s*image: ["']?([^\s"']+)/m.exec(await helmOutput(args))?.[1];

/**
 * True if no agent of this release has ever run, because the image of a first installation could not be pulled. Then no pod is
 * enrolled, and the job that unenrolls pods before an uninstall would wait for the same image. Errors: WEFT_HELM, ApiError.
 */
async function neverRan(config: KubeConfig, namespace: string): Promise<boolean> {
  const history = await helmOutput(['history', 'weft', '-n', namespace, '-o', 'json']);
  if (history === '' || /"status": ?"(deployed|superseded)"/.test(history)) return false;
  const { pods, daemonSet } = await readRollout(config, namespace);
  if ((daemonSet?.status?.numberAvailable ?? 0) > 0) return false;
  return pods
    .filter(({ metadata }) => metadata.labels?.['app'] === 'weft-agent')
    .every(({ status }) =>
      (status?.containerStatuses ?? []).every(
        ({ restartCount = 0, state, lastState }) =>
          restartCount === 0 && state?.waiting !== undefined && lastState?.terminated === undefined,
      ),
    );
}

/** True if these helm arguments request a dry run. */
export const isTrial = (more: readonly string[]): boolean => more.some((one) => /^--dry-run(=|$)/.test(one));

export interface InstallOptions {
  readonly namespace: string;
  /** `REGISTRY/NAME:TAG`. Default: the image of the existing release, else of the chart. */
  readonly image?: string;
  /** Chart values as `KEY=VALUE`. */
  readonly set: readonly string[];
  readonly timeoutMs: number;
  /** Further helm arguments, passed unchanged. */
  readonly more: readonly string[];
  readonly print: (line: string) => void;
}

/**
 * Resolves with helm's exit code: 0 once the control plane and every agent run. Errors: WEFT_IMAGE_NAME, WEFT_CHART, WEFT_HELM,
 * ApiError, and the errors of watchInstall. After an error the objects that exist so far are kept.
 */
export async function install(config: KubeConfig, options: InstallOptions): Promise<number> {
  const { namespace, image, timeoutMs, more, print } = options;
  const chart = chartDir();
  const values = [
    // A tag may look like a number, so image values are passed as strings.
    ...(image === undefined
      ? []
      : imageValues(parseImage(image)).flatMap((value) => ['--set-string', value])),
    ...options.set.flatMap((value) => ['--set', value]),
  ];
  // An upgrade keeps the values of the release that are not given again.
  const kept = ['--skip-crds', '--reset-then-reuse-values'];
  const upgrade = ['upgrade', '--install', 'weft', chart, '-n', namespace, ...kept, ...values, ...more];
  // A dry run creates nothing to wait for.
  if (isTrial(more)) return helm(upgrade);
  // Without it helm assumes a version of Kubernetes that the chart may refuse.
  const { gitVersion } = (await requestJson(config, 'GET', '/version')) as { gitVersion: string };
  const offline = ['--kube-version', gitVersion, '-s', 'templates/control.yaml'];
  await printImage(config, options, [
    'template',
    'weft',
    chart,
    '-n',
    namespace,
    ...offline,
    ...values,
    ...more,
  ]);
  if (await makeNamespace(config, namespace)) print(`namespace      ${namespace} created`);
  const kinds = await applyCrds(config, join(chart, 'crds'));
  print(`kinds          ${kinds.map((name) => name.split('.')[0]).join(', ')}`);
  const running = startHelm(
    [...upgrade, '--wait', '--timeout', `${Math.ceil(timeoutMs / 1000)}s`],
    more.length > 0,
  );
  try {
    const code = await watchInstall({
      config,
      namespace,
      // Helm has the same time limit. watchInstall prints more detail, so helm's output is hidden.
      limitMs: Math.max(0, timeoutMs - 2 * lookMs),
      exitCode: running.exitCode,
      print,
      nowMs: () => performance.now(),
      tick: () => sleep(lookMs),
    });
    await running.ended;
    return code;
  } finally {
    await running.stop();
  }
}

/** Prints the image. The image of an existing release stays unless another one is given. */
async function printImage(
  config: KubeConfig,
  { namespace, image, print }: InstallOptions,
  template: readonly string[],
): Promise<void> {
  const { deployment } = await readRollout(config, namespace);
  const before = deployment?.spec.template?.spec.containers[0]?.image;
  if (before !== undefined && image === undefined)
    return print(`image          ${before}, unchanged (--image sets another)`);
  const shown = await renderedImage(template);
  if (shown === undefined) return;
  print(`image          ${shown}`);
  if (!namesRegistry(shown))
    print('               has no registry: load it on every node, or set --image REGISTRY/weft:TAG');
}

const crdNames = (): string[] =>
  readdirSync(join(chartDir(), 'crds')).map(
    (file) =>
      (parse(readFileSync(join(chartDir(), 'crds', file), 'utf8')) as { metadata: { name: string } }).metadata
        .name,
  );

/** `crds`: delete the CRDs too, and with them all policies of the cluster. Errors: WEFT_NOT_INSTALLED, WEFT_HELM, ApiError. */
export async function uninstall(config: KubeConfig, namespace: string, crds: boolean): Promise<number> {
  const listed = await helmOutput(['list', '-n', namespace, '--all', '--filter', '^weft$', '-o', 'json']);
  // Nothing is deleted without a release: Weft may run in another namespace.
  if (listed.trim() === '[]')
    throw new WeftError(
      'WEFT_NOT_INSTALLED',
      `namespace ${namespace} has no release weft: name another namespace with -n. To delete the CRDs of an earlier installation, and with them every policy: kubectl delete crd ${crdNames().join(' ')}`,
    );
  const idle = await neverRan(config, namespace);
  if (idle) console.log('no agent has run: no pod has to be unenrolled');
  const code = await helm(['uninstall', 'weft', '-n', namespace, '--wait', ...(idle ? ['--no-hooks'] : [])]);
  if (code !== 0 || !crds) return code;
  for (const name of crdNames()) {
    try {
      await requestJson(config, 'DELETE', `${crdPath}/${name}`);
      console.log(`deleted CRD ${name} and all its objects`);
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 404) throw error;
    }
  }
  return 0;
}
