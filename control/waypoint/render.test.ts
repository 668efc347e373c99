import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse, stringify } from 'yaml';
import type { SecretName } from '../../src/model/client-certificate.js';
import type { GatewayObject } from '../objects/objects.js';
import { waypointDefaults } from './defaults.js';
import { overlay, type JsonObject } from './overlay.js';
import { parametersOf, renderWaypoint, type RenderedKind, type Rendering } from './render.js';

const settings = {
  ...waypointDefaults('{"image":"weft:1","resources":{"requests":{"cpu":"100m"}}}'),
  control: 'weft-control.weft-system.svc:15012',
  trustDomain: 'cluster.local',
  rootNamespace: 'weft-system',
  rootsConfigMap: 'weft-ca-root-cert',
};
type Infrastructure = NonNullable<GatewayObject['spec']['infrastructure']>;
const gateway = (infrastructure?: Infrastructure, name = 'wp'): GatewayObject => ({
  kind: 'Gateway',
  metadata: { name, namespace: 'shop', uid: 'u1' },
  spec: { gatewayClassName: 'weft-waypoint', ...(infrastructure ? { infrastructure } : {}) },
});
const render = (parameters: Record<string, string> = {}, infrastructure?: Infrastructure): Rendering =>
  renderWaypoint(gateway(infrastructure), settings, parameters);
function bodies(rendering: Rendering): Partial<Record<RenderedKind, JsonObject>> {
  assert.ok(rendering.ok, JSON.stringify(rendering));
  return Object.fromEntries(rendering.objects.map(({ kind, body }) => [kind, body]));
}
/** The value at a path in a body; numbers are list indexes. */
function at(body: JsonObject | undefined, ...path: (string | number)[]): unknown {
  let value: unknown = body;
  for (const key of path) value = (value as Record<string | number, unknown> | undefined)?.[key];
  return value;
}
const pod = ['spec', 'template', 'spec'] as const;
const container = [...pod, 'containers', 0] as const;

const metadata = `
  name: wp
  namespace: shop
  labels: &labels
    gateway.networking.k8s.io/gateway-name: wp
    gateway.networking.k8s.io/gateway-class-name: weft-waypoint
    app.kubernetes.io/name: weft-waypoint
    app.kubernetes.io/instance: wp
    app.kubernetes.io/component: waypoint
    app.kubernetes.io/part-of: weft
    app.kubernetes.io/managed-by: weft-control
  ownerReferences:
    - { apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, name: wp, uid: u1, controller: true, blockOwnerDeletion: false }`;
const golden: Record<string, string> = {
  serviceAccount: `
apiVersion: v1
kind: ServiceAccount
metadata: ${metadata}
automountServiceAccountToken: false
`,
  service: `
apiVersion: v1
kind: Service
metadata: ${metadata}
spec:
  type: ClusterIP
  ipFamilyPolicy: PreferDualStack
  selector: { gateway.networking.k8s.io/gateway-name: wp }
  ports: [{ name: hbone, port: 15008, targetPort: 15008, protocol: TCP }]
`,
  deployment: `
apiVersion: apps/v1
kind: Deployment
metadata: ${metadata}
spec:
  replicas: 2
  strategy: { type: RollingUpdate, rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } }
  selector: { matchLabels: { gateway.networking.k8s.io/gateway-name: wp } }
  template:
    metadata: { labels: *labels }
    spec:
      serviceAccountName: wp
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: 45
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector: { matchLabels: { gateway.networking.k8s.io/gateway-name: wp } }
        - maxSkew: 1
          topologyKey: topology.kubernetes.io/zone
          whenUnsatisfiable: ScheduleAnyway
          labelSelector: { matchLabels: { gateway.networking.k8s.io/gateway-name: wp } }
      securityContext: { runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532, seccompProfile: { type: RuntimeDefault } }
      containers:
        - name: waypoint
          image: weft:1
          imagePullPolicy: IfNotPresent
          command: [node, /weft/dist/src/waypoint/main.js]
          args:
            - --gateway=shop/wp
            - --node=$(NODE_NAME)
            - --control=weft-control.weft-system.svc:15012
            - --root-namespace=weft-system
            - --root=/var/run/weft/root/root-cert.pem
            - --token=/var/run/weft/token/token
            - --trust-domain=cluster.local
            - --workers=2
            - --drain-ms=30000
          env: [{ name: NODE_NAME, valueFrom: { fieldRef: { fieldPath: spec.nodeName } } }]
          ports: [{ name: hbone, containerPort: 15008, protocol: TCP }, { name: metrics, containerPort: 15020, protocol: TCP }]
          readinessProbe: { httpGet: { path: /healthz/ready, port: 15020 }, periodSeconds: 2 }
          terminationMessagePolicy: FallbackToLogsOnError
          resources: { requests: { cpu: 100m } }
          securityContext: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: [ALL] } }
          volumeMounts:
            - { name: root, mountPath: /var/run/weft/root, readOnly: true }
            - { name: token, mountPath: /var/run/weft/token, readOnly: true }
      volumes:
        - { name: root, configMap: { name: weft-ca-root-cert } }
        - name: token
          projected: { sources: [{ serviceAccountToken: { audience: istio-ca, expirationSeconds: 3600, path: token } }] }
`,
};

