/** The examples of the docs, against a real API server with the published kinds (test/cluster/up --control-plane-only). */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { projectRoot } from '../../native/index.js';
import { until } from '../../src/base/wait.js';
import { parseManifests } from '../../control/source/parse.js';
import { gatewayKinds, here, kubectl, run } from '../support/cluster.js';
import { examples, type Example } from '../support/examples.js';

const dir = mkdtempSync(join(tmpdir(), 'weft-examples-'));
const all = examples();

/** Applies an example as a user does, where unknown fields are errors. Returns the response of the API server. */
async function dryRun({ text }: Example): Promise<string> {
  const file = join(dir, 'example.yaml');
  writeFileSync(file, text);
  try {
    return await kubectl('apply', '--server-side', '--dry-run=server', '--validate=strict', '-f', file);
  } catch (error) {
    return `refused: ${(error as { stderr?: string }).stderr ?? String(error)}`;
  }
}
async function applyKinds(channel: 'standard' | 'experimental'): Promise<void> {
  const from = await gatewayKinds(channel);
  // The admission policy of either channel refuses the experimental kinds over the standard ones.
  const files = readdirSync(from).filter(
    (file) =>
      /^gateway\.networking\.(x-)?k8s\.io_/.test(file) && (channel === 'standard' || !file.includes('_vap_')),
  );
  const args = files.flatMap((file) => ['-f', join(from, file)]);
  await kubectl('apply', '--server-side', '--force-conflicts', ...args);
  await kubectl('wait', 'crd', '--all', '--for=condition=Established', '--timeout=60s');
}

before(async () => {
  await run(join(here, 'up'), '--control-plane-only');
  // Weft's own kinds, and those that Istio and SMI publish.
  for (const part of ['crds', join('files', 'istio-crds.yaml'), join('files', 'smi-crds.yaml')])
    await kubectl('apply', '--server-side', '-f', join(projectRoot, 'daemonset', 'chart', part));
  await applyKinds('standard');
  const { serverVersion } = JSON.parse(await kubectl('version', '-o', 'json')) as {
    serverVersion: { gitVersion: string };
  };
  const chart = join(projectRoot, 'daemonset', 'chart');
  const rendered = await run(
    ...(['helm', 'template', 'weft', chart, '-n', 'weft-system'] as const),
    ...['--kube-version', serverVersion.gitVersion],
    ...['-s', 'templates/validation.yaml', '-s', 'templates/roles.yaml'],
  );
  writeFileSync(join(dir, 'chart.yaml'), rendered);
  await kubectl('apply', '-f', join(dir, 'chart.yaml'));
  const namespaces = new Set(
    all.flatMap(({ objects }) => objects.map(({ metadata }) => metadata?.namespace)),
  );
  for (const name of namespaces) if (name !== undefined) await kubectl('create', 'namespace', name);
});
after(async () => {
  await run(join(here, 'down'));
  rmSync(dir, { recursive: true, force: true });
});

test('every example consists of complete objects', () => {
  assert.ok(all.length >= 10, `${all.length} examples were found`);
  for (const { where, objects } of all)
    for (const { apiVersion, kind, metadata } of objects)
      assert.ok(
        typeof apiVersion === 'string' && typeof kind === 'string' && metadata?.name !== undefined,
        `${where}: mark a block with a part of an object as "yaml fragment"`,
      );
});

test('the standard channel of the Gateway API accepts every example that is not marked as experimental', async () => {
  for (const example of all) {
    const said = await dryRun(example);
    if (example.experimental)
      assert.match(
        said,
        /^refused: .*(unknown field|not declared in schema|no matches for kind)/,
        example.where,
      );
    else assert.doesNotMatch(said, /^refused/, `${example.where}: ${said}`);
  }
});

