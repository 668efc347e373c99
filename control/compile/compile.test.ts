import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeAddress, encodeService } from '../../src/discovery/codec/address.js';
import { decodeNodePod, encodeNodePod } from '../../src/discovery/codec/node-pod.js';
import { unknownFields } from '../../src/discovery/codec/unknown-fields.js';
import { nodePodShape } from '../../src/discovery/gen/shapes.js';
import { parseIp } from '../../src/model/address.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import { candidatesOf } from '../../src/state/resolve.js';
import { MeshState } from '../../src/state/store.js';
import type { Service } from '../../src/model/service.js';
import { parseManifests } from '../source/parse.js';
import { compile } from './compile.js';
import type { Removal } from './settings.js';
import type { MeshObject } from '../objects/objects.js';

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
  const resources = [...compile(objects, settings).all()];
  const service = resources.find((one) => one.kind === 'service')?.value;
  assert.ok(service);
  // The encoded resource equals the compiled one.
  const decoded = decodeAddress(encodeService(service));
  assert.ok(decoded.ok && decoded.value.kind === 'service');
  assert.deepEqual(decoded.value.service, service);
  return service;
}

test("a Service's own fields, then the settings of the mesh, decide which endpoints are preferred", () => {
  const local = { preference: ['node'], mode: 'strict', allowUnhealthy: false };
  const preferred = { preference: ['node'], mode: 'failover', allowUnhealthy: false };
  assert.equal(serviceOf('').loadBalancing, undefined);
  assert.deepEqual(serviceOf('internalTrafficPolicy: Local').loadBalancing, local);
  assert.deepEqual(serviceOf('trafficDistribution: PreferSameNode').loadBalancing, preferred);
  assert.deepEqual(serviceOf('', 'trafficDistribution: PreferSameNode').loadBalancing, preferred);
  assert.deepEqual(
    serviceOf('trafficDistribution: PreferClose', 'trafficDistribution: PreferSameNode').loadBalancing,
    { preference: ['region', 'zone'], mode: 'failover', allowUnhealthy: false },
    "the Service's own fields take precedence",
  );
  assert.deepEqual(serviceOf('publishNotReadyAddresses: true').loadBalancing, {
    preference: [],
    mode: 'unspecified',
    allowUnhealthy: true,
  });
});

test('session affinity by client address is part of the Service resource', () => {
  assert.equal(serviceOf('').sessionAffinity, undefined);
  assert.equal(serviceOf('sessionAffinity: None').sessionAffinity, undefined);
  assert.equal(serviceOf('sessionAffinity: ClientIP').sessionAffinity, 'client-ip');
});

test('a pod without an address is sent only to its node, which may request its certificate', () => {
  const pod: MeshObject = {
    kind: 'Pod',
    metadata: { name: 'new', namespace: 'shop', uid: 'u', labels: { 'weft.dev/mesh': 'enabled' } },
    spec: { nodeName: 'n1', serviceAccountName: 'x' },
  };
  const compiler = compile([pod], settings);
  assert.deepEqual([...compiler.all()].map(({ kind }) => kind).sort(), ['namespace', 'nodePod', 'trust']);
  assert.ok(compiler.mayRequestCertificate('n1', 'spiffe://cluster.local/ns/shop/sa/x'));
  assert.ok(!compiler.mayRequestCertificate('n2', 'spiffe://cluster.local/ns/shop/sa/x'));
});

test('a pod that is not enrolled has a reason', () => {
  const reasonOf = (
    labels: Record<string, string>,
    hostNetwork = false,
    enrollNone = false,
  ): string | undefined => {
    const pod: MeshObject = {
      kind: 'Pod',
      metadata: { name: 'p', namespace: 'shop', labels },
      spec: { nodeName: 'n1', hostNetwork },
    };
    const uncaptured = [
      ...compile([pod], enrollNone ? { ...settings, removal: 'release' } : settings).all(),
    ].find(({ kind }) => kind === 'uncaptured');
    return uncaptured?.kind === 'uncaptured' ? uncaptured.value.reason : undefined;
  };
  const enabled = { 'weft.dev/mesh': 'enabled' };
  assert.equal(reasonOf({}), 'namespace-not-enrolled');
  assert.equal(reasonOf({ 'weft.dev/mesh': 'disabled' }), 'disabled-by-label');
  assert.equal(reasonOf({ 'istio.io/dataplane-mode': 'none' }), 'disabled-by-label');
  assert.equal(reasonOf(enabled, true), 'host-network');
  assert.equal(reasonOf(enabled, false, true), 'mesh-is-being-removed');
  assert.equal(reasonOf(enabled), undefined);
});