test('a Gateway renders a ServiceAccount, a Service and a Deployment that it owns, and an autoscaler only if its parameters have one', () => {
  const rendering = render();
  const made = bodies(rendering);
  assert.deepEqual(Object.keys(made), ['serviceAccount', 'service', 'deployment']);
  for (const [kind, text] of Object.entries(golden))
    assert.deepEqual(made[kind as RenderedKind], parse(text), stringify(made[kind as RenderedKind]));
  assert.ok(rendering.ok);
  assert.deepEqual(
    rendering.objects.map(({ path }) => path),
    [
      '/api/v1/namespaces/shop/serviceaccounts/wp',
      '/api/v1/namespaces/shop/services/wp',
      '/apis/apps/v1/namespaces/shop/deployments/wp',
    ],
  );
});

test("labels and annotations of the infrastructure are on all rendered objects and do not override Weft's labels", () => {
  const made = bodies(
    render(
      { horizontalPodAutoscaler: '' },
      {
        labels: { team: 'a', 'app.kubernetes.io/managed-by': 'me' },
        annotations: { note: 'x' },
      },
    ),
  );
  for (const body of [...Object.values(made), at(made.deployment, 'spec', 'template') as JsonObject]) {
    assert.equal(at(body, 'metadata', 'labels', 'team'), 'a');
    assert.equal(at(body, 'metadata', 'labels', 'app.kubernetes.io/managed-by'), 'weft-control');
    assert.deepEqual(at(body, 'metadata', 'annotations'), { note: 'x' });
  }
  assert.deepEqual(at(made.deployment, 'spec', 'selector'), {
    matchLabels: { 'gateway.networking.k8s.io/gateway-name': 'wp' },
  });
});

test('parameters are merged into the rendered objects, containers by name', () => {
  const { deployment, service } = bodies(
    render({
      deployment: `
spec:
  replicas: 5
  template:
    spec:
      priorityClassName: high
      containers:
        - { name: waypoint, resources: { limits: { memory: 2Gi } }, env: [{ name: TZ, value: UTC }] }
      tolerations: [{ operator: Exists }]
      topologySpreadConstraints: [{ topologyKey: topology.kubernetes.io/zone, $patch: delete }]
`,
      service: 'metadata: { annotations: { a: b } }\nspec: { trafficDistribution: PreferSameZone }',
    }),
  );
  assert.equal(at(deployment, 'spec', 'replicas'), 5);
  assert.equal(at(deployment, ...container, 'image'), 'weft:1');
  assert.deepEqual(at(deployment, ...container, 'resources'), {
    requests: { cpu: '100m' },
    limits: { memory: '2Gi' },
  });
  const names = (...path: (string | number)[]): unknown =>
    (at(deployment, ...pod, ...path) as { name: string }[]).map(({ name }) => name);
  assert.deepEqual(names('containers', 0, 'env'), ['NODE_NAME', 'TZ']);
  assert.deepEqual(names('containers'), ['waypoint']);
  assert.deepEqual(names('volumes'), ['root', 'token']);
  assert.equal((at(deployment, ...pod, 'topologySpreadConstraints') as unknown[]).length, 1);
  assert.equal(at(service, 'spec', 'trafficDistribution'), 'PreferSameZone');
});

