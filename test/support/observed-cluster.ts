/** The chart with applications of the manifests of test/cluster, and accounts that may read what the mesh reports. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { env, gatewayKinds, here, installChart, kubectl } from './cluster.js';

/** Installs the chart beside a file of test/cluster/manifests. @param deployments `NAMESPACE NAME` of those that are waited for */
export async function installBeside(manifest: string, ...deployments: readonly string[]): Promise<void> {
  await kubectl('apply', '--server-side', '-f', await gatewayKinds());
  await kubectl('apply', '-f', join(here, 'manifests', manifest));
  await installChart();
  for (const deployment of deployments) {
    const [namespace = '', name = ''] = deployment.split(' ');
    await kubectl('-n', namespace, 'rollout', 'status', `deploy/${name}`, '--timeout=120s');
  }
}

/** Waits until the API server asks the control plane for what it observes. */
export const observeServed = (): Promise<string> =>
  kubectl('wait', 'apiservice', 'v1alpha1.observe.weft.dev', '--for=condition=Available', '--timeout=90s');

/** Makes a service account. Resolves with the path of its kubeconfig in `dir`. */
export async function accountOf(dir: string, namespace: string, name: string): Promise<string> {
  await kubectl('-n', namespace, 'create', 'serviceaccount', name);
  const token = (await kubectl('-n', namespace, 'create', 'token', name)).trim();
  const config = JSON.parse(
    await kubectl('config', 'view', '--raw', '--flatten', '--minify', '-o', 'json'),
  ) as { users: readonly { user: object }[] };
  const path = join(dir, `${name}.json`);
  const users = config.users.map((one) => ({ ...one, user: { token } }));
  writeFileSync(path, JSON.stringify({ ...config, users }), { mode: 0o600 });
  return path;
}

/** Writes a kubeconfig to `dir` whose user impersonates another. Returns its path. */
export function impersonating(dir: string, user: string): string {
  const file = join(dir, `${user}.yaml`);
  const config = parse(readFileSync(env.KUBECONFIG, 'utf8')) as {
    users: { user: Record<string, unknown> }[];
  };
  for (const one of config.users) one.user['as'] = user;
  writeFileSync(file, stringify(config), { mode: 0o600 });
  return file;
}

/** Binds a ClusterRole in a namespace. @param account `NAMESPACE:NAME` of a service account */
export const bind = (namespace: string, name: string, role: string, account: string): Promise<string> =>
  kubectl(
    '-n',
    namespace,
    'create',
    'rolebinding',
    name,
    `--clusterrole=${role}`,
    `--serviceaccount=${account}`,
  );
