/** Putting Weft on a cluster and taking it off: helm does it, with the chart of this version; the CRDs, which helm never upgrades, are applied before. */
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
/** How long helm may take to say that its release has failed. */
const helmEndMs = 20_000;

/** Beside the compiled code, or above it in a checkout. Error: WEFT_CHART. */
function chartDir(): string {
  for (const root of [dirname(distRoot), distRoot]) {
    const dir = join(root, 'daemonset', 'chart');
    if (existsSync(join(dir, 'Chart.yaml')) && existsSync(join(dir, 'templates', 'agent.yaml'))) return dir;
  }
  throw new WeftError(
    'WEFT_CHART',
    'the chart is not beside this program: run it from a checkout, or use helm',
  );
}

interface Helm {
  /** Undefined while it runs. */
  readonly exitCode: () => number | undefined;
  /** The exit code. Error: WEFT_HELM. */
  readonly ended: Promise<number>;
  /** Asks it to give up: it marks its release as failed. */
  readonly stop: () => Promise<void>;
}

const helmMissing = (cause: Error): WeftError =>
  new WeftError('WEFT_HELM', `helm could not be run: install it (https://helm.sh)`, { cause });

/** `output`: whether what it says of its success is shown; errors always are. */
function startHelm(args: readonly string[], output: boolean): Helm {
  const child = spawn('helm', args, { stdio: ['inherit', output ? 'inherit' : 'ignore', 'inherit'] });
  let exitCode: number | undefined;
  const ended = new Promise<number>((resolve, reject) => {
    child.on('error', (error) => reject(helmMissing(error)));
    child.on('exit', (code) => resolve((exitCode = code ?? 1)));
  });
  // Whoever waits for something else meanwhile hears of it by `ended` all the same.
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

/** What helm says on its standard output; empty where it fails. Error: WEFT_HELM. */
function helmOutput(args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn('helm', args, { stdio: ['ignore', 'pipe', 'ignore'] });
    const parts: Buffer[] = [];
    child.stdout.on('data', (part: Buffer) => parts.push(part));
    child.on('error', (error) => reject(helmMissing(error)));
    child.on('close', () => resolve(Buffer.concat(parts).toString('utf8')));
  });
}

/** The image that helm will put there, by the chart's values and what was given. Error: WEFT_HELM. */
const renderedImage = async (args: readonly string[]): Promise<string | undefined> =>
  /^\s*image: ["']?([^\s"']+)/m.exec(await helmOutput(args))?.[1];

/**
 * Whether no agent of this release has ever run, so that no pod is in the mesh: the image of a first installation could not be pulled.
 * The job that lets pods go before an uninstall would wait for that image too. Errors: WEFT_HELM, ApiError.
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

/** Whether arguments of helm ask what it would do, without doing it. */
export const isTrial = (more: readonly string[]): boolean => more.some((one) => /^--dry-run(=|$)/.test(one));

export interface InstallOptions {
  readonly namespace: string;
  /** `REGISTRY/NAME:TAG`; absent: as the release has it, or the chart. */
  readonly image?: string;
  /** `KEY=VALUE` of the chart's values. */
  readonly set: readonly string[];
  readonly timeoutMs: number;
  /** Given to helm as they are. */
  readonly more: readonly string[];
  readonly print: (line: string) => void;
}

/**
 * Resolves with helm's exit code: 0 once the control plane and every agent run. Errors: WEFT_IMAGE_NAME, WEFT_CHART, WEFT_HELM, ApiError,
 * and those of watchInstall, after which what was installed so far stays.
 */
export async function install(config: KubeConfig, options: InstallOptions): Promise<number> {
  const { namespace, image, timeoutMs, more, print } = options;
  const chart = chartDir();
  const values = [
    // A tag may look like a number.
    ...(image === undefined
      ? []
      : imageValues(parseImage(image)).flatMap((value) => ['--set-string', value])),
    ...options.set.flatMap((value) => ['--set', value]),
  ];
  // An upgrade keeps what the release was given, also where it is not given again.
  const kept = ['--skip-crds', '--reset-then-reuse-values'];
  const upgrade = ['upgrade', '--install', 'weft', chart, '-n', namespace, ...kept, ...values, ...more];
  // Of a trial nothing is there to wait for.
  if (isTrial(more)) return helm(upgrade);
  // Without it helm takes a version of its own, which the chart may refuse.
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
  if (await makeNamespace(config, namespace)) print(`namespace      ${namespace} was made`);
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
      // Helm has the same limit: what it waits for is said by us, in more words.
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

/** Which image it will be: the one of a release that is there stays unless another is given. */
async function printImage(
  config: KubeConfig,
  { namespace, image, print }: InstallOptions,
  template: readonly string[],
): Promise<void> {
  const { deployment } = await readRollout(config, namespace);
  const before = deployment?.spec.template?.spec.containers[0]?.image;
  if (before !== undefined && image === undefined)
    return print(`image          ${before}, as before (--image sets another)`);
  const shown = await renderedImage(template);
  if (shown === undefined) return;
  print(`image          ${shown}`);
  if (!namesRegistry(shown))
    print(
      '               names no registry: it has to be on every node already, or give --image REGISTRY/weft:TAG',
    );
}

const crdNames = (): string[] =>
  readdirSync(join(chartDir(), 'crds')).map(
    (file) =>
      (parse(readFileSync(join(chartDir(), 'crds', file), 'utf8')) as { metadata: { name: string } }).metadata
        .name,
  );

/** `crds`: with them go all policies of the cluster. Errors: WEFT_NOT_INSTALLED, WEFT_HELM, ApiError. */
export async function uninstall(config: KubeConfig, namespace: string, crds: boolean): Promise<number> {
  const listed = await helmOutput(['list', '-n', namespace, '--all', '--filter', '^weft$', '-o', 'json']);
  // Nothing is deleted then: Weft may run in another namespace.
  if (listed.trim() === '[]')
    throw new WeftError(
      'WEFT_NOT_INSTALLED',
      `there is no release weft in namespace ${namespace}: -n names another. Kinds that an uninstall left go, with every policy, by: kubectl delete crd ${crdNames().join(' ')}`,
    );
  const idle = await neverRan(config, namespace);
  if (idle) console.log('no agent has run: no pod has to be let go');
  const code = await helm(['uninstall', 'weft', '-n', namespace, '--wait', ...(idle ? ['--no-hooks'] : [])]);
  if (code !== 0 || !crds) return code;
  for (const name of crdNames()) {
    try {
      await requestJson(config, 'DELETE', `${crdPath}/${name}`);
      console.log(`deleted ${name}, and every object of it`);
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 404) throw error;
    }
  }
  return 0;
}
