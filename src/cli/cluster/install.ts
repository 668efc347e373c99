/** Putting Weft on a cluster and taking it off: helm does it, with the chart of this version; the CRDs, which helm never upgrades, are applied before. */
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { KubeConfig } from '@kubernetes/client-node';
import { parse } from 'yaml';
import { WeftError } from '../../base/errors.js';
import { applyCrds, crdPath } from '../../kubernetes/crds.js';
import { ApiError, requestJson } from '../../kubernetes/request.js';
import { distRoot } from '../run.js';

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

/** Resolves with the exit code. Error: WEFT_HELM. */
function helm(args: readonly string[]): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn('helm', args, { stdio: 'inherit' });
    child.on('error', (error) =>
      reject(
        new WeftError('WEFT_HELM', `helm could not be run: install it (https://helm.sh)`, { cause: error }),
      ),
    );
    child.on('exit', (code) => resolve(code ?? 1));
  });
}

export async function install(
  config: KubeConfig,
  namespace: string,
  more: readonly string[],
): Promise<number> {
  const chart = chartDir();
  for (const name of await applyCrds(config, join(chart, 'crds'))) console.log(`applied ${name}`);
  const args = [
    'upgrade',
    '--install',
    'weft',
    chart,
    '-n',
    namespace,
    '--create-namespace',
    '--skip-crds',
    '--wait',
  ];
  return helm([...args, ...more]);
}

/** `crds`: with them go all policies of the cluster. */
export async function uninstall(config: KubeConfig, namespace: string, crds: boolean): Promise<number> {
  const code = await helm(['uninstall', 'weft', '-n', namespace, '--wait']);
  if (code !== 0 || !crds) return code;
  for (const file of readdirSync(join(chartDir(), 'crds'))) {
    const crd = parse(readFileSync(join(chartDir(), 'crds', file), 'utf8')) as { metadata: { name: string } };
    try {
      await requestJson(config, 'DELETE', `${crdPath}/${crd.metadata.name}`);
      console.log(`deleted ${crd.metadata.name}, and every object of it`);
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 404) throw error;
    }
  }
  return 0;
}
