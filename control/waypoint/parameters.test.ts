import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stringify } from 'yaml';
import type { GatewayObject } from '../objects/objects.js';
import { waypointDefaults } from './defaults.js';
import type { JsonObject } from './overlay.js';
import { parametersCharsMax, replicasMax } from './parameters.js';
import { renderWaypoint, type Rendering } from './render.js';

const settings = {
  ...waypointDefaults('{"image":"weft:1"}'),
  control: 'weft-control.weft-system.svc:15012',
  trustDomain: 'cluster.local',
  rootNamespace: 'weft-system',
  rootsConfigMap: 'weft-ca-root-cert',
};
type Infrastructure = NonNullable<GatewayObject['spec']['infrastructure']>;
const render = (parameters: Record<string, string>, infrastructure?: Infrastructure): Rendering =>
  renderWaypoint(
    {
      kind: 'Gateway',
      metadata: { name: 'wp', namespace: 'shop', uid: 'u1' },
      spec: {
        gatewayClassName: 'weft-waypoint',
        infrastructure: { parametersRef: { group: '', kind: 'ConfigMap', name: 'cm' }, ...infrastructure },
      },
    },
    settings,
    parameters,
  );
const refusal = (parameters: Record<string, string>): string => {
  const rendering = render(parameters);
  assert.ok(!rendering.ok, `taken: ${JSON.stringify(parameters)}`);
  assert.equal(rendering.reason, 'InvalidParameters');
  return rendering.message;
};
const podSpec = (spec: object): string => stringify({ spec: { template: { spec } } });
const container = (fields: object): string => podSpec({ containers: [{ name: 'waypoint', ...fields }] });

test("parameters cannot change a waypoint's code, account or rights: the message names the field and nothing is rendered", () => {
  const refused: readonly (readonly [field: string, deployment: string])[] = [
    ['containers.0.image', container({ image: 'evil' })],
    ['containers.0.command', container({ command: ['sh'] })],
    ['containers.0.args', container({ args: ['--root=/x'] })],
    ['containers.0.securityContext', container({ securityContext: { privileged: true } })],
    ['containers.0.volumeMounts', container({ volumeMounts: [{ name: 'x', mountPath: '/weft' }] })],
    ['containers.0.envFrom', container({ envFrom: [{ secretRef: { name: 'x' } }] })],
    ['containers.0.ports', container({ ports: [{ containerPort: 15008, hostPort: 15008 }] })],
    ['containers.0.lifecycle', container({ lifecycle: { postStart: { exec: { command: ['sh'] } } } })],
    ['containers.0.readinessProbe', container({ readinessProbe: null })],
    ['containers.0.imagePullPolicy', container({ imagePullPolicy: 'Never' })],
    ['containers.0.workingDir', container({ workingDir: '/tmp' })],
    ['containers.0.resources.claims', container({ resources: { claims: [{ name: 'gpu' }] } })],
    [
      'containers.0.resources.limits.nvidia.com/gpu',
      container({ resources: { limits: { 'nvidia.com/gpu': 1 } } }),
    ],
    ['containers.0.name', podSpec({ containers: [{ name: 'beside' }] })],
    ['containers.0.$patch', container({ $patch: 'delete' })],
    ['containers.0 must have', podSpec({ containers: [{ $patch: 'replace' }] })],
    ['containers', podSpec({ containers: null })],
    ['initContainers', podSpec({ initContainers: [{ name: 'x', image: 'evil' }] })],
    ['ephemeralContainers', podSpec({ ephemeralContainers: [] })],
    ['volumes', podSpec({ volumes: [{ name: 'host', hostPath: { path: '/' } }] })],
    ['volumes', podSpec({ volumes: null })],
    ['hostNetwork', podSpec({ hostNetwork: true })],
    ['hostPID', podSpec({ hostPID: true })],
    ['hostIPC', podSpec({ hostIPC: true })],
    ['hostUsers', podSpec({ hostUsers: true })],
    ['shareProcessNamespace', podSpec({ shareProcessNamespace: true })],
    ['securityContext', podSpec({ securityContext: null })],
    ['serviceAccountName', podSpec({ serviceAccountName: 'bank' })],
    ['serviceAccount', podSpec({ serviceAccount: 'bank' })],
    ['automountServiceAccountToken', podSpec({ automountServiceAccountToken: true })],
    ['dnsConfig', podSpec({ dnsConfig: { nameservers: ['10.0.0.66'] } })],
    ['dnsPolicy', podSpec({ dnsPolicy: 'None' })],
    [
      'hostAliases',
      podSpec({ hostAliases: [{ ip: '10.0.0.66', hostnames: ['weft-control.weft-system.svc'] }] }),
    ],
    ['hostname', podSpec({ hostname: 'x' })],
    ['runtimeClassName', podSpec({ runtimeClassName: 'x' })],
    ['schedulerName', podSpec({ schedulerName: 'x' })],
    ['nodeName', podSpec({ nodeName: 'n1' })],
    ['imagePullSecrets', podSpec({ imagePullSecrets: [{ name: 'x' }] })],
    ['enableServiceLinks', podSpec({ enableServiceLinks: true })],
    ['terminationGracePeriodSeconds', podSpec({ terminationGracePeriodSeconds: 0 })],
    ['priorityClassName', podSpec({ priorityClassName: 'system-node-critical' })],
    ['spec.template.spec.$patch', podSpec({ $patch: 'replace' })],
    ['spec.selector', 'spec: { selector: { matchLabels: { app: bank } } }'],
    ['spec.template.metadata.name', 'spec: { template: { metadata: { name: x } } }'],
    ['metadata.name', 'metadata: { name: other }'],
    ['metadata.namespace', 'metadata: { namespace: kube-system }'],
    ['metadata.ownerReferences', 'metadata: { ownerReferences: [] }'],
    ['metadata.finalizers', 'metadata: { finalizers: [x] }'],
    ['kind', 'kind: Secret'],
    ['apiVersion', 'apiVersion: v1'],
    ['status', 'status: {}'],
    ['spec.template', 'spec: { template: null }'],
    ['spec', 'spec: null'],
    ['$patch', '$patch: replace'],
    ['__proto__', '{ "__proto__": { "spec": 1 } }'],
  ];
  for (const [field, deployment] of refused) {
    const message = refusal({ deployment });
    assert.ok(message.includes(`deployment: `) && message.includes(field), `${field}: ${message}`);
  }
});

