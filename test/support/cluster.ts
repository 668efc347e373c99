/** The cluster of a test: the cluster of KUBECONFIG, or else a cluster on this machine (test/cluster/up). */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { projectRoot } from '../../native/index.js';
import type { ConnectionRecord } from '../../src/telemetry/connection-record.js';

/** A given cluster stays; a cluster on this machine is taken down after the test. */
export const given = process.env['KUBECONFIG'];
export const state = process.env['CLUSTER_STATE'] ?? '/var/lib/testcluster';
export const here = join(projectRoot, 'test', 'cluster');
export const weftImage = 'docker.io/testcluster/weft';
const gatewayApi = 'sigs.k8s.io/gateway-api@v1.6.0';

export const env = {
  ...process.env,
  PATH: `${join(state, 'bin')}:${process.env['PATH'] ?? ''}`,
  KUBECONFIG: given ?? join(state, 'admin.kubeconfig'),
  // kubectl caches a server's kinds by its address, for hours, and each cluster on this machine has the same address.
  ...(given === undefined && { KUBECACHEDIR: join(state, 'kubectl-cache') }),
};
const exec = promisify(execFile);

/** Resolves with the trimmed standard output; rejects if the program fails. */
export async function run(command: string, ...args: string[]): Promise<string> {
  const { stdout } = await exec(command, args, { env, encoding: 'utf8', maxBuffer: 64 << 20 });
  return stdout.trim();
}
export const kubectl = (...args: string[]): Promise<string> => run('kubectl', ...args);
/** What kubectl says when the server refuses. Fails if the server does not. */
export async function refusalOf(...args: string[]): Promise<string> {
  try {
    await exec('kubectl', args, { env });
  } catch (error) {
    return (error as { readonly stderr: string }).stderr;
  }
  return assert.fail(`kubectl ${args.join(' ')} was served`);
}
export const weft = (...args: string[]): Promise<string> =>
  run(process.execPath, join(projectRoot, 'dist/src/cli/weft.js'), ...args);

export const system = (...args: string[]): Promise<string> => kubectl('-n', 'weft-system', ...args);
/** The chart's values in tests. The environment variable WEFT_RELAY sets the relay; otherwise it is the chart's default. */
const relay = process.env['WEFT_RELAY'];
export const chartValues = [
  '--set',
  `image.repository=${weftImage}`,
  ...(relay === undefined ? [] : ['--set', `relay=${relay}`]),
];
/** Flags of `helm install` and `helm upgrade`. */
export const chart = ['daemonset/chart', '-n', 'weft-system', ...chartValues];
/** Labels of agents, including those that drain while their successors run. */
export const eitherAgent = 'app in (weft-agent,weft-agent-draining)';
/** A program for `node -e`: prints the response's body, or `refused:` and why there was no response. */
export const httpGet = (url: string): string =>
  `require('http').get('${url}', (a) => a.pipe(process.stdout)).on('error', (e) => console.log('refused:', e.message))`;

/** A cluster with Weft's image on every node, without Weft. */
export async function takeCluster(nodes = 2): Promise<void> {
  if (given === undefined) await run(join(here, 'up'), '--nodes', String(nodes));
  await run(join(here, 'weft-image'), `${weftImage}:0.1.0`);
}

/** Uninstalls Weft and takes the cluster down; in a given cluster it deletes only the test's own `namespaces`. */
export async function releaseCluster(...namespaces: string[]): Promise<void> {
  await run('helm', 'uninstall', 'weft', '-n', 'weft-system', '--ignore-not-found').catch(() => '');
  if (given === undefined) await run(join(here, 'down'));
  else if (namespaces.length > 0) await kubectl('delete', 'namespace', ...namespaces, '--ignore-not-found');
}

/** Installs the chart, and waits until the control plane and all agents are ready. */
export async function installChart(...more: string[]): Promise<void> {
  await run(
    'helm',
    'install',
    'weft',
    ...chart,
    '--create-namespace',
    '--wait',
    '--timeout',
    '120s',
    ...more,
  );
  // Helm considers a DaemonSet ready as soon as at most maxUnavailable of its pods are missing.
  await system('rollout', 'status', 'ds/weft-agent', '--timeout=60s');
}

/** Connection lines of the last seconds from the agents' logs. */
export async function connectionRecords(seconds: number): Promise<ConnectionRecord[]> {
  const pods = (await system('get', 'pod', '-l', 'app=weft-agent', '-o', 'name')).split('\n');
  const logs = await Promise.all(pods.map((pod) => system('logs', pod, `--since=${seconds}s`)));
  return (
    logs
      .flatMap((log) => log.split('\n'))
      // The last line may be incomplete.
      .filter((line) => line.includes('"path":') && line.endsWith('}'))
      .map((line) => JSON.parse(line) as ConnectionRecord)
  );
}

/** The image of the tests' pods, with node and its libraries, on every node of the cluster. */
export async function packNodeImage(): Promise<void> {
  const root = mkdtempSync(join(tmpdir(), 'weft-image-'));
  try {
    await run(join(here, 'rootfs'), root, 'node');
    await run(join(here, 'image-from-rootfs'), 'docker.io/testcluster/node:1', root, '/usr/bin/node');
  } finally {
    rmSync(root, { recursive: true });
  }
}

/** Applies manifests given as text; `as`: leading flags of kubectl (a user, a namespace). */
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

/** The Gateway API's CRDs of a channel, from a module cache in the state directory: `go` has verified its checksums. */
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

/**
 * Creates a namespace with these labels, and applies a file of test/cluster/manifests once for each of these nodes, counted from 1: in its
 * text PLACE stands for that number, NODE for the node's name, and each further word for what `words` says.
 */
export async function applyOnNodes(
  namespace: string,
  labels: readonly string[],
  manifest: string,
  places: readonly number[],
  words: (place: number) => Readonly<Record<string, string>>,
): Promise<void> {
  const nodes = (await kubectl('get', 'nodes', '-o', 'jsonpath={.items[*].metadata.name}')).split(' ');
  await kubectl('create', 'namespace', namespace);
  await kubectl('label', 'namespace', namespace, ...labels);
  const text = readFileSync(join(here, 'manifests', manifest), 'utf8');
  for (const place of places) {
    const all = Object.entries({ PLACE: String(place), NODE: nodes[place - 1] ?? '', ...words(place) });
    await applyText(all.reduce((made, [word, value]) => made.replaceAll(word, value), text));
  }
}
