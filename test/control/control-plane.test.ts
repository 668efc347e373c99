/** The control plane against a real API server, without nodes (test/cluster/up --control-plane-only). */
import assert from 'node:assert/strict';
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { projectRoot } from '../../native/index.js';
import { systemClock } from '../../src/base/clock.js';
import { until } from '../../src/base/wait.js';
import { DiscoveryClient, type DiscoveryOptions } from '../../src/discovery/client.js';
import { decodeNodePod } from '../../src/discovery/codec/node-pod.js';
import { decodeAuthorization } from '../../src/discovery/codec/policy.js';
import { createCertificateClient, type RequestCertificate } from '../../src/discovery/certificate-client.js';
import { typeUrls } from '../../src/discovery/types.js';
import { parseSpiffeId } from '../../src/model/identity.js';
import type { AuthorizationPolicy } from '../../src/model/policy.js';
import { createCsr } from '../../src/tls/csr.js';

const state = process.env['CLUSTER_STATE'] ?? '/var/lib/testcluster';
const cluster = join(projectRoot, 'test', 'cluster');
const env = {
  ...process.env,
  PATH: `${join(state, 'bin')}:${process.env['PATH'] ?? ''}`,
  KUBECONFIG: join(state, 'admin.kubeconfig'),
};
const dir = mkdtempSync(join(tmpdir(), 'weft-control-plane-'));
const replicas = new Map<string, ChildProcess>();
const targets = { one: '127.0.0.1:15921', two: '127.0.0.1:15922' } as const;
type Replica = keyof typeof targets;

async function run(command: string, ...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(command, args, { env, encoding: 'utf8', maxBuffer: 64 << 20 });
  return stdout.trim();
}
const kubectl = (...args: string[]): Promise<string> => run('kubectl', ...args);
async function apply(text: string): Promise<void> {
  writeFileSync(join(dir, 'object.yaml'), text);
  await kubectl('apply', '-f', join(dir, 'object.yaml'));
}
const program = join(projectRoot, 'dist', 'control', 'main.js');
const logOf = (name: Replica): string => join(dir, `${name}.log`);
async function start(name: Replica): Promise<void> {
  rmSync(logOf(name), { force: true });
  const args = [
    program,
    'serve',
    '--kubernetes',
    `--identity=${name}`,
    `--state=${join(dir, name)}`,
    `--listen=${targets[name]}`,
  ];
  const child = spawn('/bin/sh', ['-c', `exec "$0" "$@" 2>>${logOf(name)}`, process.execPath, ...args], {
    env,
    stdio: 'ignore',
  });
  replicas.set(name, child);
  await until(`replica ${name} serves`, 30_000, () => {
    assert.equal(
      child.exitCode,
      null,
      existsSync(logOf(name)) ? readFileSync(logOf(name), 'utf8').slice(-500) : '',
    );
    return existsSync(logOf(name)) && readFileSync(logOf(name), 'utf8').includes('"ready"');
  });
}
const holder = (): Promise<string> =>
  kubectl('-n', 'weft-system', 'get', 'lease', 'weft-control', '-o', 'jsonpath={.spec.holderIdentity}');

const pod = (name: string, namespace: string, node: string, account: string): string => `---
apiVersion: v1
kind: Pod
metadata: { name: ${name}, namespace: ${namespace} }
spec:
  nodeName: ${node}
  serviceAccountName: ${account}
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 0
  tolerations: [{ operator: Exists }]
  containers: [{ name: app, image: app }]
`;
const account = (name: string, namespace: string): string =>
  `---\napiVersion: v1\nkind: ServiceAccount\nmetadata: { name: ${name}, namespace: ${namespace} }\n`;
/** The token that the kubelet projects into an agent's pod. */
const tokenOf = (agent: string): Promise<string> =>
  kubectl(
    ...['-n', 'weft-system', 'create', 'token', 'weft-agent', '--audience=istio-ca'],
    ...['--bound-object-kind=Pod', `--bound-object-name=${agent}`],
  );
