import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeAddress } from '../../src/discovery/decode.js';
import { encodeService } from '../../src/discovery/encode.js';
import { typeUrls } from '../../src/discovery/types.js';
import { parseIp } from '../../src/model/address.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import { candidatesOf } from '../../src/state/resolve.js';
import { MeshState } from '../../src/state/store.js';
import type { Service } from '../../src/model/service.js';
import { parseManifests } from '../source/files.js';
import { Resources } from '../serve/resources.js';
import { compile, Compiler, differenceFrom, type Told } from './compile.js';
import type { BackendRef, MeshObject, ParentRef } from './objects.js';

const settings = { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '1' };

function serviceOf(spec: string, meshSettings = ''): Service {
  const { objects, errors } = parseManifests(
    'x',
    `kind: Service
metadata: { name: api, namespace: shop }
spec: { clusterIP: 10.96.0.1, ports: [{ port: 80 }]${spec && `, ${spec}`} }
${meshSettings && `---\napiVersion: weft.dev/v1alpha1\nkind: MeshSettings\nmetadata: { name: mesh }\nspec: { ${meshSettings} }`}
`,
  );
  assert.deepEqual(errors, []);
  const told = [...compile(objects, settings).all()];
  const service = told.find((one) => one.kind === 'service')?.value;
  assert.ok(service);
  // What nodes are told is what was compiled.
  const decoded = decodeAddress(encodeService(service));
  assert.ok(decoded.ok && decoded.value.kind === 'service');
  assert.deepEqual(decoded.value.service, service);
  return service;
}

test('which endpoints of a Service are preferred, by its own fields and the settings of the mesh', () => {
  const local = { preference: ['node'], mode: 'strict', allowUnhealthy: false };
  const preferred = { preference: ['node'], mode: 'failover', allowUnhealthy: false };
  assert.equal(serviceOf('').loadBalancing, undefined);
  assert.deepEqual(serviceOf('internalTrafficPolicy: Local').loadBalancing, local);
  assert.deepEqual(serviceOf('trafficDistribution: PreferSameNode').loadBalancing, preferred);
  assert.deepEqual(serviceOf('', 'trafficDistribution: PreferSameNode').loadBalancing, preferred);
  assert.deepEqual(
    serviceOf('trafficDistribution: PreferClose', 'trafficDistribution: PreferSameNode').loadBalancing,
    { preference: ['region', 'zone'], mode: 'failover', allowUnhealthy: false },
    'what the Service says comes first',
  );
  assert.deepEqual(serviceOf('publishNotReadyAddresses: true').loadBalancing, {
    preference: [],
    mode: 'unspecified',
    allowUnhealthy: true,
  });
});

test('session affinity by the client address is told to the nodes', () => {
  assert.equal(serviceOf('').sessionAffinity, undefined);
  assert.equal(serviceOf('sessionAffinity: None').sessionAffinity, undefined);
  assert.equal(serviceOf('sessionAffinity: ClientIP').sessionAffinity, 'client-ip');
});

/** What nodes n1 and n2 would be told, by type and name, with versions. */
function described(told: Iterable<Told>): string {
  const resources = new Resources(told);
  return describe(resources);
}
function describe(resources: Resources): string {
  const lines: string[] = [];
  for (const typeUrl of Object.values(typeUrls)) {
    for (const node of ['n1', 'n2']) {
      for (const [name, { version }] of resources.of(typeUrl, node) ?? [])
        lines.push(`${typeUrl} ${node} ${name} ${version}`);
    }
  }
  return lines.sort().join('\n');
}
const problemsOf = (compiler: Compiler): string[] =>
  [...compiler.problems()].map(([key, { reason, message }]) => `${key} ${reason} ${message}`).sort();
