import assert from 'node:assert/strict';
import { test } from 'node:test';
import { migrateReport } from './check.js';
import { loadTexts } from './load.js';
import { isComplete, reportLines, type MigrateReport } from './report.js';

const check = (...texts: readonly string[]): MigrateReport =>
  migrateReport(loadTexts(texts.map((text, index) => ({ file: `${index}.yaml`, text }))), 'weft-system');
const linesOf = (report: MigrateReport): string => [...reportLines(report)].join('\n');
const resultOf = (report: MigrateReport, name: string): string | undefined =>
  report.objects.find((one) => `${one.kind} ${one.name}` === name)?.result;

test('objects that do not configure a mesh are counted, and are no errors', () => {
  const report = check(
    'apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: a }\nspec: { template: {} }\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: { name: b }',
    'apiVersion: v1\nkind: Pod\nmetadata: { name: c }\nspec: { containers: [{ name: c, image: c }] }',
  );
  assert.deepEqual(report.others, { 'Deployment (apps/v1)': 1, 'ConfigMap (v1)': 1, 'Pod (v1)': 1 });
  assert.deepEqual(report.objects, []);
  assert.ok(isComplete(report));
});

test('a file with Helm templates is refused with what to do; other files are read', () => {
  const report = check(
    'apiVersion: v1\nkind: Service\nmetadata:\n  name: {{ .Values.name }}\n',
    'apiVersion: v1\nkind: Namespace\nmetadata: { name: shop, labels: { istio.io/dataplane-mode: ambient } }',
  );
  assert.match(
    linesOf(report),
    /^UNREAD {3}0\.yaml: it is a Helm template .*render it first, helm template/m,
  );
  assert.equal(resultOf(report, 'Namespace shop'), 'works');
  assert.ok(!isComplete(report));
});

test('braces of other tools are no Helm templates, and files without objects are passed over', () => {
  const report = check(
    'apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata: { name: a }\nspec: { text: "{{ $value }} {{ .Labels.pod }}" }',
    'name: chart\nversion: 1.0.0',
  );
  assert.deepEqual(report.problems, []);
  assert.deepEqual(Object.keys(report.others), ['PrometheusRule (monitoring.coreos.com/v1)']);
});

test('kinds of a mesh that nobody knows are named', () => {
  const report = check(
    'apiVersion: networking.istio.io/v1\nkind: Bar\nmetadata: { name: a }\n---\napiVersion: policy.linkerd.io/v1\nkind: Baz\nmetadata: { name: b }',
  );
  assert.match(linesOf(report), /MISSING: Weft does not know the kind Bar of networking\.istio\.io\/v1/);
  assert.match(linesOf(report), /MISSING: Weft does not know the kind Baz of policy\.linkerd\.io\/v1/);
});

test('a field that the published schema lacks is named with its object', () => {
  const report = check(
    'apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: { name: a }\nspec: { host: b, trafficPolcy: {} }',
  );
  assert.match(linesOf(report), /MISSING: spec\.trafficPolcy: .*did you mean trafficPolicy\?/);
});

test('each kind that Weft does not carry out says what takes its place', () => {
  const report = check(
    'apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: { name: a }\nspec: {}',
  );
  assert.match(linesOf(report), /MISSING: Weft has no Envoy .*TrafficPolicy/);
});

test('injection labels and annotations name the label of Weft that does the same, once it is there they differ', () => {
  const namespace = (labels: string): string =>
    `apiVersion: v1\nkind: Namespace\nmetadata: { name: shop, labels: { ${labels} } }`;
  const before = check(namespace('istio-injection: enabled'));
  assert.match(linesOf(before), /istio-injection=enabled: .*instead: the label weft\.dev\/mesh=enabled/);
  assert.ok(!isComplete(before));
  assert.equal(
    resultOf(check(namespace('istio-injection: enabled, weft.dev/mesh: enabled')), 'Namespace shop'),
    'differs',
  );
  const template = check(
    'apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: web }\nspec: { template: { metadata: { annotations: { linkerd.io/inject: enabled, config.linkerd.io/skip-outbound-ports: "3306" } } } }',
  );
  assert.match(linesOf(template), /linkerd\.io\/inject=enabled: .*weft\.dev\/mesh=enabled of the pod/);
  assert.match(linesOf(template), /instead: the annotation weft\.dev\/exclude-outbound-ports: "3306"/);
});

test('a pod that still has its sidecar is named', () => {
  const report = check(
    'apiVersion: v1\nkind: Pod\nmetadata: { name: web }\nspec: { containers: [{ name: app }, { name: istio-proxy }] }',
  );
  assert.match(linesOf(report), /MISSING: it has the sidecar istio-proxy/);
});

const service =
  'apiVersion: v1\nkind: Service\nmetadata: { name: web, namespace: shop LABELS }\nspec: { selector: { app: web }, ports: [{ port: 80 }] }';
const virtualService =
  'apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: web, namespace: shop }\nspec: { hosts: [web], http: [{ route: [{ destination: { host: web } }] }] }';

test('a Service whose routes need a waypoint and has none says so, with the command', () => {
  const without = check(service.replace('LABELS', ''), virtualService);
  assert.match(
    linesOf(without),
    /it has no waypoint, which VirtualService shop\/web needs: .*weft waypoint apply -n shop && kubectl label service -n shop web/,
  );
  const labeled = check(service.replace('LABELS', ', labels: { istio.io/use-waypoint: wp }'), virtualService);
  assert.doesNotMatch(linesOf(labeled), /it has no waypoint/);
});

test('Services that are not given are assumed, and the report says so', () => {
  const report = check(virtualService);
  assert.deepEqual(report.assumed, ['shop/web']);
  assert.match(linesOf(report), /^Not given, so assumed to exist and to have a waypoint: Service shop\/web/m);
});

test("a policy in Istio's root namespace is not mesh-wide in Weft", () => {
  const report = check(
    'apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: { name: default, namespace: istio-system }\nspec: { mtls: { mode: STRICT } }',
  );
  assert.match(linesOf(report), /metadata\.namespace: istio-system is Istio's root namespace, .*weft-system/);
});

test("Linkerd's objects say what convert writes for each field, and what it cannot", () => {
  const report = check(
    `apiVersion: linkerd.io/v1alpha2
kind: ServiceProfile
metadata: { name: web.shop.svc.cluster.local, namespace: shop }
spec:
  retryBudget: { retryRatio: 0.2, minRetriesPerSecond: 10, ttl: 10s }
  routes:
    - { name: a, condition: { all: [{ method: GET }, { pathRegex: /a }] }, timeout: 25ms, isRetryable: true, responseClasses: [{ condition: { status: { min: 500 } }, isFailure: true }] }`,
  );
  const text = linesOf(report);
  assert.match(
    text,
    /retryBudget\.retryRatio: no effect: Weft does not read the kind; instead: TrafficPolicy spec\.retry\.budget\.percent, which weft migrate convert writes/,
  );
  assert.match(text, /routes\[0\]\.condition: no effect: .*; instead: HTTPRoute spec\.rules\[\]\.matches/);
  assert.match(text, /routes\[0\]\.responseClasses\[0\]: nothing does the same: /);
  const wrong = check(
    'apiVersion: policy.linkerd.io/v1beta3\nkind: Server\nmetadata: { name: a }\nspec: { prt: 80 }',
  );
  assert.match(linesOf(wrong), /spec: must NOT have additional properties: prt/);
});