test('every Service that an example names is one of the examples', () => {
  const services = new Set<string>();
  const named = new Map<string, string>();
  for (const { where, text } of all.filter(({ where }) => where.startsWith('docs/examples/'))) {
    for (const { objects, errors } of [parseManifests(where, text)]) {
      assert.deepEqual(errors, []);
      for (const object of objects) {
        if (object.kind === 'Service') services.add(object.metadata.name);
        if (object.kind !== 'HTTPRoute' && object.kind !== 'GRPCRoute') continue;
        for (const { kind, name } of object.spec.parentRefs ?? [])
          if (kind === 'Service') named.set(name, where);
        for (const { backendRefs = [] } of object.spec.rules ?? [])
          for (const { name } of backendRefs) named.set(name, where);
      }
    }
  }
  assert.ok(named.size >= 3);
  for (const [name, where] of named) assert.ok(services.has(name), `${where} names Service ${name}`);
});

test('every example can be read from a file, too', () => {
  for (const { where, text } of all) assert.deepEqual(parseManifests(where, text).errors, [], where);
});

test('kubectl explain describes fields, and the kinds have short names and a category', async () => {
  for (const field of [
    'spec.rules.to.paths',
    'spec.rules.from.identities',
    'spec.mode',
    'status.conditions.reason',
  ])
    assert.match(await kubectl('explain', `accesspolicy.${field}`), /DESCRIPTION:\n +\S.{9}/, field);
  for (const [short, kind] of [
    ['accpol', 'accesspolicies'],
    ['trafpol', 'trafficpolicies'],
    ['authnpol', 'authenticationpolicies'],
    ['extsvc', 'externalservices'],
    ['wload', 'workloads'],
    ['meshset', 'meshsettings'],
  ] as const)
    assert.match(await kubectl('explain', short), new RegExp(`^FIELDS:`, 'm'), kind);
  const policy = all.find(({ where }) => where.endsWith('access.yaml'));
  assert.ok(policy);
  writeFileSync(join(dir, 'policy.yaml'), policy.text);
  await kubectl('apply', '-f', join(dir, 'policy.yaml'));
  const shown = await until('the category is known', 30_000, async () => {
    const text = await kubectl('get', 'weft', '-n', 'shop');
    return text.includes('echo-public') && text;
  });
  assert.match(shown, /NAME +ACTION +MODE +ACCEPTED +REASON +ENFORCED +AGE/);
  assert.match(shown, /^accesspolicy\.weft\.dev\/echo-public +ALLOW +enforce/m);
});

test('the role edit may write policies, but not kinds that claim addresses; the role view may read all kinds', async () => {
  for (const role of ['view', 'edit', 'admin'])
    await kubectl(
      '-n',
      'shop',
      'create',
      'rolebinding',
      `as-${role}`,
      `--clusterrole=${role}`,
      `--user=${role}`,
    );
  const may = async (user: string, verb: string, kind: string): Promise<boolean> =>
    (await kubectl('-n', 'shop', 'auth', 'can-i', verb, `${kind}.weft.dev`, `--as=${user}`).catch(
      () => 'no',
    )) === 'yes';
  await until('the roles are aggregated', 30_000, () => may('admin', 'create', 'accesspolicies'));
  for (const user of ['edit', 'admin']) {
    assert.equal(await may(user, 'create', 'accesspolicies'), true, user);
    for (const kind of ['workloads', 'externalservices']) {
      assert.equal(await may(user, 'create', kind), false, `${user} ${kind}`);
      assert.equal(await may(user, 'list', kind), true, `${user} ${kind}`);
    }
  }
  assert.equal(await may('view', 'list', 'accesspolicies'), true);
  assert.equal(await may('view', 'create', 'accesspolicies'), false);
});

test('the experimental channel accepts the examples that are marked as experimental', async () => {
  for (const kind of ['validatingadmissionpolicybinding', 'validatingadmissionpolicy'])
    await kubectl('delete', kind, 'safe-upgrades.gateway.networking.k8s.io');
  await until('the experimental kinds are applied', 60_000, () =>
    applyKinds('experimental').then(
      () => true,
      () => false,
    ),
  );
  const experimental = all.filter((example) => example.experimental);
  assert.ok(experimental.length > 0);
  for (const example of experimental)
    await until(
      `${example.where} is applied`,
      30_000,
      async () => !(await dryRun(example)).startsWith('refused'),
    );
});
