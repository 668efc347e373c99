import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseAllDocuments } from 'yaml';
import { metricKinds } from '../../control/dialects/smi/metric-resources.js';
import { kinds } from '../../control/kinds/kinds.js';
import { istioKinds } from '../../control/objects/istio.js';
import { smiKinds } from '../../control/objects/smi.js';
import { projectRoot } from '../../native/index.js';

interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly verbs: readonly string[];
}
interface Role {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly rules: readonly Rule[];
}

const dir = join(projectRoot, 'daemonset', 'chart', 'templates');
/** Roles of the chart. In their rules, Helm fills in only names. */
function roles(): Role[] {
  return readdirSync(dir)
    .filter((file) => file.endsWith('.yaml'))
    .flatMap((file) => readFileSync(join(dir, file), 'utf8').split(/^---$/m))
    .filter((text) => /^kind: (Cluster)?Role$/m.test(text))
    .flatMap((text) => {
      const plain = text
        .split('\n')
        .filter((line) => !/^\s*(labels|annotations): \{\{|^\{\{/.test(line))
        .join('\n')
        .replaceAll(/\{\{[^}]*\}\}/g, 'filled');
      return parseAllDocuments(plain).map((document) => {
        assert.deepEqual(document.errors, [], plain);
        return document.toJS() as Role;
      });
    });
}
/** Verbs by API group, resource and name. */
function rightsOf(kind: string, name: string): Record<string, string> {
  const rights: Record<string, Set<string>> = {};
  for (const role of roles())
    if (role.kind === kind && role.metadata.name === name)
      for (const { apiGroups, resources, resourceNames, verbs } of role.rules)
        for (const group of apiGroups)
          for (const resource of resources)
            for (const one of resourceNames ?? ['']) {
              const key = `${group === '' ? 'core' : group}/${resource}${one === '' ? '' : `/${one}`}`;
              rights[key] ??= new Set();
              for (const verb of verbs) rights[key].add(verb);
            }
  return Object.fromEntries(Object.entries(rights).map(([key, verbs]) => [key, [...verbs].sort().join(' ')]));
}

const gateway = 'gateway.networking.k8s.io';
const experimental = 'gateway.networking.x-k8s.io';
const gatewayKinds = ['backendtlspolicies', 'gateways', 'httproutes', 'grpcroutes', 'tlsroutes', 'tcproutes'];
const weftKinds = [
  'accesspolicies',
  'authenticationpolicies',
  'externalservices',
  'meshsettings',
  'trafficpolicies',
  'workloads',
];
const istioResources = istioKinds.map((kind) => `${kinds[kind].address.group}/${kinds[kind].address.plural}`);
const smiResources = smiKinds.map((kind) => `${kinds[kind].address.group}/${kinds[kind].address.plural}`);
const of = (keys: readonly string[], verbs: string): Record<string, string> =>
  Object.fromEntries(keys.map((key) => [key, verbs]));

test("the control plane's cluster-wide rights are those with a purpose in this list, and no more", () => {
  assert.deepEqual(rightsOf('ClusterRole', 'weft-control'), {
    // Events about objects that cannot be read as they are written.
    'core/events': 'create patch',
    // Objects that it compiles.
    ...of(['core/namespaces', 'core/nodes', 'core/pods', 'discovery.k8s.io/endpointslices'], 'list watch'),
    ...of(
      weftKinds.map((kind) => `weft.dev/${kind}`),
      'list watch',
    ),
    ...of(
      gatewayKinds.map((kind) => `${gateway}/${kind}`),
      'list watch',
    ),
    // Status of these objects.
    ...of(['core/namespaces/status', 'core/pods/status', 'core/services/status'], 'patch'),
    ...of(
      weftKinds.map((kind) => `weft.dev/${kind}/status`),
      'patch',
    ),
    ...of(
      [...gatewayKinds, 'gatewayclasses'].map((kind) => `${gateway}/${kind}/status`),
      'patch',
    ),
    // Retry budgets of the experimental channel.
    [`${experimental}/xbackendtrafficpolicies`]: 'list watch',
    [`${experimental}/xbackendtrafficpolicies/status`]: 'patch',
    // Objects of Istio's API, and their status.
    ...of(istioResources, 'list watch'),
    ...of(
      istioResources.map((resource) => `${resource}/status`),
      'patch',
    ),
    // Objects of SMI, and their status.
    ...of(smiResources, 'list watch'),
    ...of(
      smiResources.map((resource) => `${resource}/status`),
      'patch',
    ),
    // The ConfigMap of the root certificates, parameters of Gateways, and certificates for BackendTLSPolicies.
    'core/configmaps': 'create get list watch',
    'core/configmaps/weft-ca-root-cert': 'delete patch',
    // The GatewayClass of waypoints, and objects created for waypoints.
    [`${gateway}/gatewayclasses`]: 'create list watch',
    [`${gateway}/gatewayclasses/weft-waypoint`]: 'patch',
    'core/services': 'create get list patch watch',
    'core/serviceaccounts': 'create get list patch watch',
    'apps/deployments': 'create get list patch watch',
    'autoscaling/horizontalpodautoscalers': 'create delete get list patch watch',
    // Authentication of tokens.
    'authentication.k8s.io/tokenreviews': 'create',
  });
});

test('the control plane writes secrets, leases and pods only in its own namespace, restricted by name where possible', () => {
  assert.deepEqual(rightsOf('Role', 'weft-control'), {
    'core/secrets': 'create',
    'core/secrets/filled': 'get',
    'core/secrets/weft-join': 'get',
    'coordination.k8s.io/leases': 'create',
    'coordination.k8s.io/leases/weft-control': 'get update',
    // A terminating pod of an agent or carrier gets another label, so that its successor starts beside it.
    'core/pods': 'patch',
    'apps/daemonsets/weft-agent': 'get',
    'apps/daemonsets/weft-carrier': 'get',
  });
});

test('editors of a namespace may write its policies, but no kinds that claim addresses or configure the whole mesh', () => {
  assert.deepEqual(rightsOf('ClusterRole', 'weft-edit'), {
    'weft.dev/accesspolicies': 'create delete patch update',
    'weft.dev/authenticationpolicies': 'create delete patch update',
    'weft.dev/trafficpolicies': 'create delete patch update',
  });
  assert.deepEqual(
    rightsOf('ClusterRole', 'weft-view'),
    of(
      weftKinds.map((kind) => `weft.dev/${kind}`),
      'get list watch',
    ),
  );
});

test('for the aggregated API the control plane reviews access and writes its APIServices, and viewers read what is in a namespace', () => {
  assert.deepEqual(rightsOf('ClusterRole', 'weft-edges-reader'), {
    'observe.weft.dev/changes': 'list',
    'observe.weft.dev/edges': 'list',
    'observe.weft.dev/explanations': 'list',
  });
  // Of its own: a tap shows the paths of requests.
  assert.deepEqual(rightsOf('ClusterRole', 'weft-tap-reader'), { 'observe.weft.dev/taps': 'watch' });
  assert.deepEqual(rightsOf('ClusterRole', 'weft-control-api'), {
    'authorization.k8s.io/subjectaccessreviews': 'create',
    'apiregistration.k8s.io/apiservices/v1alpha1.observe.weft.dev': 'patch',
    'apiregistration.k8s.io/apiservices/v1alpha1.metrics.smi-spec.io': 'patch',
  });
  // As with the cluster role `view`, no nodes.
  const plurals = Object.keys(metricKinds).filter((plural) => plural !== 'nodes');
  const edges = plurals.filter((plural) => plural !== 'trafficsplits').map((plural) => `${plural}/edges`);
  assert.deepEqual(
    rightsOf('ClusterRole', 'weft-view-smi-metrics'),
    of(
      [...plurals, 'edges', ...edges].map((resource) => `metrics.smi-spec.io/${resource}`),
      'get list',
    ),
  );
});

test('no role has a wildcard, reads secrets of the cluster, runs commands in pods or escalates itself; agents and carriers have no role', () => {
  const all = roles();
  assert.ok(all.length >= 5);
  for (const { kind, metadata, rules } of all) {
    assert.notEqual(metadata.name, 'weft-agent');
    assert.notEqual(metadata.name, 'weft-carrier');
    for (const { apiGroups, resources, verbs } of rules) {
      const text = JSON.stringify([apiGroups, resources, verbs]);
      assert.ok(!text.includes('*'), `${kind} ${metadata.name}: ${text}`);
      for (const verb of ['escalate', 'bind', 'impersonate', 'deletecollection', 'approve', 'sign'])
        assert.ok(!verbs.includes(verb), `${kind} ${metadata.name}: ${text}`);
      if (kind !== 'ClusterRole') continue;
      for (const resource of [
        'secrets',
        'pods/exec',
        'pods/ephemeralcontainers',
        'serviceaccounts/token',
        'nodes/proxy',
      ])
        assert.ok(!resources.includes(resource), `${metadata.name}: ${text}`);
    }
  }
});