const rootPem = (): string => readFileSync(join(dir, 'one', 'root-cert.pem'), 'utf8');
const issuer = (replica: Replica, token: string): RequestCertificate =>
  createCertificateClient({ target: targets[replica], rootPem, token: () => token });
const ask = async (issue: RequestCertificate, name: string): Promise<readonly string[]> => {
  const id = parseSpiffeId(`spiffe://cluster.local/ns/shop/sa/${name}`);
  return issue(createCsr(id).csrPem, id, 600);
};

/** The chart's admission policy. */
let validation = '';

before(async () => {
  await run(join(cluster, 'up'), '--control-plane-only');
  await run(process.execPath, program, 'apply-crds');
  const chart = join(projectRoot, 'daemonset', 'chart');
  const version = JSON.parse(await kubectl('version', '-o', 'json')) as {
    serverVersion: { gitVersion: string };
  };
  const rendering = ['template', 'weft', chart, '-n', 'weft-system', '-s', 'templates/validation.yaml'];
  validation = await run('helm', ...rendering, '--kube-version', version.serverVersion.gitVersion);
  await apply(validation);
  await apply(
    [
      'apiVersion: v1\nkind: Namespace\nmetadata: { name: weft-system }\n',
      '---\napiVersion: v1\nkind: Namespace\nmetadata: { name: shop, labels: { weft.dev/mesh: enabled } }\n',
      ...['n1', 'n2'].map((name) => `---\napiVersion: v1\nkind: Node\nmetadata: { name: ${name} }\n`),
      account('weft-agent', 'weft-system'),
      account('web', 'shop'),
      account('api', 'shop'),
    ].join(''),
  );
  await apply(
    [
      pod('agent-1', 'weft-system', 'n1', 'weft-agent'),
      pod('agent-2', 'weft-system', 'n2', 'weft-agent'),
      pod('web', 'shop', 'n1', 'web'),
      pod('api', 'shop', 'n2', 'api'),
    ].join(''),
  );
  await start('one');
  await start('two');
});
after(async () => {
  for (const child of replicas.values()) child.kill('SIGKILL');
  await run(join(cluster, 'down'));
  rmSync(dir, { recursive: true, force: true });
});

/** The discovery client of the agent on node n1, to the first replica. */
const clientOf = (token: string, subscriptions: DiscoveryOptions['subscriptions']): DiscoveryClient =>
  new DiscoveryClient({
    target: targets.one,
    rootPem,
    token: () => token,
    nodeId: 'ztunnel~10.0.0.1~agent-1.weft-system~weft-system.svc.cluster.local',
    nodeName: 'n1',
    clock: systemClock,
    subscriptions,
    onChange: () => undefined,
    onSynced: () => undefined,
    onState: () => undefined,
    onRefused: () => undefined,
  });

test('replicas that start on an empty cluster share one CA, and one of them is the leader', async () => {
  assert.equal(rootPem(), readFileSync(join(dir, 'two', 'root-cert.pem'), 'utf8'));
  const name = await until('a replica holds the lease', 30_000, holder);
  assert.ok(name === 'one' || name === 'two');
});