test('annotations that cannot be read exclude nothing, and do not affect other objects', () => {
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
  const nodePod = [...compile(objects, settings).all()].find(({ kind }) => kind === 'nodePod');
  assert.ok(nodePod?.kind === 'nodePod');
  assert.deepEqual(nodePod.value.excludeOutboundCidrs, [{ ip: '10.0.0.0', prefixLength: 8 }]);
  assert.deepEqual(nodePod.value.excludeInboundPorts, [8080]);
  assert.equal(nodePod.value.sameNode, 'encrypted');
});

const view = (objects: readonly MeshObject[]): MeshState => {
  const state = new MeshState();
  const resources = [...compile(objects, settings).all()];
  state.apply({
    workloads: resources.flatMap((one) => (one.kind === 'workload' ? [one.value] : [])),
    services: resources.flatMap((one) => (one.kind === 'service' ? [one.value] : [])),
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

test('a Service without a selector has the endpoints of its slices; an endpoint that is a pod of the mesh is that pod', () => {
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

test('an ExternalService has its own addresses, and its endpoints are balanced', () => {
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

test('the agent of its machine enrolls a Workload, under an identity of its namespace', () => {
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
  const nodePod = [...compiler.all()].find(({ kind }) => kind === 'nodePod');
  assert.ok(nodePod?.kind === 'nodePod' && nodePod.node === 'vm1');
  assert.equal(nodePod.value.netns, '/run/netns/legacy');
  assert.ok(compiler.mayRequestCertificate('vm1', 'spiffe://cluster.local/ns/shop/sa/legacy'));
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

test('a policy cannot take a reserved name of strict mode', () => {
  const { errors } = parseManifests(
    'x',
    'apiVersion: weft.dev/v1alpha1\nkind: AccessPolicy\nmetadata: { name: weft-strict-namespace, namespace: a }\nspec: { action: ALLOW, rules: [{}] }\n',
  );
  assert.match(errors[0]?.message ?? '', /reserved for strict mode/);
});

test('an uninstall first suspends policies, then dials no pod by tunnel, then releases all pods', () => {
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
  const kinds = (removal?: Removal): string[] => {
    const resources = [...compile(objects, removal ? { ...settings, removal } : settings).all()];
    for (const one of resources) {
      if (one.kind !== 'workload' || !removal) continue;
      assert.deepEqual(one.value.policies, []);
      assert.equal(one.value.tunnel, removal === 'open' ? 'hbone' : 'none');
    }
    return resources.map(({ kind }) => kind).sort();
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
  assert.deepEqual(kinds('untunneled'), kinds('open'));
  assert.deepEqual(kinds('release'), ['trust', 'uncaptured', 'workload']);
});

test('golden signals are opted in to by the label of the namespace alone, and an older agent keeps the pod', () => {
  const namespace = (name: string, golden: string): string =>
    `kind: Namespace\nmetadata: { name: ${name}, labels: { weft.dev/mesh: enabled${golden} } }\n---\n`;
  const pod = (name: string, of: string, ip: string): string =>
    `kind: Pod\nmetadata: { name: ${name}, namespace: ${of}, labels: { weft.dev/golden-signals: enabled }, annotations: { weft.dev/golden-signals: enabled } }\nspec: { nodeName: n1 }\nstatus: { podIPs: [{ ip: ${ip} }] }\n---\n`;
  const { objects } = parseManifests(
    'x',
    `${namespace('shop', ', weft.dev/golden-signals: enabled')}${namespace('mistyped', ', weft.dev/golden-signals: "true"')}${namespace('other', '')}` +
      `${pod('a', 'shop', '10.0.0.1')}${pod('b', 'mistyped', '10.0.0.2')}${pod('c', 'other', '10.0.0.3')}`,
  );
  const pods = [...compile(objects, settings).all()].flatMap((one) =>
    one.kind === 'nodePod' ? [one.value] : [],
  );
  assert.deepEqual(
    new Map(pods.map(({ namespace: of, goldenSignals }) => [of, goldenSignals])),
    new Map([
      ['shop', true],
      ['mistyped', false],
      ['other', false],
    ]),
  );
  for (const one of pods) {
    const bytes = encodeNodePod(one);
    const decoded = decodeNodePod(bytes);
    assert.ok(decoded.ok);
    assert.equal(decoded.value.goldenSignals, one.goldenSignals);
    // Field 2000 on: agents that do not know it ignore it, and do not keep the pod waiting.
    const { 2000: _, ...former } = nodePodShape.fields;
    assert.deepEqual(unknownFields(bytes, { ...nodePodShape, fields: former }), []);
  }
});