test('parameters with an autoscaler render one, and the Deployment then has no replicas field', () => {
  const { deployment, horizontalPodAutoscaler: autoscaler } = bodies(
    render({ deployment: 'spec: { replicas: 3 }', horizontalPodAutoscaler: 'spec: { maxReplicas: 4 }' }),
  );
  assert.equal(at(deployment, 'spec', 'replicas'), undefined);
  assert.equal(at(autoscaler, 'spec', 'minReplicas'), 2);
  assert.equal(at(autoscaler, 'spec', 'maxReplicas'), 4);
  assert.equal(at(autoscaler, 'spec', 'scaleTargetRef', 'name'), 'wp');
});

test("labels of parameters do not override Weft's labels, which the mesh and the garbage collection use to find the owner", () => {
  const labels = `{ app.kubernetes.io/managed-by: me, app.kubernetes.io/name: bank, team: a }`;
  const made = bodies(
    render({
      deployment: `{ metadata: { labels: ${labels} }, spec: { template: { metadata: { labels: ${labels} } } } }`,
      service: `metadata: { labels: ${labels} }`,
      serviceAccount: `metadata: { labels: ${labels} }`,
      horizontalPodAutoscaler: `metadata: { labels: ${labels} }`,
    }),
  );
  const plain = bodies(render({ horizontalPodAutoscaler: '' }));
  for (const [kind, body] of [
    ...Object.entries(made),
    ['deployment', at(made.deployment, 'spec', 'template')],
  ] as [RenderedKind, JsonObject][])
    assert.deepEqual(at(body, 'metadata', 'labels'), {
      ...(at(plain[kind], 'metadata', 'labels') as object),
      team: 'a',
    });
  assert.deepEqual(at(made.deployment, 'spec', 'selector'), at(plain.deployment, 'spec', 'selector'));
});

test('unknown or malformed parameters are refused, and the message names the key', () => {
  const refused = (parameters: Record<string, string>): string => {
    const rendering = renderWaypoint(
      gateway({ parametersRef: { group: '', kind: 'ConfigMap', name: 'cm' } }),
      settings,
      parameters,
    );
    assert.ok(!rendering.ok);
    assert.equal(rendering.reason, 'InvalidParameters');
    return rendering.message;
  };
  assert.match(refused({ Deployment: '{}' }), /ConfigMap shop\/cm: Deployment is not one of serviceAccount,/);
  assert.match(refused({ deployment: 'a: [' }), /shop\/cm: deployment: it is not valid YAML/);
  assert.match(refused({ service: '- a' }), /service is not a YAML object/);
  const of = (kind: string, group: string): unknown =>
    parametersOf(gateway({ parametersRef: { group, kind, name: 'cm' } }));
  assert.deepEqual(of('ConfigMap', ''), { configMap: 'cm' });
  assert.match(String(of('Secret', '')), /must be a ConfigMap/);
  assert.equal(parametersOf(gateway()), undefined);
});

test('a Gateway whose name is invalid for a Service is not rendered', () => {
  for (const name of ['a.b', '1a', 'x'.repeat(64)]) {
    const rendering = renderWaypoint(gateway(undefined, name), settings);
    assert.ok(!rendering.ok && rendering.reason === 'Invalid', name);
  }
});

test('an overlay replaces lists without merge keys and removes fields that are null', () => {
  const base = { a: [1, 2], b: { c: 1, d: 2 }, ports: [{ port: 1 }, { port: 2, x: 1 }] };
  assert.deepEqual(overlay(base, { a: [3], b: { c: null }, ports: [{ port: 2, y: 2 }] }), {
    a: [3],
    b: { d: 2 },
    ports: [{ port: 1 }, { port: 2, x: 1, y: 2 }],
  });
  assert.deepEqual(overlay(base, { b: { $patch: 'replace', e: 1 } })['b'], { e: 1 });
  assert.deepEqual(overlay(base, { ports: [{ $patch: 'replace' }, { port: 9 }] })['ports'], [{ port: 9 }]);
  assert.deepEqual(Object.keys(overlay(base, { b: { $patch: 'delete' } })), ['a', 'ports']);
});

