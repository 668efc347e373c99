/** Row 1 of docs/security.md: waypoints, special names, status and labels that an admin of namespace `evil` writes affect only `evil`. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stringify } from 'yaml';
import type { Compiler } from '../../control/compile/compile.js';
import { routeKinds, type MeshObject, type PodObject } from '../../control/objects/objects.js';
import { compilePod } from '../../control/compile/pod.js';
import { gatewayStatus } from '../../control/status/gateway.js';
import { routeStatus } from '../../control/status/route.js';
import { serviceStatus } from '../../control/status/service.js';
import { statusPathOf } from '../../control/status/write.js';
import { accountOfReview, callerOf } from '../../control/authentication/token-review.js';
import { waypointDefaults } from '../../control/waypoint/defaults.js';
import { parametersOf, renderWaypoint } from '../../control/waypoint/render.js';
import { planOutbound } from '../../src/path/choose-path.js';
import type { ServiceKey } from '../../src/model/workload.js';
import { identitiesOf, resolveWaypoint } from '../../src/state/resolve.js';
import { domain, identity as id } from '../support/mesh.js';
import { podWrite, writeOf } from '../support/status-writes.js';
import {
  asRead,
  at,
  compiled,
  gatewayObject,
  namespaceObject,
  nodePodOf,
  podObject,
  runningWaypoint,
  serviceObject,
  viewOf,
  waypointPodObject,
} from './support/compiled.js';

const infra = (from?: string) =>
  runningWaypoint('infra', 'wp', { service: '10.96.1.1', pod: '10.0.1.1' }, from);
const agents = 'system:serviceaccount:weft-system:weft-agent';
const account = (namespace: string, name: string): string => `system:serviceaccount:${namespace}:${name}`;
const every = (compiler: Compiler): string =>
  JSON.stringify([...compiler.all()], (_key, value: unknown) => (value instanceof Map ? [...value] : value));

test("a pod of another namespace with a waypoint's labels and service account gets no requests of that waypoint and is not trusted as it", () => {
  const objects = [
    namespaceObject('evil'),
    namespaceObject('shop'),
    ...infra('All'),
    // The same name, label and service account; only the namespace differs.
    waypointPodObject('evil', 'wp', '10.0.6.6'),
    serviceObject('evil', 'wp', '10.96.6.6', {
      selector: { 'gateway.networking.k8s.io/gateway-name': 'wp' },
      port: 15008,
    }),
    podObject('shop', 'web', '10.0.2.1'),
    podObject('shop', 'api', '10.0.2.2', { node: 'n2' }),
    serviceObject('shop', 'api', '10.96.2.2', {
      labels: { 'weft.dev/waypoint': 'wp', 'weft.dev/waypoint-namespace': 'infra' },
    }),
  ];
  const compiler = compiled(...objects);
  const view = viewOf(compiler);
  const waypoint = view.service('shop/api.shop.svc.cluster.local' as ServiceKey)?.waypoint;
  assert.ok(waypoint);
  assert.deepEqual([...new Set(identitiesOf(view, waypoint))], [id('infra', 'wp')]);
  for (const random of [0, 0.5, 0.999])
    assert.equal(resolveWaypoint(view, waypoint, random)?.address.ip, '10.0.1.1');
  const plan = planOutbound(view, {
    source: nodePodOf(compiler, 'shop', 'web'),
    sourceIp: at('10.0.2.1', 0).ip,
    dialed: at('10.96.2.2', 80),
    node: 'n1',
    locality: () => 'elsewhere',
    random: 0.9,
  });
  assert.ok(plan.kind === 'hbone');
  assert.deepEqual([plan.next.ip, plan.expected], ['10.0.1.1', [id('infra', 'wp')]]);
});

test('a Gateway or service account with a special name is not taken for an agent, a node or a member of another namespace', () => {
  const special = ['weft-agent', 'weft-control', 'n1', 'default', 'teller'];
  const compiler = compiled(
    ...special.map((name) => gatewayObject('evil', name)),
    podObject('bank', 'teller', '10.0.3.1', { node: 'n1' }),
  );
  const isWaypoint = (name: Parameters<Compiler['isWaypoint']>[0]): boolean => compiler.isWaypoint(name);
  for (const name of special) {
    const caller = callerOf({ account: account('evil', name), node: 'n1' }, agents, isWaypoint);
    assert.equal(caller, `waypoint:evil/${name}`);
    assert.equal(compiler.mayRequestCertificate(caller, id('evil', name)), true);
    for (const other of [id('bank', 'teller'), id('weft-system', name), id('bank', name)])
      assert.equal(compiler.mayRequestCertificate(caller, other), false, `${caller} ${other}`);
  }
  // Whatever the service account of a token is called.
  for (const forged of [
    account('evil', 'unknown'),
    `${agents}:x`,
    'system:serviceaccount:weft-system',
    'system:serviceaccount:evil/weft-system:weft-agent',
    'system:node:n1',
    'weft-agent',
    account('', 'weft-agent'),
  ])
    assert.equal(callerOf({ account: forged, node: 'n1' }, agents, isWaypoint), undefined, forged);
});

test('a token that is not bound to a running pod, not for Weft or not for one node gets nothing', () => {
  const review = (status: object) => accountOfReview({ status });
  const user = {
    username: account('evil', 'wp'),
    extra: {
      'authentication.kubernetes.io/node-name': ['n1'],
      'authentication.kubernetes.io/pod-uid': ['u'],
    },
  };
  const good = { authenticated: true, audiences: ['istio-ca'], user };
  assert.deepEqual(review(good), { account: account('evil', 'wp'), node: 'n1' });
  const without = (key: string) => ({
    ...good,
    user: {
      ...user,
      extra: Object.fromEntries(Object.entries(user.extra).filter(([name]) => !name.endsWith(key))),
    },
  });
  for (const [what, status] of Object.entries({
    'the pod is gone': { ...good, authenticated: false },
    'no word of it': {},
    'for the API server': { ...good, audiences: ['https://kubernetes.default.svc'] },
    'for nobody': { ...good, audiences: undefined },
    'of a Secret, or made by hand': without('pod-uid'),
    'of no node': without('node-name'),
    'of two nodes': {
      ...good,
      user: { ...user, extra: { ...user.extra, 'authentication.kubernetes.io/node-name': ['n1', 'n2'] } },
    },
    'of two pods': {
      ...good,
      user: { ...user, extra: { ...user.extra, 'authentication.kubernetes.io/pod-uid': ['u', 'v'] } },
    },
    'of nobody': { ...good, user: { extra: user.extra } },
  }))
    assert.equal(review(status), undefined, what);
});

test("a Gateway's parameters are read from its own namespace, and a name that refers to another namespace is refused", () => {
  const named = (name: string, kind = 'ConfigMap') =>
    parametersOf({
      kind: 'Gateway',
      metadata: { name: 'wp', namespace: 'evil' },
      spec: {
        gatewayClassName: 'weft-waypoint',
        infrastructure: { parametersRef: { group: '', kind, name } },
      },
    });
  assert.deepEqual(named('params.v1'), { configMap: 'params.v1' });
  for (const name of [
    '../../weft-system/secrets/weft-ca',
    '..',
    'a/../../x',
    'a?watch=true',
    'a#',
    'a%2f..',
    '',
    'A',
    'a..b',
    'a'.repeat(254),
  ])
    assert.equal(typeof named(name), 'string', name);
  assert.equal(typeof named('x', 'Secret'), 'string');
});

test('a ConfigMap cannot make a pod that the mesh trusts run code of its author', () => {
  const render = (deployment: object) =>
    renderWaypoint(
      {
        kind: 'Gateway',
        metadata: { name: 'wp', namespace: 'evil', uid: 'u' },
        spec: { gatewayClassName: 'weft-waypoint' },
      },
      {
        ...waypointDefaults('{"image":"weft:1"}'),
        control: 'c:1',
        trustDomain: 'cluster.local',
        rootNamespace: 'weft-system',
        rootsConfigMap: 'roots',
      },
      { deployment: stringify({ spec: { template: { spec: deployment } } }) },
    );
  assert.ok(render({ nodeSelector: { a: 'b' } }).ok);
  for (const deployment of [
    { containers: [{ name: 'waypoint', image: 'evil' }] },
    { containers: [{ name: 'waypoint', env: [{ name: 'NODE_OPTIONS', value: '--import=/x' }] }] },
    { containers: [{ name: 'beside', image: 'evil' }] },
    { volumes: [{ name: 'x', hostPath: { path: '/' } }] },
    { hostNetwork: true },
    { serviceAccountName: 'teller' },
  ])
    assert.ok(!render(deployment).ok, JSON.stringify(deployment));
});

test("status that tenants write changes nothing in the nodes' configuration", () => {
  const objects = (forged: boolean): (MeshObject | undefined)[] => {
    const status = (value: object): { status?: object } => (forged ? { status: value } : {});
    const condition = (type: string) => ({ type, status: 'True', reason: 'Forged', message: 'x' });
    return [
      namespaceObject('evil'),
      ...infra(),
      asRead('Gateway', {
        metadata: { name: 'mine', namespace: 'evil' },
        spec: { gatewayClassName: 'weft-waypoint', addresses: [{ type: 'IPAddress', value: '10.96.2.2' }] },
        ...status({
          addresses: [{ type: 'IPAddress', value: '10.96.2.2' }],
          conditions: [condition('Accepted'), condition('Programmed')],
        }),
      }),
      asRead('Service', {
        metadata: {
          name: 'api',
          namespace: 'evil',
          labels: { 'weft.dev/waypoint': 'wp', 'weft.dev/waypoint-namespace': 'infra' },
        },
        spec: { clusterIP: '10.96.6.1', selector: { app: 'api' }, ports: [{ port: 80 }] },
        ...status({
          loadBalancer: { ingress: [{ ip: '10.96.2.2' }] },
          conditions: [condition('weft.dev/WaypointBound')],
        }),
      }),
      asRead('Pod', {
        metadata: { name: 'api', namespace: 'evil', uid: 'u', labels: { app: 'api' } },
        spec: { nodeName: 'n1', serviceAccountName: 'api' },
        status: {
          podIPs: [{ ip: '10.0.6.1' }],
          ...(forged ? { conditions: [condition('weft.dev/captured')] } : {}),
        },
      }),
      asRead('AccessPolicy', {
        metadata: { name: 'p', namespace: 'evil' },
        spec: { action: 'DENY', rules: [{ from: [{ namespaces: ['x'] }] }] },
        ...status({ conditions: [condition('Accepted'), condition('weft.dev/Enforced')] }),
      }),
    ];
  };
  assert.equal(every(compiled(...objects(true))), every(compiled(...objects(false))));
});

test("a condition that a tenant forged on its pod is corrected from the node's report", () => {
  const pod = (status: string): PodObject => ({
    kind: 'Pod',
    metadata: { name: 'api', namespace: 'evil', uid: 'u' },
    spec: { nodeName: 'n1' },
    status: {
      conditions: [
        { type: 'weft.dev/captured', status, reason: 'Captured', message: 'by the agent of node n1' },
      ],
    },
  });
  const said = (write: ReturnType<typeof podWrite>): unknown =>
    (write?.body as { status: { conditions: { status: string }[] } } | undefined)?.status.conditions[0]
      ?.status;
  assert.equal(said(podWrite(pod('True'), { captured: false, sinceMs: 0, why: 'x' })), 'False');
  assert.equal(said(podWrite(pod('True'), undefined)), 'False');
  assert.equal(said(podWrite(pod('False'), { captured: true, sinceMs: 0, why: '' })), 'True');
});

test('externalIPs, load balancer addresses and external names are not addresses of a Service', () => {
  const read = asRead('Service', {
    metadata: { name: 'x', namespace: 'evil' },
    spec: {
      type: 'LoadBalancer',
      clusterIP: '10.96.6.1',
      clusterIPs: ['10.96.6.1'],
      externalIPs: ['10.0.2.2', '10.96.2.2'],
      loadBalancerIP: '10.96.2.2',
      externalName: 'api.bank.svc.cluster.local',
      ports: [{ port: 80 }],
    },
    status: { loadBalancer: { ingress: [{ ip: '10.96.2.2' }] } },
  });
  const view = viewOf(compiled(read));
  assert.equal(view.serviceByAddress(at('10.96.6.1', 0).ip, 'evil')?.key, 'evil/x.evil.svc.cluster.local');
  for (const ip of ['10.0.2.2', '10.96.2.2'])
    assert.equal(view.serviceByAddress(at(ip, 0).ip, 'evil'), undefined, ip);
  assert.equal(
    asRead('Service', {
      metadata: { name: 'y', namespace: 'evil' },
      spec: { type: 'ExternalName', externalName: 'api.bank.svc.cluster.local', externalIPs: ['10.96.2.2'] },
    }),
    undefined,
  );
});

test("the status of a tenant's objects is written only to these objects, whatever names they contain", () => {
  const service = serviceObject('evil', 'x', '10.96.6.1', {
    labels: { 'weft.dev/waypoint': 'wp', 'weft.dev/waypoint-namespace': 'infra' },
  });
  const gateway = gatewayObject('evil', 'api', 'All');
  const route: MeshObject = {
    kind: 'HTTPRoute',
    metadata: { name: 'r', namespace: 'evil' },
    spec: {
      parentRefs: [{ group: '', kind: 'Service', namespace: 'bank', name: 'api' }],
      rules: [{ backendRefs: [{ namespace: 'bank', name: 'api', port: 80 }] }],
    },
  };
  const compiler = compiled(...infra(), serviceObject('bank', 'api', '10.96.3.1'), service, gateway, route);
  assert.ok(service.kind === 'Service' && gateway.kind === 'Gateway');
  const writes = [
    writeOf(serviceStatus, service, compiler),
    writeOf(gatewayStatus, gateway, compiler),
    writeOf(routeStatus, route, compiler),
    podWrite(podObject('evil', 'p', '10.0.6.1') as PodObject, { captured: true, sinceMs: 0, why: '' }),
  ];
  for (const write of writes) {
    assert.match(write?.path ?? '', /\/namespaces\/evil\/[a-z]+\/[a-z]+\/status$/);
    assert.equal((write?.body as { metadata: { namespace: string } }).metadata.namespace, 'evil');
  }
  // A name that no API server accepts does not lead to another object.
  const kinds = [
    'Pod',
    'Service',
    'AccessPolicy',
    'ExternalService',
    'Workload',
    'Gateway',
    ...routeKinds,
  ] as const;
  for (const kind of kinds) {
    const path = statusPathOf({
      kind,
      metadata: { name: '../../../bank/pods/teller', namespace: '../bank' },
    } as MeshObject);
    assert.ok(path !== undefined && !path.includes('..%2F..%2F..%2Fbank/') && !path.includes('/../'), path);
    assert.equal(path.split('/').at(-1), 'status');
  }
});

test('a pod labeled as a waypoint without a Gateway is not a waypoint for another namespace', () => {
  // Its own namespace may name it; Services of another namespace that name it are closed.
  const objects = [
    namespaceObject('evil'),
    namespaceObject('bank'),
    waypointPodObject('evil', 'wp', '10.0.6.6'),
    podObject('bank', 'api', '10.0.3.1'),
    serviceObject('bank', 'api', '10.96.3.1', {
      labels: { 'weft.dev/waypoint': 'wp', 'weft.dev/waypoint-namespace': 'evil' },
    }),
  ];
  const view = viewOf(compiled(...objects));
  const waypoint = view.service('bank/api.bank.svc.cluster.local' as ServiceKey)?.waypoint;
  assert.ok(waypoint);
  assert.deepEqual(identitiesOf(view, waypoint), []);
  // The pod is not enrolled (any pod may opt out by a label), and has only its own identity.
  const pod = objects[2] as PodObject;
  const held = compilePod(pod, {
    trustDomain: domain,
    rootsVersion: '1',
    open: false,
    untunneled: false,
    enrollNone: false,
    mesh: {},
    namespace: undefined,
    node: undefined,
    kind: 'Pod',
    isWaypoint: true,
    services: [],
    policies: [],
    rulesOf: () => undefined,
  });
  assert.equal(held?.identity, id('evil', 'wp'));
});