test('every replica serves a node the certificates and resources of its own pods, before they have an address, and of no others', async () => {
  const token = await tokenOf('agent-1');
  for (const replica of ['one', 'two'] as const) {
    assert.ok((await ask(issuer(replica, token), 'web')).length >= 2);
    await assert.rejects(ask(issuer(replica, token), 'api'), /no pod with identity .* runs on node n1/);
  }
  const received: string[] = [];
  const client = clientOf(token, [
    {
      typeUrl: typeUrls.nodePod,
      decode: (_name, bytes) => {
        const decoded = decodeNodePod(bytes);
        return decoded.ok
          ? { ok: true, value: () => received.push(decoded.value.name) }
          : { ...decoded, closedForm: undefined };
      },
      removed: (names) => received.push(...names.map((name) => `-${name}`)),
    },
  ]);
  client.start();
  try {
    await until('the node receives its pod', 30_000, () => received.length > 0);
    assert.deepEqual(received, ['web']);
    await kubectl('-n', 'shop', 'label', 'pod', 'web', 'weft.dev/mesh=disabled');
    await until('the pod is removed', 30_000, () => received.includes('-Kubernetes//Pod/shop/web'));
    await kubectl('-n', 'shop', 'label', 'pod', 'web', 'weft.dev/mesh-');
    await until(
      'the pod is sent again',
      30_000,
      () => received.filter((name) => name === 'web').length === 2,
    );
  } finally {
    client.stop();
  }
});

test('tokens of a deleted pod, without a pod, and of another audience are refused', async () => {
  const gone = await tokenOf('agent-2');
  await kubectl('-n', 'weft-system', 'delete', 'pod', 'agent-2', '--force', '--grace-period=0');
  const loose = await kubectl('-n', 'weft-system', 'create', 'token', 'weft-agent', '--audience=istio-ca');
  const other = await kubectl('-n', 'weft-system', 'create', 'token', 'weft-agent', '--audience=x');
  for (const token of [gone, loose, other])
    await assert.rejects(ask(issuer('two', token), 'api'), /no valid node token/);
});

test('the API server refuses invalid objects and names the field', async () => {
  const policy = (name: string, spec: string): string =>
    `apiVersion: weft.dev/v1alpha1\nkind: AccessPolicy\nmetadata: { name: ${name}, namespace: shop }\nspec: ${spec}\n`;
  await assert.rejects(
    apply(policy('weft-strict-namespace', '{ action: ALLOW, rules: [{}] }')),
    /metadata\.name: names that begin with weft-strict-/,
  );
  await assert.rejects(
    apply(policy('empty', '{ action: DENY, selector: { matchLabels: {} }, rules: [{}] }')),
    /spec\.selector\.matchLabels/,
  );
  await assert.rejects(
    apply(policy('middle', "{ action: DENY, rules: [{ from: [{ identities: ['a*b'] }] }] }")),
    /identities\[0\]/,
  );
  for (const path of ['/a%zz', '/a%00', '/a*b', '*a*', 'a', '/a?b', '/{*}x', '/{**}/a'])
    await assert.rejects(
      apply(policy('path', `{ action: DENY, rules: [{ to: [{ paths: ['${path}'] }] }] }`)),
      /paths\[0\]/,
      path,
    );
  await apply(
    policy(
      'path',
      "{ action: DENY, rules: [{ to: [{ paths: ['/caf%c3%a9/*', '*.php', '*', '/thé', '/a/{*}/b/{**}'] }] }] }",
    ),
  );
  await kubectl('-n', 'shop', 'delete', 'accesspolicy', 'path');
  await assert.rejects(
    apply('apiVersion: weft.dev/v1alpha1\nkind: MeshSettings\nmetadata: { name: other }\nspec: {}\n'),
    /metadata\.name: there is one MeshSettings/,
  );
  await assert.rejects(
    apply(
      'apiVersion: weft.dev/v1alpha1\nkind: Workload\nmetadata: { name: vm, namespace: shop }\nspec: { node: vm1, addresses: [x], netns: a }\n',
    ),
    /spec\.addresses\[0\]/,
  );
});

