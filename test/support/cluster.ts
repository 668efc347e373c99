/** The cluster of a test: the one that KUBECONFIG names, else one of this machine (test/cluster/up). */
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { projectRoot } from '../../native/index.js';

/** A cluster that was given stays; one of this machine is taken down again. */
export const given = process.env['KUBECONFIG'];
export const state = process.env['CLUSTER_STATE'] ?? '/var/lib/testcluster';
export const here = join(projectRoot, 'test', 'cluster');
export const weftImage = 'docker.io/testcluster/weft';
const gatewayApi = 'sigs.k8s.io/gateway-api@v1.6.0';

export const env = {
  ...process.env,
  PATH: `${join(state, 'bin')}:${process.env['PATH'] ?? ''}`,
  KUBECONFIG: given ?? join(state, 'admin.kubeconfig'),
};
const exec = promisify(execFile);

/** Its standard output, trimmed; rejects where it fails. */
export async function run(command: string, ...args: string[]): Promise<string> {
  const { stdout } = await exec(command, args, { env, encoding: 'utf8', maxBuffer: 64 << 20 });
  return stdout.trim();
}
export const kubectl = (...args: string[]): Promise<string> => run('kubectl', ...args);
export const weft = (...args: string[]): Promise<string> =>
  run(process.execPath, join(projectRoot, 'dist/src/cli/weft.js'), ...args);

/** The image of the tests' pods: node and what it needs, on every node of the cluster. */
export async function packNodeImage(): Promise<void> {
  const root = mkdtempSync(join(tmpdir(), 'weft-image-'));
  try {
    await run(join(here, 'rootfs'), root, 'node');
    await run(join(here, 'image-from-rootfs'), 'docker.io/testcluster/node:1', root, '/usr/bin/node');
  } finally {
    rmSync(root, { recursive: true });
  }
}

/** Manifests given as text; `as`: flags of kubectl before the rest (a user, a namespace). */
export async function applyText(text: string, ...as: string[]): Promise<string> {
  const dir = mkdtempSync(join(tmpdir(), 'weft-cluster-'));
  try {
    const path = join(dir, 'objects.yaml');
    writeFileSync(path, text);
    return await kubectl(...as, 'apply', '-f', path);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** The Gateway API's CRDs of a channel, in a module cache of the state directory: only what `go` has checked by its sums is there. */
export async function gatewayKinds(channel: 'standard' | 'experimental' = 'standard'): Promise<string> {
  const cache = join(state, 'gateway-api');
  mkdirSync(cache, { recursive: true });
  const { stdout } = await exec('go', ['mod', 'download', '-json', gatewayApi], {
    cwd: cache,
    env: { ...env, GOMODCACHE: cache, GOFLAGS: '-modcacherw' },
  });
  const { Dir } = JSON.parse(stdout) as { Dir: string };
  return join(Dir, 'config', 'crd', channel);
}
