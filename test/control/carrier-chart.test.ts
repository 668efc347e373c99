/** The carrier in the chart: what its pods may do, and what replaces them. A real API server validates the objects. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { parseAllDocuments } from 'yaml';
import { projectRoot } from '../../native/index.js';
import { servingNodeFlags } from '../../src/base/node-flags.js';
import { here, kubectl, run } from '../support/cluster.js';

interface Container {
  readonly image: string;
  readonly command: readonly string[];
  readonly args: readonly string[];
  readonly securityContext: object;
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
}
interface PodSpec extends Record<string, unknown> {
  readonly containers: readonly [Container];
  readonly volumes: readonly { readonly name: string; readonly hostPath?: { readonly path: string } }[];
}
interface DaemonSet {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly spec: {
    readonly updateStrategy: { readonly rollingUpdate: object };
    readonly template: { readonly spec: PodSpec };
  };
}

const dir = mkdtempSync(join(tmpdir(), 'weft-chart-'));
const chart = join(projectRoot, 'daemonset', 'chart');
/** Without hooks: the pod of `helm test` needs a ServiceAccount that a dry run does not make. */
const render = (...settings: readonly string[]): Promise<string> =>
  run(
    ...([
      'helm',
      'template',
      'weft',
      chart,
      '-n',
      'weft-system',
      '--kube-version',
      '1.33.0',
      '--no-hooks',
    ] as const),
    ...settings.flatMap((setting) => ['--set', setting]),
  );
async function daemonSet(name: string, ...settings: readonly string[]): Promise<DaemonSet | undefined> {
  const objects = parseAllDocuments(await render(...settings)).map(
    (document) => document.toJS() as DaemonSet | null,
  );
  return objects.find((object) => object?.kind === 'DaemonSet' && object.metadata.name === name) ?? undefined;
}
async function carrier(...settings: readonly string[]): Promise<DaemonSet> {
  const found = await daemonSet('weft-carrier', 'relay=carrier', ...settings);
  assert.ok(found);
  return found;
}
const mountsOf = ({ spec }: DaemonSet): Map<string, string> => {
  const { containers, volumes } = spec.template.spec;
  const paths = new Map(volumes.map(({ name, hostPath }) => [name, hostPath?.path]));
  return new Map(containers[0].volumeMounts.map(({ name, mountPath }) => [mountPath, paths.get(name) ?? '']));
};

before(() => run(join(here, 'up'), '--control-plane-only'));
after(async () => {
  await run(join(here, 'down'));
  rmSync(dir, { recursive: true, force: true });
});

test('agents are told which relay to use, and carriers exist only for the relay of that name', async () => {
  for (const relay of ['carrier', 'typescript']) {
    const agent = await daemonSet('weft-agent', `relay=${relay}`);
    assert.ok(agent?.spec.template.spec.containers[0].args.includes(`--relay=${relay}`), relay);
  }
  assert.ok(await daemonSet('weft-carrier'), 'the default');
  assert.equal(await daemonSet('weft-carrier', 'relay=typescript'), undefined);
  await assert.rejects(render('relay=native'), /relay/);
});

test('agent and carrier of a node share the directory of sockets and nothing else', async () => {
  const agent = await daemonSet('weft-agent', 'relay=carrier');
  assert.ok(agent);
  assert.equal(mountsOf(agent).get('/run/weft'), '/run/weft');
  assert.ok(agent.spec.template.spec.containers[0].args.includes('--carrier-dir=/run/weft/carrier'));
  const mounts = mountsOf(await carrier());
  assert.deepEqual(
    [...mounts].filter(([, path]) => path !== ''),
    [['/run/weft/carrier', '/run/weft/carrier']],
  );
});

test("a carrier's pod has one capability, none of the host's namespaces, no token, and a root file system that is read-only", async () => {
  const { spec } = (await carrier()).spec.template;
  assert.deepEqual(spec.containers[0].securityContext, {
    runAsUser: 0,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ['ALL'], add: ['SYS_ADMIN'] },
    seccompProfile: { type: 'RuntimeDefault' },
  });
  const { hostNetwork, hostPID, hostIPC, automountServiceAccountToken } = spec;
  assert.deepEqual(
    [hostNetwork, hostPID, hostIPC, automountServiceAccountToken],
    [false, false, false, false],
  );
});

test('no setting of agents, of the control plane or of their image replaces a carrier', async () => {
  const { template } = (await carrier()).spec;
  for (const setting of [
    'image.tag=2.0.0',
    'image.pullPolicy=Always',
    `image.digest=sha256:${'a'.repeat(64)}`,
    'agent.terminationGracePeriodSeconds=60',
    'agent.extraArgs={--log-level=debug}',
    'control.replicas=3',
    'trustDomain=example.org',
    'networkPolicy.enabled=true',
    'monitoring.podMonitor=true',
  ])
    assert.deepEqual((await carrier(setting)).spec.template, template, setting);
  const newer = (await carrier('carrier.version=0123456789ab')).spec.template;
  assert.notDeepEqual(newer, template);
  assert.match(newer.spec.containers[0].image, /^weft-carrier:0123456789ab$/);
});

test('a new carrier starts beside the old one, which has hours to end its connections', async () => {
  const { updateStrategy, template } = (await carrier()).spec;
  assert.deepEqual(updateStrategy.rollingUpdate, { maxSurge: '25%', maxUnavailable: 0 });
  assert.equal(template.spec['terminationGracePeriodSeconds'], 14_400);
});

test('the image is beside that of the agents unless values name another', async () => {
  const image = async (...settings: readonly string[]): Promise<string> =>
    (await carrier(...settings)).spec.template.spec.containers[0].image;
  const version = 'carrier.version=0123456789ab';
  assert.equal(
    await image('image.repository=r.example/weft', version),
    'r.example/weft-carrier:0123456789ab',
  );
  const mine = 'carrier.image.repository=r.example/mine';
  assert.equal(await image(mine, version), 'r.example/mine:0123456789ab');
  assert.equal(await image(mine, 'carrier.image.tag=patched'), 'r.example/mine:patched');
  const digest = `sha256:${'b'.repeat(64)}`;
  assert.equal(await image(mine, `carrier.image.digest=${digest}`), `r.example/mine@${digest}`);
});

test('values that would close nodes or mean nothing are refused', async () => {
  for (const setting of [
    'carrier.maxSurge=0',
    'carrier.maxSurge=0%',
    'carrier.terminationGracePeriodSeconds=0',
    'carrier.threads=-1',
    'carrier.version=latest',
    'carrier.capabilities=NET_ADMIN',
  ])
    await assert.rejects(render('relay=carrier', setting), /carrier/, setting);
});

test('the API server accepts the objects', async () => {
  await kubectl('create', 'namespace', 'weft-system');
  writeFileSync(join(dir, 'chart.yaml'), await render('relay=carrier', 'networkPolicy.enabled=true'));
  const said = await kubectl('apply', '--dry-run=server', '-n', 'weft-system', '-f', join(dir, 'chart.yaml'));
  assert.match(said, /daemonset\.apps\/weft-carrier created/);
  assert.match(said, /networkpolicy\.networking\.k8s\.io\/weft-carrier created/);
});

test('agents run with the Node.js flags of the processes that serve traffic', async () => {
  const agents = await daemonSet('weft-agent');
  assert.deepEqual(agents?.spec.template.spec.containers[0].command, [
    'node',
    ...servingNodeFlags,
    '/weft/dist/daemonset/main.js',
  ]);
});