test('environment: only allowed variables, none that changes code, tokens or trust', () => {
  const env = (name: string, more: object = { value: 'x' }): string =>
    container({ env: [{ name, ...more }] });
  for (const name of [
    'NODE_OPTIONS',
    'NODE_EXTRA_CA_CERTS',
    'NODE_TLS_REJECT_UNAUTHORIZED',
    'NODE_NAME',
    'LD_PRELOAD',
    'LD_LIBRARY_PATH',
    'PATH',
    'SSLKEYLOGFILE',
    'OPENSSL_CONF',
    'HTTPS_PROXY',
    'grpc_proxy',
    'KUBERNETES_SERVICE_HOST',
    'A',
  ])
    assert.match(refusal({ deployment: env(name) }), /env\.0\.name/, name);
  assert.match(
    refusal({ deployment: env('TZ', { valueFrom: { secretKeyRef: { name: 'x', key: 'y' } } }) }),
    /env\.0 must have required property 'value'/,
  );
  assert.match(
    refusal({ deployment: env('TZ', { value: 'x', valueFrom: { fieldRef: { fieldPath: 'x' } } }) }),
    /env\.0\.valueFrom may not be set/,
  );
  const rendering = render({ deployment: env('UV_THREADPOOL_SIZE', { value: '8' }) });
  assert.ok(rendering.ok);
  assert.match(JSON.stringify(rendering.objects), /"NODE_NAME".*"UV_THREADPOOL_SIZE","value":"8"/);
});