test('a condition tells whether a policy is in force; an invalid policy that the schema accepts closes the workloads that it selects', async () => {
  const policy = (cidr: string): string =>
    `apiVersion: weft.dev/v1alpha1\nkind: AccessPolicy\nmetadata: { name: p, namespace: shop }\nspec: { action: DENY, rules: [{ from: [{ cidrs: ['${cidr}'] }] }] }\n`;
  const condition = (field: string): Promise<string> =>
    kubectl('-n', 'shop', 'get', 'accesspolicy', 'p', '-o', `jsonpath={.status.conditions[0].${field}}`);
  await apply(policy('10.0.0.0/8'));
  await until('the policy is accepted', 30_000, async () => (await condition('status')) === 'True');
  await assert.rejects(apply(policy('999.0.0.0/8')), /cidrs\[0\]/);
  await assert.rejects(apply(policy('10.0.0.0/99')), /cidrs\[0\]/);
  await apply(policy('1::2::3/64'));
  await until('the policy is not accepted', 30_000, async () => (await condition('status')) === 'False');
  assert.match(await condition('message'), /1::2::3.* all traffic to what it selects is denied/);
  assert.equal(await condition('observedGeneration'), '2');
  await apply(policy('10.0.0.0/16'));
  await until('the policy is accepted again', 30_000, async () => (await condition('status')) === 'True');
});

test('a policy that never was valid is in force as one that denies everything, and an event has the reason', async () => {
  const received = new Map<string, AuthorizationPolicy>();
  const token = await tokenOf('agent-1');
  const client = clientOf(token, [
    {
      typeUrl: typeUrls.authorization,
      decode: (_name, bytes) => {
        const decoded = decodeAuthorization(bytes);
        return decoded.ok
          ? { ok: true, value: () => received.set(decoded.value.key, decoded.value) }
          : { ...decoded, closedForm: undefined };
      },
      removed: (names) => names.forEach((name) => received.delete(name)),
    },
  ]);
  client.start();
  try {
    await apply(
      `apiVersion: weft.dev/v1alpha1\nkind: AccessPolicy\nmetadata: { name: never, namespace: shop }
spec: { action: ALLOW, selector: { matchLabels: { app: a } }, rules: [{ from: [{ notCidrs: ['1::2::3/64'] }] }] }\n`,
    );
    const policy = await until('the node receives the policy', 30_000, () => received.get('shop/never'));
    assert.deepEqual([policy.action, policy.scope, policy.rules], ['deny', 'workload', [{ clauses: [] }]]);
    const events = (): Promise<string> =>
      kubectl(
        ...[
          '-n',
          'shop',
          'get',
          'events',
          '--field-selector',
          'reason=CannotBeRead,involvedObject.name=never',
        ],
        ...['-o', 'jsonpath={.items[*].message}'],
      );
    await until('an event is written', 30_000, events);
    assert.match(await events(), /notCidrs: .*1::2::3.*all traffic to what it selects is denied/);
    await kubectl('-n', 'shop', 'delete', 'accesspolicy', 'never');
    await until('the policy is removed', 30_000, () => !received.has('shop/never'));
  } finally {
    client.stop();
  }
});

test('an event is written when an object is no longer in force, and another when it is again', async () => {
  const external = (name: string): string =>
    `---\napiVersion: weft.dev/v1alpha1\nkind: ExternalService\nmetadata: { name: ${name}, namespace: shop }
spec: { host: pay.example.com, addresses: [${name === 'a' ? '198.51.100.1' : '198.51.100.2'}], ports: [{ port: 443 }] }\n`;
  const events = (name: string): Promise<string> =>
    kubectl(
      ...['-n', 'shop', 'get', 'events', '--field-selector', `involvedObject.name=${name}`],
      ...['-o', 'jsonpath={range .items[*]}{.type} {.reason} {.reportingComponent}{"\\n"}{end}'],
    );
  await apply(external('a'));
  await apply(external('b'));
  await until('the younger object is refused', 30_000, async () =>
    (await events('b')).includes('Warning HostConflict weft-control'),
  );
  await kubectl('-n', 'shop', 'delete', 'externalservice', 'a');
  await until('the younger object is in force once the older one is gone', 30_000, async () =>
    (await events('b')).includes('Normal Accepted weft-control'),
  );
  assert.equal(await events('a'), '', 'an object that is in force from the start has no event');
  await kubectl('-n', 'shop', 'delete', 'externalservice', 'b');
});

