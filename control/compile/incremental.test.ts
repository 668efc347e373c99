/** Compiling change by change gives the same result as compiling all at once. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { typeUrls } from '../../src/discovery/types.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import { createRoot } from '../../src/tls/issue.js';
import { Resources } from '../serve/resources.js';
import { compile, Compiler } from './compile.js';
import type { CompiledResource } from './resource.js';
import { objectKey } from '../objects/object-key.js';
import { changesFrom } from '../registry/difference.js';
import { enrollingCondition } from './first-enrollment.js';
import {
  capturedCondition,
  type BackendRef,
  type MeshObject,
  type ParentRef,
  type TargetRef,
} from '../objects/objects.js';

const root = createRoot(parseTrustDomain('x.test'), 86_400).certPem;
const settings = { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '1' };

/** The resources that nodes n1 and n2 would be sent, by type and name, with versions. */
function described(compiled: Iterable<CompiledResource>): string {
  const resources = new Resources(compiled);
  return describe(resources);
}
function describe(resources: Resources): string {
  const lines: string[] = [];
  for (const typeUrl of Object.values(typeUrls)) {
    for (const node of ['n1', 'n2', 'waypoint:a/o1', 'waypoint:a/o2', 'waypoint:b/o1', 'waypoint:b/o2']) {
      for (const [name, { version }] of resources.of(typeUrl, node) ?? [])
        lines.push(`${typeUrl} ${node} ${name} ${version}`);
    }
  }
  return lines.sort().join('\n');
}
const problemsOf = (compiler: Compiler): string[] => [
  ...[...compiler.problems()].map(([key, { reason, message }]) => `${key} ${reason} ${message}`).sort(),
  ...[...compiler.objects()].map((one) => `${objectKey(one)} ${compiler.remarkOf(one) ?? ''}`).sort(),
];
const pick = <T>(items: readonly T[]): T => items[Math.floor(Math.random() * items.length)] as T;
function randomObject(): MeshObject {
  const namespace = pick(['a', 'b']);
  const app = pick(['x', 'y']);
  const name = pick(['o1', 'o2', 'o3']);
  const creationTimestamp = pick(['2026-01-01T00:00:00Z', '2026-01-02T00:00:00Z']);
  // Few names and addresses, so that objects conflict.
  const contested = (): string => pick(['10.0.0.1', '10.0.0.2', '10.96.0.1', '10.2.0.1', '10.3.0.1']);
  const labels: Record<string, string> = {
    ...pick([{}, { 'weft.dev/mesh': 'enabled' }, { 'weft.dev/mode': 'strict' }]),
    ...pick([{}, {}, { 'weft.dev/waypoint': pick(['o1', 'o2', 'none']) }]),
  };
  const annotated = pick([
    {},
    {},
    {
      annotations: {
        'weft.dev/load-balancing': pick(['random', 'round-robin', 'hash']),
        [`weft.dev/stream-idle-timeout${pick(['', '.80'])}`]: pick(['1s', '2s']),
      },
    },
  ]);
  const ref = (): ParentRef & BackendRef => ({
    group: '',
    kind: 'Service',
    name: pick(['o1', 'o2']),
    ...pick([{}, { port: 80 }, { port: 81 }]),
    ...pick([{}, { namespace: pick(['a', 'b']) }]),
  });
  const target = (): TargetRef =>
    pick([
      {
        group: '',
        kind: 'Service',
        name: pick(['o1', 'o2']),
        ...pick([{}, { sectionName: pick(['80', '81']) }]),
      },
      { group: 'gateway.networking.k8s.io', kind: 'Gateway', name: pick(['o1', 'o2']) },
    ]);
  switch (
    pick([
      'Namespace',
      'Pod',
      'Pod',
      'Pod',
      'Service',
      'EndpointSlice',
      'ExternalService',
      'Workload',
      'AccessPolicy',
      'TrafficPolicy',
      'TrafficPolicy',
      'XBackendTrafficPolicy',
      'BackendTLSPolicy',
      'ConfigMap',
      'MeshSettings',
      'Node',
      'GatewayClass',
      'Gateway',
      'HTTPRoute',
      'HTTPRoute',
      'GRPCRoute',
      'TCPRoute',
      'DestinationRule',
    ] as const)
  ) {
    case 'Namespace':
      return {
        kind: 'Namespace',
        metadata: {
          ...annotated,
          name: namespace,
          labels: { ...labels, ...pick([{}, { 'weft.dev/export': 'enabled' }]) },
        },
        ...pick([{}, { status: { conditions: [enrollingCondition()] } }]),
      };
    case 'Node':
      return {
        kind: 'Node',
        metadata: {
          name: pick(['n1', 'n2']),
          labels: { 'topology.kubernetes.io/zone': pick(['z1', 'z2']) },
          annotations: pick([
            {},
            { 'weft.dev/workload-namespaces': 'a' },
            { 'weft.dev/workload-namespaces': 'b, *' },
          ]),
        },
        status: { addresses: pick([[], [{ type: 'InternalIP', address: contested() }]]) },
      };
    case 'Pod':
      return {
        kind: 'Pod',
        metadata: {
          name,
          namespace,
          labels: {
            ...labels,
            app,
            ...pick([{}, { 'gateway.networking.k8s.io/gateway-name': pick(['o1', 'x']) }]),
          },
        },
        spec: { nodeName: pick(['n1', 'n2']), serviceAccountName: app, hostNetwork: Math.random() < 0.1 },
        status: {
          phase: pick(['Running', 'Running', 'Running', 'Failed']),
          podIPs: pick([[], [{ ip: contested() }], [{ ip: `10.0.0.${Math.floor(Math.random() * 250)}` }]]),
          conditions: pick([[], [{ type: capturedCondition, status: 'True' }]]),
        },
      };
    case 'EndpointSlice':
      return {
        kind: 'EndpointSlice',
        metadata: { name: `slice-${name}`, namespace, labels: { 'kubernetes.io/service-name': name } },
        endpoints: [{ addresses: [`10.1.0.${Math.floor(Math.random() * 5)}`], ready: true }],
        ports: [{ port: 8080 }],
      };
    case 'ExternalService':
      return {
        kind: 'ExternalService',
        metadata: { name, namespace, creationTimestamp },
        spec: {
          addresses: pick([[contested()], [contested(), `10.2.0.${Math.floor(Math.random() * 5)}`]]),
          ports: [{ port: 443 }],
          ...pick([{}, { host: pick(['x.example.com', 'y.example.com']) }]),
        },
      };
    case 'Workload':
      return {
        kind: 'Workload',
        metadata: { name, namespace, labels: { app }, creationTimestamp },
        spec: { node: pick(['n1', 'n2']), addresses: [contested()], serviceAccount: app, netns: 'vm' },
      };
    case 'Service':
      return {
        kind: 'Service',
        metadata: { name, namespace, labels, ...annotated },
        spec: {
          selector: pick([{ app }, { app }, {}]),
          clusterIP: pick(['10.96.0.1', '10.96.0.1', 'None']),
          ports: pick([[{ port: 80 }], [{ port: 80 }, { port: 81 }]]),
        },
      };
    case 'GatewayClass':
      return {
        kind: 'GatewayClass',
        metadata: { name: 'weft-waypoint' },
        spec: { controllerName: pick(['weft.dev/waypoint', 'other.test/x']) },
      };
    case 'Gateway':
      return {
        kind: 'Gateway',
        metadata: { name: pick(['o1', 'x']), namespace, ...annotated },
        spec: { gatewayClassName: pick(['weft-waypoint', 'weft-waypoint', 'other']) },
      };
    case 'HTTPRoute':
      return {
        kind: 'HTTPRoute',
        metadata: { name, namespace },
        spec: {
          parentRefs: [ref()],
          rules: [
            {
              backendRefs: [ref()],
              ...pick([{}, { filters: [{ type: 'RequestMirror', requestMirror: { backendRef: ref() } }] }]),
            },
          ],
        },
      };
    case 'GRPCRoute':
    case 'TCPRoute':
      return {
        kind: pick(['GRPCRoute', 'TCPRoute'] as const),
        metadata: { name, namespace },
        spec: { parentRefs: pick([[], [ref()], [ref(), ref()]]), rules: [{ backendRefs: [ref()] }] },
      };
    case 'DestinationRule':
      return {
        kind: 'DestinationRule',
        metadata: { name, namespace: pick([namespace, 'weft-system']), creationTimestamp },
        spec: {
          host: pick(['o1', 'o2', 'o1.a.svc.cluster.local', '*.b.svc.cluster.local', '*']),
          ...pick([{}, { trafficPolicy: { loadBalancer: { simple: pick(['RANDOM', 'ROUND_ROBIN']) } } }]),
          ...pick([{}, { exportTo: [pick(['.', '*'])] }]),
          ...pick([{}, { subsets: [{ name: pick(['s1', 's2']), ...pick([{}, { labels: { app } }]) }] }]),
        },
      };
    case 'AccessPolicy':
      return {
        kind: 'AccessPolicy',
        metadata: { name, namespace },
        spec: { action: 'DENY', ...pick([{}, { selector: { matchLabels: { app } } }]), rules: [] },
      };
    case 'TrafficPolicy':
      return {
        kind: 'TrafficPolicy',
        metadata: { name, namespace, creationTimestamp },
        ...pick([{}, {}, { invalid: 'x', unread: ['rateLimits'], closes: true as const }]),
        spec: {
          targetRefs: pick([[target()], [target(), target()]]),
          ...pick([{}, { from: [pick([{ namespace: 'a' }, { serviceAccount: app }])] }]),
          ...pick([{}, { dryRun: true }]),
          ...pick([
            { timeouts: { request: pick(['1s', '2s']) } },
            { rateLimits: [{ name: app, requests: pick([1, 2]), per: '1s' }] },
          ]),
        },
      };
    case 'XBackendTrafficPolicy':
      return {
        kind: 'XBackendTrafficPolicy',
        metadata: { name, namespace, creationTimestamp },
        spec: { targetRefs: [target()], retryConstraint: { budget: { percent: pick([1, 2]) } } },
      };
    case 'BackendTLSPolicy': {
      const caCertificateRefs = [{ group: '', kind: 'ConfigMap', name: pick(['o1', 'o2']) }];
      const certificates = pick([{ caCertificateRefs }, { wellKnownCACertificates: 'System' }]);
      return {
        kind: 'BackendTLSPolicy',
        metadata: { name, namespace, creationTimestamp },
        spec: { targetRefs: [target()], validation: { hostname: 'x.test', ...certificates } },
      };
    }
    case 'ConfigMap':
      return { kind: 'ConfigMap', metadata: { name, namespace }, data: { 'ca.crt': pick([root, '']) } };
    case 'MeshSettings':
      return {
        kind: 'MeshSettings',
        metadata: { name, namespace: 'weft-system', ...annotated },
        spec: { mode: pick(['strict', 'permissive'] as const) },
      };
  }
}