test('Service, ServiceAccount and autoscaler accept only balancing fields, labels and bounds', () => {
  for (const [field, service] of [
    ['spec.externalIPs', 'spec: { externalIPs: [10.0.0.66] }'],
    ['spec.type', 'spec: { type: LoadBalancer }'],
    ['spec.type', 'spec: { type: ExternalName, externalName: evil }'],
    ['spec.clusterIP', 'spec: { clusterIP: 10.96.0.10 }'],
    ['spec.ports', 'spec: { ports: [{ port: 1 }] }'],
    ['spec.selector', 'spec: { selector: { app: bank } }'],
    ['spec.loadBalancerIP', 'spec: { loadBalancerIP: 10.0.0.1 }'],
    ['spec.publishNotReadyAddresses', 'spec: { publishNotReadyAddresses: true }'],
  ] as const)
    assert.ok(refusal({ service }).includes(field), field);
  assert.match(refusal({ serviceAccount: 'secrets: [{ name: x }]' }), /serviceAccount: secrets/);
  assert.match(
    refusal({ serviceAccount: 'automountServiceAccountToken: true' }),
    /automountServiceAccountToken/,
  );
  assert.match(
    refusal({ horizontalPodAutoscaler: 'spec: { scaleTargetRef: { kind: StatefulSet, name: bank } }' }),
    /spec\.scaleTargetRef/,
  );
});

test('bounds: replicas, and the size of the ConfigMap', () => {
  assert.match(refusal({ deployment: `spec: { replicas: ${replicasMax + 1} }` }), /spec\.replicas/);
  assert.match(refusal({ deployment: 'spec: { replicas: -1 }' }), /spec\.replicas/);
  assert.match(
    refusal({ horizontalPodAutoscaler: `spec: { maxReplicas: ${replicasMax + 1} }` }),
    /spec\.maxReplicas/,
  );
  assert.match(refusal({ deployment: `# ${'x'.repeat(parametersCharsMax)}` }), /more than 8192 characters/);
  // Neither nesting nor aliases cost more than the text itself.
  assert.match(refusal({ deployment: '['.repeat(8_000) }), /deployment/);
  const bomb = [
    'a: &a [x]',
    ...'bcdefghij'.split('').map((n) => {
      const before = String.fromCharCode(n.charCodeAt(0) - 1);
      return `${n}: &${n} [${Array(10).fill(`*${before}`).join(', ')}]`;
    }),
  ].join('\n');
  assert.match(refusal({ deployment: bomb }), /deployment/);
});

test('a message about parameters quotes none of their text: readers of a Gateway may have no right to read its ConfigMap', () => {
  for (const deployment of [
    'spec: { password: hunter2',
    '"hunter2',
    'spec: { template: { spec: { containers: [{ name: hunter2 }] } } }',
    'hunter2',
    'spec: { replicas: hunter2 }',
  ])
    assert.doesNotMatch(refusal({ deployment }), /hunter2/, deployment);
});

test('labels and annotations: keys without a prefix and allowed prefixes only, none that a mesh, a CNI or an injector acts on', () => {
  const refused = [
    'weft.dev/mesh',
    'weft.dev/mode',
    'weft.dev/netns',
    'x.weft.dev/y',
    'istio.io/dataplane-mode',
    'sidecar.istio.io/inject',
    'gateway.networking.k8s.io/gateway-name',
    'k8s.v1.cni.cncf.io/networks',
    'instrumentation.opentelemetry.io/inject-nodejs',
    'vault.hashicorp.com/agent-inject',
    'container.apparmor.security.beta.kubernetes.io/waypoint',
    'linkerd.io/inject',
    'azure.workload.identity/use',
    'eks.amazonaws.com/role-arn',
    'aadpodidbinding',
  ];
  const metadataOf = (key: string, value: string): string[] => [
    stringify({ metadata: { labels: { [key]: value } } }),
    stringify({ metadata: { annotations: { [key]: value } } }),
    stringify({ spec: { template: { metadata: { labels: { [key]: value } } } } }),
    stringify({ spec: { template: { metadata: { annotations: { [key]: value } } } } }),
  ];
  for (const key of refused) {
    for (const deployment of metadataOf(key, 'x')) assert.ok(refusal({ deployment }).includes(key), key);
    for (const field of ['labels', 'annotations'] as const) {
      const rendering = render({}, { [field]: { [key]: 'x' } });
      assert.ok(!rendering.ok, `${field} ${key}`);
      assert.equal(rendering.reason, 'InvalidParameters');
      assert.ok(rendering.message.includes(`spec.infrastructure.${field}`), rendering.message);
      assert.ok(rendering.message.includes(key), rendering.message);
    }
  }
  for (const key of ['team', 'cost-center', 'app.kubernetes.io/version', 'prometheus.io/scrape']) {
    for (const deployment of metadataOf(key, 'x')) assert.ok(render({ deployment }).ok, key);
    assert.ok(render({}, { labels: { [key]: 'x' }, annotations: { [key]: 'x' } }).ok, key);
  }
});