const pick = <T>(items: readonly T[]): T => items[Math.floor(Math.random() * items.length)] as T;
function randomObject(): MeshObject {
  const namespace = pick(['a', 'b']);
  const app = pick(['x', 'y']);
  const name = pick(['o1', 'o2', 'o3']);
  const creationTimestamp = pick(['2026-01-01T00:00:00Z', '2026-01-02T00:00:00Z']);
  // So few that objects are in each other's way.
  const contested = (): string => pick(['10.0.0.1', '10.0.0.2', '10.96.0.1', '10.2.0.1', '10.3.0.1']);
  const labels: Record<string, string> = {
    ...pick([{}, { 'weft.dev/mesh': 'enabled' }, { 'weft.dev/mode': 'strict' }]),
    ...pick([{}, {}, { 'weft.dev/waypoint': pick(['o1', 'o2', 'none']) }]),
  };
  const ref = (): ParentRef & BackendRef => ({
    group: '',
    kind: 'Service',
    name: pick(['o1', 'o2']),
    ...pick([{}, { port: 80 }, { port: 81 }]),
    ...pick([{}, { namespace: pick(['a', 'b']) }]),
  });
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
      'MeshSettings',
      'Node',
      'GatewayClass',
      'Gateway',
      'HTTPRoute',
      'HTTPRoute',
      'GRPCRoute',
      'TCPRoute',
    ] as const)
  ) {
    case 'Namespace':
      return {
        kind: 'Namespace',
        metadata: { name: namespace, labels: { ...labels, ...pick([{}, { 'weft.dev/export': 'enabled' }]) } },
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
        metadata: { name, namespace, labels },
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
        metadata: { name: pick(['o1', 'x']), namespace },
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
    case 'AccessPolicy':
      return {
        kind: 'AccessPolicy',
        metadata: { name, namespace },
        spec: { action: 'DENY', ...pick([{}, { selector: { matchLabels: { app } } }]), rules: [] },
      };
    case 'MeshSettings':
      return {
        kind: 'MeshSettings',
        metadata: { name, namespace: 'weft-system' },
        spec: { mode: pick(['strict', 'permissive'] as const) },
      };
  }
}