test('compiling change by change or all at once gives the same resources, and every difference is reported', () => {
  const compiler = new Compiler(settings);
  const resources = new Resources();
  let objects = new Map<string, MeshObject>();
  for (let round = 0; round < 1000; round++) {
    const next = new Map(objects);
    for (let i = 0; i < pick([1, 1, 3]); i++) {
      if (Math.random() < 0.35 && next.size > 0) next.delete(pick([...next.keys()]));
      else {
        const object = randomObject();
        next.set(`${object.kind} ${object.metadata.namespace}/${object.metadata.name}`, object);
      }
    }
    objects = next;
    const before = new Set(describe(resources).split('\n'));
    const changed = resources.apply(compiler.apply(changesFrom(compiler, [...objects.values()])));
    const anew = compile([...objects.values()], settings);
    assert.equal(describe(resources), described(anew.all()));
    assert.deepEqual(problemsOf(compiler), problemsOf(anew));
    for (const node of ['n1', 'n2'])
      for (const account of ['a/sa/x', 'a/sa/y', 'b/sa/x', 'b/sa/y']) {
        const identity = `spiffe://cluster.local/ns/${account}`;
        assert.equal(
          compiler.mayRequestCertificate(node, identity),
          anew.mayRequestCertificate(node, identity),
        );
      }
    const names = new Set(changed.flatMap((one) => [...one.names].map((name) => `${one.typeUrl} ${name}`)));
    const after = new Set(describe(resources).split('\n'));
    for (const line of [...before, ...after]) {
      if (line === '' || (before.has(line) && after.has(line))) continue;
      const [typeUrl, , name] = line.split(' ');
      assert.ok(names.has(`${typeUrl} ${name}`), `not named: ${line}`);
    }
  }
});