test('unknown label and annotation values are refused; an object that has one already can be changed otherwise', async () => {
  const labels = (text: string): Promise<string> =>
    kubectl('label', '--overwrite', 'namespace', 'shop', text);
  await assert.rejects(labels('weft.dev/mesh=true'), /weft\.dev\/mesh is enabled or disabled/);
  await assert.rejects(labels('weft.dev/mode=Strict'), /weft\.dev\/mode is strict or permissive/);
  const note = (text: string): Promise<string> =>
    kubectl('annotate', '--overwrite', 'namespace', 'shop', `weft.dev/${text}`);
  for (const bad of [
    'exclude-outbound-ports=80,http',
    'exclude-inbound-ports=70000',
    'splice-off-ports=1e3',
    'exclude-outbound-cidrs=10.0.0.0/8,10.0.0.0/99',
    'same-node=tls',
    'splice=true',
  ])
    await assert.rejects(note(bad), /is a list of|is (kernel|on) or/, bad);
  for (const good of [
    'exclude-outbound-ports= 80 ,443,',
    'exclude-outbound-cidrs=10.0.0.0/8, fd00::/8,192.0.2.1',
    'same-node=encrypted',
    'splice=off',
  ])
    await note(good);
  for (const key of ['exclude-outbound-ports', 'exclude-outbound-cidrs', 'same-node', 'splice'])
    await note(`${key}-`);
  // Simulates a label that was set before the admission policy existed.
  await kubectl('delete', 'validatingadmissionpolicybinding', 'weft-settings');
  await until('the value is no longer refused', 30_000, () =>
    labels('weft.dev/mode=Strict').then(
      () => true,
      () => false,
    ),
  );
  await apply(validation);
  // Each attempt uses a new value: an update with a value that was admitted meanwhile would be allowed as unchanged.
  let attempt = 0;
  await until('other values are refused again', 30_000, () =>
    labels(`weft.dev/mode=strict-${++attempt}`).then(
      () => false,
      () => true,
    ),
  );
  await labels('team=a');
  const events = (): Promise<string> =>
    kubectl('get', 'events', '--field-selector', 'reason=UnknownValue', '-o', 'jsonpath={.items[*].message}');
  await until('an event names the value that applies', 30_000, events);
  assert.match(await events(), /weft\.dev\/mode: "[Ss]trict.*" is unknown: .*treated as strict/);
  await labels('weft.dev/mode-');
  await labels('team-');
});

test("the roots' ConfigMap is written to namespaces of the mesh, and deleted when they leave it", async () => {
  const roots = (): Promise<string> =>
    kubectl('-n', 'shop', 'get', 'configmap', 'weft-ca-root-cert', '--ignore-not-found', '-o', 'name');
  await until('the ConfigMap exists', 30_000, roots);
  await kubectl('label', 'namespace', 'shop', 'weft.dev/mesh-');
  await until('the ConfigMap is deleted', 30_000, async () => (await roots()) === '');
  await kubectl('label', 'namespace', 'shop', 'weft.dev/mesh=enabled');
  await until('the ConfigMap exists again', 30_000, roots);
});

test('when the leader is killed, the other replica becomes the leader after the lease has expired', async () => {
  const first = (await holder()) as Replica;
  const second = first === 'one' ? 'two' : 'one';
  replicas.get(first)?.kill('SIGKILL');
  await until('the other replica holds the lease', 40_000, async () => (await holder()) === second);
  // Only the second replica can write to this namespace.
  await apply(
    'apiVersion: v1\nkind: Namespace\nmetadata: { name: later, labels: { weft.dev/mesh: enabled } }\n',
  );
  await until('the new leader writes', 40_000, () =>
    kubectl('-n', 'later', 'get', 'configmap', 'weft-ca-root-cert', '--ignore-not-found', '-o', 'name'),
  );
});