test('allowed fields are rendered: size, placement, replicas, balancing', () => {
  const rendering = render({
    deployment: stringify({
      metadata: { labels: { team: 'a' } },
      spec: {
        replicas: 3,
        minReadySeconds: 5,
        revisionHistoryLimit: 2,
        progressDeadlineSeconds: 120,
        strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: '50%', maxUnavailable: 1 } },
        template: {
          metadata: { annotations: { 'cluster-autoscaler.kubernetes.io/safe-to-evict': 'true' } },
          spec: {
            priorityClassName: 'high',
            nodeSelector: { pool: 'edge' },
            tolerations: [{ key: 'edge', operator: 'Exists', effect: 'NoSchedule' }],
            affinity: { nodeAffinity: {}, podAntiAffinity: {} },
            topologySpreadConstraints: [{ topologyKey: 'topology.kubernetes.io/zone', $patch: 'delete' }],
            containers: [
              {
                name: 'waypoint',
                resources: { requests: { cpu: '1', memory: '1Gi' }, limits: { memory: '2Gi', cpu: null } },
              },
            ],
          },
        },
      },
    }),
    service: stringify({
      metadata: { annotations: { note: 'x' } },
      spec: {
        trafficDistribution: 'PreferSameZone',
        internalTrafficPolicy: 'Cluster',
        ipFamilyPolicy: 'SingleStack',
      },
    }),
    horizontalPodAutoscaler: stringify({
      spec: { minReplicas: 2, maxReplicas: 20, behavior: { scaleDown: { stabilizationWindowSeconds: 60 } } },
    }),
    serviceAccount: 'metadata: { labels: { team: a } }',
  });
  assert.ok(rendering.ok, JSON.stringify(rendering));
  const [account, service, deployment, autoscaler] = rendering.objects.map(({ body }) =>
    JSON.stringify(body),
  );
  assert.match(account ?? '', /"team":"a"/);
  assert.match(service ?? '', /"trafficDistribution":"PreferSameZone"/);
  for (const text of ['"pool":"edge"', '"priorityClassName":"high"', '"memory":"2Gi"', '"maxSurge":"50%"'])
    assert.ok(deployment?.includes(text), text);
  assert.ok(!deployment?.includes('"topologyKey":"topology.kubernetes.io/zone"'));
  assert.match(autoscaler ?? '', /"maxReplicas":20/);
});

test('no overlay changes the image, its arguments, its account or its rights', () => {
  const fixed = (rendering: Rendering): unknown => {
    assert.ok(rendering.ok);
    const body = rendering.objects.find(({ kind }) => kind === 'deployment')?.body as JsonObject;
    const { template } = body['spec'] as { template: { spec: Record<string, unknown> } };
    const { containers, volumes, securityContext, serviceAccountName, automountServiceAccountToken } =
      template.spec;
    const [one, ...others] = containers as Record<string, unknown>[];
    const { resources: _, env: _env, ...rest } = one ?? {};
    return { rest, others, volumes, securityContext, serviceAccountName, automountServiceAccountToken };
  };
  const plain = fixed(render({}));
  for (const deployment of [
    container({ resources: null }),
    'spec: { replicas: null }',
    podSpec({ topologySpreadConstraints: null, nodeSelector: { a: 'b' } }),
  ])
    assert.deepEqual(fixed(render({ deployment })), plain);
});