test('change by change or all at once: nodes are told the same, and every difference is named', () => {
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
    const changed = resources.apply(compiler.apply(differenceFrom(compiler, [...objects.values()])));
    const anew = compile([...objects.values()], settings);
    assert.equal(describe(resources), described(anew.all()));
    assert.deepEqual(problemsOf(compiler), problemsOf(anew));
    for (const node of ['n1', 'n2'])
      for (const account of ['a/sa/x', 'a/sa/y', 'b/sa/x', 'b/sa/y']) {
        const identity = `spiffe://cluster.local/ns/${account}`;
        assert.equal(compiler.mayAsk(node, identity), anew.mayAsk(node, identity));
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

test('a pod without an address yet: its node alone is told, and may ask for its certificate', () => {
  const pod: MeshObject = {
    kind: 'Pod',
    metadata: { name: 'new', namespace: 'shop', uid: 'u', labels: { 'weft.dev/mesh': 'enabled' } },
    spec: { nodeName: 'n1', serviceAccountName: 'x' },
  };
  const compiler = compile([pod], settings);
  assert.deepEqual([...compiler.all()].map(({ kind }) => kind).sort(), ['namespace', 'nodePod', 'trust']);
  assert.ok(compiler.mayAsk('n1', 'spiffe://cluster.local/ns/shop/sa/x'));
  assert.ok(!compiler.mayAsk('n2', 'spiffe://cluster.local/ns/shop/sa/x'));
});

test('a pod that is not held has its reason', () => {
  const reasonOf = (
    labels: Record<string, string>,
    hostNetwork = false,
    enrolNone = false,
  ): string | undefined => {
    const pod: MeshObject = {
      kind: 'Pod',
      metadata: { name: 'p', namespace: 'shop', labels },
      spec: { nodeName: 'n1', hostNetwork },
    };
    const told = [...compile([pod], enrolNone ? { ...settings, removal: 'release' } : settings).all()].find(
      ({ kind }) => kind === 'uncaptured',
    );
    return told?.kind === 'uncaptured' ? told.value.reason : undefined;
  };
  const enabled = { 'weft.dev/mesh': 'enabled' };
  assert.equal(reasonOf({}), 'namespace-not-enrolled');
  assert.equal(reasonOf({ 'weft.dev/mesh': 'disabled' }), 'disabled-by-label');
  assert.equal(reasonOf({ 'istio.io/dataplane-mode': 'none' }), 'disabled-by-label');
  assert.equal(reasonOf(enabled, true), 'host-network');
  assert.equal(reasonOf(enabled, false, true), 'mesh-is-being-removed');
  assert.equal(reasonOf(enabled), undefined);
});

test('annotations that cannot be read exclude nothing, and cost nobody anything', () => {
  const { objects, errors } = parseManifests(
    'x',
    `kind: Namespace
metadata: { name: shop, labels: { weft.dev/mesh: enabled }, annotations: { weft.dev/exclude-outbound-cidrs: 'no, 10.0.0.0/8' } }
---
kind: Pod
metadata: { name: p, namespace: shop, annotations: { weft.dev/exclude-inbound-ports: 'x,99999,8080', weft.dev/same-node: maybe } }
spec: { nodeName: n1 }
status: { podIPs: [{ ip: 10.0.0.1 }] }
`,
  );
  assert.deepEqual(errors, []);
  const held = [...compile(objects, settings).all()].find(({ kind }) => kind === 'nodePod');
  assert.ok(held?.kind === 'nodePod');
  assert.deepEqual(held.value.excludeOutboundCidrs, [{ ip: '10.0.0.0', prefixLength: 8 }]);
  assert.deepEqual(held.value.excludeInboundPorts, [8080]);
  assert.equal(held.value.sameNode, 'encrypted');
});

const view = (objects: readonly MeshObject[]): MeshState => {
  const state = new MeshState();
  const told = [...compile(objects, settings).all()];
  state.apply({
    workloads: told.flatMap((one) => (one.kind === 'workload' ? [one.value] : [])),
    services: told.flatMap((one) => (one.kind === 'service' ? [one.value] : [])),
  });
  return state;
};
const addressesOf = (state: MeshState, ip: string, node: string): string[] => {
  const destination = { ip: parseIp(ip), port: 80 };
  const service = state.serviceByAddress(destination.ip, 'shop');
  assert.ok(service);
  return candidatesOf(state, service, destination, node)
    .map(({ workload, target }) => `${target.ip}:${target.port} ${workload.tunnel}`)
    .sort();
};

test('a Service without a selector has the endpoints of its slices; one that is a pod of the mesh is that pod', () => {
  const objects: MeshObject[] = [
    {
      kind: 'Service',
      metadata: { name: 'db', namespace: 'shop' },
      spec: { clusterIP: '10.96.0.9', ports: [{ name: 'sql', port: 80 }] },
    },
    {
      kind: 'EndpointSlice',
      metadata: { name: 'db-1', namespace: 'shop', labels: { 'kubernetes.io/service-name': 'db' } },
      endpoints: [
        { addresses: ['192.0.2.1'], ready: true },
        { addresses: ['192.0.2.2'], ready: false },
        { addresses: ['10.0.0.1'], ready: true },
      ],
      ports: [{ name: 'sql', port: 5432 }],
    },
    {
      kind: 'Pod',
      metadata: { name: 'a', namespace: 'shop', labels: { 'weft.dev/mesh': 'enabled' } },
      spec: { nodeName: 'n1' },
      status: { podIPs: [{ ip: '10.0.0.1' }] },
    },
  ];
  assert.deepEqual(addressesOf(view(objects), '10.96.0.9', 'n1'), [
    '10.0.0.1:5432 hbone',
    '192.0.2.1:5432 none',
  ]);
});

test('an ExternalService is known by its addresses, and its endpoints are balanced', () => {
  const object: MeshObject = {
    kind: 'ExternalService',
    metadata: { name: 'pay', namespace: 'shop' },
    spec: {
      host: 'pay.example.com',
      addresses: ['198.51.100.1'],
      ports: [{ port: 80, targetPort: 8443 }],
      endpoints: [{ address: '203.0.113.1' }, { address: '203.0.113.2' }],
    },
  };
  const state = view([object]);
  assert.deepEqual(addressesOf(state, '198.51.100.1', 'n1'), [
    '203.0.113.1:8443 none',
    '203.0.113.2:8443 none',
  ]);
  assert.equal(state.serviceByAddress(parseIp('198.51.100.1'), 'shop')?.hostname, 'pay.example.com');
});

test('a Workload is held by the agent of its machine, under an identity of its namespace', () => {
  const object: MeshObject = {
    kind: 'Workload',
    metadata: { name: 'legacy', namespace: 'shop', labels: { app: 'legacy' } },
    spec: { node: 'vm1', addresses: ['10.9.0.1'], serviceAccount: 'legacy', netns: 'legacy' },
  };
  const service: MeshObject = {
    kind: 'Service',
    metadata: { name: 'legacy', namespace: 'shop' },
    spec: { clusterIP: '10.96.0.7', selector: { app: 'legacy' }, ports: [{ port: 80, targetPort: 8080 }] },
  };
  const compiler = compile([object, service], settings);
  const held = [...compiler.all()].find(({ kind }) => kind === 'nodePod');
  assert.ok(held?.kind === 'nodePod' && held.node === 'vm1');
  assert.equal(held.value.netns, '/run/netns/legacy');
  assert.ok(compiler.mayAsk('vm1', 'spiffe://cluster.local/ns/shop/sa/legacy'));
  assert.deepEqual(addressesOf(view([object, service]), '10.96.0.7', 'n1'), ['10.9.0.1:8080 hbone']);
});

test('PreferSameZone: endpoints of the zone, then of the region, then any', () => {
  const node = (name: string, zone: string, region: string): MeshObject => ({
    kind: 'Node',
    metadata: {
      name,
      labels: { 'topology.kubernetes.io/zone': zone, 'topology.kubernetes.io/region': region },
    },
  });
  const pod = (name: string, nodeName: string, ip: string, app = 'api'): MeshObject => ({
    kind: 'Pod',
    metadata: { name, namespace: 'shop', labels: { app } },
    spec: { nodeName },
    status: { podIPs: [{ ip }] },
  });
  const objects = [
    node('n1', 'a', 'r'),
    node('n2', 'b', 'r'),
    node('n3', 'c', 's'),
    node('n4', 'd', 't'),
    pod('p1', 'n1', '10.0.0.1'),
    pod('p2', 'n2', '10.0.0.2'),
    pod('p5', 'n3', '10.0.0.5', 'other'),
    pod('p6', 'n4', '10.0.0.6', 'other'),
    {
      kind: 'Service',
      metadata: { name: 'api', namespace: 'shop' },
      spec: {
        clusterIP: '10.96.0.1',
        selector: { app: 'api' },
        ports: [{ port: 80 }],
        trafficDistribution: 'PreferSameZone',
      },
    } satisfies MeshObject,
  ];
  assert.deepEqual(addressesOf(view(objects), '10.96.0.1', 'n1'), ['10.0.0.1:80 none']);
  const elsewhere = [...objects, node('n1', 'x', 'r')];
  assert.equal(addressesOf(view(elsewhere), '10.96.0.1', 'n2').length, 1);
  const farther = objects.filter((one) => one.metadata.name !== 'p1');
  assert.deepEqual(addressesOf(view([...farther, pod('p9', 'n1', '10.0.0.9', 'other')]), '10.96.0.1', 'n1'), [
    '10.0.0.2:80 none',
  ]);
  assert.equal(addressesOf(view(objects), '10.96.0.1', 'n4').length, 2);
});

test("a policy cannot take strict mode's place", () => {
  const { errors } = parseManifests(
    'x',
    'apiVersion: weft.dev/v1alpha1\nkind: AccessPolicy\nmetadata: { name: weft-strict-namespace, namespace: a }\nspec: { action: ALLOW, rules: [{}] }\n',
  );
  assert.match(errors[0]?.message ?? '', /those of strict mode itself/);
});

test('on its way off the cluster the mesh forbids nothing, then holds nobody', () => {
  const objects: MeshObject[] = [
    {
      kind: 'Namespace',
      metadata: { name: 'shop', labels: { 'weft.dev/mesh': 'enabled', 'weft.dev/mode': 'strict' } },
    },
    {
      kind: 'Pod',
      metadata: { name: 'p', namespace: 'shop', labels: { 'weft.dev/mode': 'strict', app: 'x' } },
      spec: { nodeName: 'n1' },
      status: { podIPs: [{ ip: '10.0.0.1' }] },
    },
    {
      kind: 'AccessPolicy',
      metadata: { name: 'a', namespace: 'shop' },
      spec: { action: 'ALLOW', selector: { matchLabels: { app: 'x' } }, rules: [] },
    },
    { kind: 'MeshSettings', metadata: { name: 'mesh' }, spec: { mode: 'strict' } },
  ];
  const kinds = (removal?: 'open' | 'release'): string[] => {
    const told = [...compile(objects, removal ? { ...settings, removal } : settings).all()];
    for (const one of told) if (one.kind === 'workload' && removal) assert.deepEqual(one.value.policies, []);
    return told.map(({ kind }) => kind).sort();
  };
  assert.deepEqual(kinds(), [
    'namespace',
    'nodePod',
    'policy',
    'policy',
    'policy',
    'policy',
    'trust',
    'workload',
  ]);
  assert.deepEqual(kinds('open'), ['namespace', 'nodePod', 'trust', 'workload']);
  assert.deepEqual(kinds('release'), ['trust', 'uncaptured', 'workload']);
});
