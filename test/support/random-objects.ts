/** Random objects of few names and addresses, so that they conflict and depend on each other. */
import { kinds } from '../../control/kinds/kinds.js';
import { enrollingCondition } from '../../control/compile/first-enrollment.js';
import {
  capturedCondition,
  istioKinds,
  smiKinds,
  type BackendRef,
  type MeshObject,
  type ParentRef,
  type TargetRef,
} from '../../control/objects/objects.js';
import { readObject } from '../../control/source/validate.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import { createRoot } from '../../src/tls/issue.js';
import { RandomObjects } from './random-dialect.js';

const root = createRoot(parseTrustDomain('x.test'), 86_400).certPem;
export const pick = <T>(items: readonly T[]): T => items[Math.floor(Math.random() * items.length)] as T;
/** An object of the core, the Gateway API, or Weft. */
export function randomObject(): MeshObject {
  const namespace = pick(['a', 'b']);
  const app = pick(['x', 'y']);
  const name = pick(['o1', 'o2', 'o3']);
  const creationTimestamp = pick(['2026-01-01T00:00:00Z', '2026-01-02T00:00:00Z']);
  // Few names and addresses, so that objects conflict.
  const contested = (): string => pick(['10.0.0.1', '10.0.0.2', '10.96.0.1', '10.2.0.1', '10.3.0.1']);
  const labels: Record<string, string> = {
    ...pick([{}, { 'weft.dev/mesh': 'enabled' }, { 'weft.dev/mode': 'strict' }]),
    ...pick([{}, {}, { 'weft.dev/waypoint': pick(['o1', 'o2', 'none']) }]),
    ...pick([{}, {}, { 'weft.dev/policy-mode': pick(['audit', 'enforce']) }]),
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
      'AuthenticationPolicy',
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
    case 'AuthenticationPolicy': {
      const issuer = { issuer: app, jwks: { uri: 'https://id.example/keys' } };
      return {
        kind: 'AuthenticationPolicy',
        metadata: { name, namespace, creationTimestamp },
        spec: {
          targetRefs: pick([[target()], [target(), target()]]),
          jwt: { issuers: [issuer], ...pick([{}, { required: false }, { dryRun: true }]) },
        },
        ...pick([{}, {}, {}, { invalid: 'x', closesNamespace: true as const }]),
      };
    }
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
        spec: {
          mode: pick(['strict', 'permissive'] as const),
          policyMode: pick(['enforce', 'audit'] as const),
        },
      };
  }
}

const dialects = new RandomObjects((below) => Math.floor(Math.random() * below), 15);

/** An object of another mesh's API, as it is in force: as written, or in its closed form. */
export function randomDialectObject(): MeshObject {
  const namespace = pick(['a', 'a', 'b', 'b', 'weft-system']);
  const kind = pick(istioKinds);
  const raw = dialects.object(kind, namespace, pick(['o1', 'o2', 'o3']));
  const host = (): string =>
    pick([
      'o1',
      'o2',
      'o1.a.svc.cluster.local',
      'o2.b.svc.cluster.local',
      '*.a.svc.cluster.local',
      'x.example.com',
    ]);
  const selector = { matchLabels: { app: pick(['x', 'y']) } };
  const spec = { ...(raw as unknown as { readonly spec: Record<string, unknown> }).spec };
  if (kind === 'DestinationRule') {
    spec['host'] = host();
    spec['subsets'] = pick([
      [],
      [{ name: 'v1', labels: { app: 'x' } }],
      [{ name: 'v1', labels: { app: 'y' } }, { name: 'v2' }],
    ]);
  }
  if (kind === 'VirtualService') {
    spec['hosts'] = pick([[host()], [host(), host()]]);
    const destination = (): object => ({ host: host(), ...pick([{}, { subset: pick(['v1', 'v2']) }]) });
    spec['http'] = pick([
      [{ route: [{ destination: destination() }] }],
      [
        { match: [{ uri: { prefix: '/a' } }], route: [{ destination: destination() }] },
        { route: [{ destination: destination() }] },
      ],
      [
        {
          match: [{ uri: { prefix: '/a' } }],
          delegate: { name: pick(['o1', 'o2']), ...pick([{}, { namespace: pick(['a', 'b']) }]) },
        },
      ],
    ]);
  }
  if (
    ['AuthorizationPolicy', 'PeerAuthentication', 'RequestAuthentication', 'Sidecar'].includes(kind) &&
    Math.random() < 0.7
  ) {
    delete spec['workloadSelector'];
    delete spec['targetRef'];
    delete spec['targetRefs'];
    spec[kind === 'Sidecar' ? 'workloadSelector' : 'selector'] =
      kind === 'Sidecar' ? { labels: selector.matchLabels } : selector;
  }
  const picked = kinds[kind].pickFields({ ...raw, spec });
  const taken = picked && readObject(picked).object;
  if (!taken) throw new Error(`nothing is in force of ${JSON.stringify(raw)}`);
  return taken;
}

/** An object of SMI, as it is in force. */
export function randomSmiObject(): MeshObject {
  const kind = pick(smiKinds);
  const name = (): string => pick(['o1', 'o2', 'o3']);
  const { group, versions } = kinds[kind].address;
  const subject = (): object => ({
    kind: pick(['ServiceAccount', 'ServiceAccount', 'Group']),
    name: pick(['x', 'y']),
    ...pick([{}, {}, { namespace: pick(['a', 'b']) }]),
  });
  const specs: Readonly<Record<(typeof smiKinds)[number], () => object>> = {
    TrafficSplit: () => ({
      service: pick([name(), name(), 'o1.b.svc.cluster.local']),
      ...pick([{}, { matches: [{ kind: 'HTTPRouteGroup', name: name() }] }]),
      backends: [
        { service: name(), weight: 1 },
        ...pick([[], [{ service: name(), weight: pick([1, 0, 'x']) }]]),
      ],
    }),
    HTTPRouteGroup: () => ({ matches: [{ name: 'm', pathRegex: pick(['/a', '.*', '(']) }] }),
    SmiTCPRoute: () => ({ matches: { ports: pick([[], [80], [81]]) } }),
    SmiUDPRoute: () => ({}),
    TrafficTarget: () => ({
      destination: subject(),
      rules: pick([
        [{ kind: 'TCPRoute', name: name() }],
        [{ kind: 'HTTPRouteGroup', name: name(), ...pick([{}, { matches: ['m'] }]) }],
        [
          { kind: 'TCPRoute', name: name() },
          { kind: 'HTTPRouteGroup', name: name() },
        ],
      ]),
      sources: [subject()],
    }),
  };
  const picked = kinds[kind].pickFields({
    apiVersion: `${group}/${pick(versions)}`,
    metadata: {
      name: name(),
      namespace: pick(['a', 'b']),
      creationTimestamp: pick(['2026-01-01T00:00:00Z', '2026-01-02T00:00:00Z']),
    },
    spec: specs[kind](),
  });
  const taken = picked && readObject(picked).object;
  if (!taken) throw new Error('nothing is in force');
  return taken;
}