test('the defaults are checked: an unknown field or no image is refused', () => {
  assert.equal(waypointDefaults('{"image":"a"}').replicas, 2);
  for (const text of [
    '{',
    '{}',
    '{"image":"a","x":1}',
    '{"image":"a","replicas":0}',
    '{"image":"a","metadataPrefixes":["a|b"]}',
  ])
    assert.throws(() => waypointDefaults(text), { code: 'WEFT_WAYPOINT_DEFAULTS' }, text);
});

test('with a metrics token Secret the waypoint requires its token for metrics with names; the Secret may be created later', () => {
  const rendered = bodies(renderWaypoint(gateway(), { ...settings, metricsTokenSecret: 'weft-metrics' }));
  const { deployment } = rendered;
  const args = at(deployment, ...container, 'args') as string[];
  assert.ok(args.includes('--metrics-token=/var/run/weft/metrics/token'));
  assert.deepEqual((at(deployment, ...container, 'volumeMounts') as object[]).at(-1), {
    name: 'metrics-token',
    mountPath: '/var/run/weft/metrics',
    readOnly: true,
  });
  assert.deepEqual((at(deployment, ...pod, 'volumes') as object[]).at(-1), {
    name: 'metrics-token',
    secret: { secretName: 'weft-metrics', defaultMode: 0o440, optional: true },
  });
});

test("flags from a Gateway's annotations come after the flags of the chart", () => {
  const set = (annotations: Record<string, string>): Rendering => {
    const one = gateway();
    const given = { ...settings, extraArgs: ['--stream-idle-timeout-ms=1'] };
    return renderWaypoint({ ...one, metadata: { ...one.metadata, annotations } }, given);
  };
  const args = at(bodies(set({ 'weft.dev/stream-idle-timeout': '1h' })).deployment, ...container, 'args');
  assert.deepEqual((args as string[]).slice(-2), [
    '--stream-idle-timeout-ms=1',
    '--stream-idle-timeout-ms=3600000',
  ]);
  const wrong = set({ 'weft.dev/connection-idle-timeout': '1 h' });
  assert.ok(!wrong.ok);
  assert.equal(wrong.reason, 'InvalidParameters');
  assert.match(wrong.message, /weft.dev\/connection-idle-timeout: "1 h" is no duration/);
  const kept = at(bodies(set({ 'weft.dev/merge-slashes': 'disabled' })).deployment, ...container, 'args');
  assert.equal((kept as string[]).at(-1), '--merge-slashes=disabled');
  const unknown = set({ 'weft.dev/merge-slashes': 'no' });
  assert.ok(!unknown.ok);
  assert.equal(unknown.reason, 'InvalidParameters');
  assert.match(unknown.message, /weft.dev\/merge-slashes: "no" is unknown/);
});

test('client certificates are mounted from optional Secrets, the pair alone, and only where policies name one', () => {
  const plain = bodies(render()).deployment;
  assert.ok(!stringify(plain).includes('client-certificates'));
  const clientCertificates = ['bank', 'pay.example'] as SecretName[];
  const { deployment } = bodies(renderWaypoint(gateway(), { ...settings, clientCertificates }));
  const own = structuredClone(plain) as JsonObject;
  const args = at(own, ...container, 'args') as string[];
  args.push('--client-certificates=/var/run/weft/client-certificates');
  (at(own, ...container, 'volumeMounts') as object[]).push(
    ...(parse(
      '[{ name: client-certificates, mountPath: /var/run/weft/client-certificates, readOnly: true }]',
    ) as object[]),
  );
  (at(own, ...pod, 'volumes') as object[]).push(
    parse(`
name: client-certificates
projected:
  defaultMode: 0o440
  sources:
    - secret: { name: bank, optional: true, items: [{ key: tls.crt, path: bank/tls.crt }, { key: tls.key, path: bank/tls.key }] }
    - secret: { name: pay.example, optional: true, items: [{ key: tls.crt, path: pay.example/tls.crt }, { key: tls.key, path: pay.example/tls.key }] }
`) as object,
  );
  assert.deepEqual(deployment, own);
});
